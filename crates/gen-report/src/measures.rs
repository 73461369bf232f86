//! What is measured: the name of each metric for people, which value is better, how its values are written.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::direction::Direction;

/// A row of `measures.csv`: a metric, or a column of an evaluation that says what a run or its samples cost.
#[derive(Debug, Deserialize)]
pub(crate) struct Measure {
    pub(crate) name: String,
    /// The head of its column.
    pub(crate) head: String,
    pub(crate) kind: Kind,
    direction: String,
    target: String,
    format: String,
    shown: Shown,
    /// Whether whoever starts a run chooses the number, so that the table of runs marks no best one.
    chosen: bool,
    /// The column of an evaluation that holds its standard error.
    pub(crate) standard_error: Option<String>,
    pub(crate) noise: Noise,
    /// The columns that a cost depends on besides the model, separated by spaces. Costs are only comparable where these
    /// are equal.
    pub(crate) circumstances: String,
    pub(crate) meaning: String,
}

/// What a number tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// How good the samples are.
    #[serde(rename = "")]
    Samples,
    /// How likely test data is; it depends on how the likelihood was computed.
    Likelihood,
    /// What a run or its samples cost. Compared over seeds like a metric.
    Cost,
}

/// Which tables of runs have a column for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shown {
    /// All, also those of a terminal and a README, which have room for few.
    Main,
    /// The table of the report.
    More,
    #[serde(rename = "")]
    Nowhere,
}

/// What is known of the noise of a number that has no standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Noise {
    /// It was counted, and would be the same again.
    Counted,
    /// It was taken by a clock: a repeated measurement differs by up to 5 %.
    Clock,
    #[serde(rename = "")]
    Unknown,
}

/// `measures.csv`: the head, the direction, the form and the meaning of each metric and cost in the report.
pub const MEASURES: &str = include_str!("measures.csv");

static ALL: LazyLock<Vec<Measure>> = LazyLock::new(|| {
    let mut reader = csv::Reader::from_reader(MEASURES.as_bytes());
    reader.deserialize().filter_map(Result::ok).collect()
});

/// The measure of this name; `None` for metrics that this version does not know.
pub(crate) fn measure(name: &str) -> Option<&'static Measure> {
    ALL.iter().find(|measure| measure.name == name)
}

/// All measures of a kind.
pub(crate) fn of_kind(kind: Kind) -> impl Iterator<Item = &'static Measure> {
    ALL.iter().filter(move |measure| measure.kind == kind)
}

/// The columns of the report's table of runs, in order.
pub(crate) fn shown() -> impl Iterator<Item = &'static Measure> {
    ALL.iter().filter(|measure| measure.shown != Shown::Nowhere)
}

/// Whether the number depends on how the likelihood was computed.
pub(crate) fn is_likelihood(name: &str) -> bool {
    measure(name).is_some_and(|measure| measure.kind == Kind::Likelihood)
}

/// The head and the meaning of a metric; an unknown one has its own name and no meaning.
pub(crate) fn about(name: &str) -> (&str, &'static str) {
    measure(name).map_or((name, ""), |measure| (&measure.head, &measure.meaning))
}

/// How values of a metric are written.
pub(crate) fn format(name: &str) -> Format {
    measure(name).map_or(Format::Significant, Measure::format)
}

impl Measure {
    pub(crate) fn direction(&self) -> Direction {
        Direction::read(&self.direction, &self.target).unwrap_or(Direction::Neither)
    }

    /// The direction by which the table of runs marks the best.
    pub(crate) fn marked_direction(&self) -> Direction {
        if self.chosen { Direction::Neither } else { self.direction() }
    }

    /// Whether it is among the few that a terminal and a README have room for.
    pub(crate) fn is_main(&self) -> bool {
        self.shown == Shown::Main
    }

    pub(crate) fn format(&self) -> Format {
        match self.format.as_str() {
            "count" => Format::Count,
            digits => digits.parse().map_or(Format::Significant, Format::Fixed),
        }
    }
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// With this many digits after the point.
    Fixed(usize),
    /// With three digits that count.
    Significant,
    /// Whole, with thousands apart.
    Count,
}

impl Format {
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "NaN".to_owned(),
            _ if value.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.to_owned(),
            // No reader counts so many digits.
            _ if value.abs() >= 1e9 => format!("{value:.2e}"),
            Format::Fixed(digits) => format!("{value:.digits$}"),
            Format::Count => thousands(value.round()),
            Format::Significant if value == 0.0 => "0".to_owned(),
            Format::Significant => {
                let magnitude = value.abs().log10().floor();
                if magnitude >= 2.0 {
                    thousands(value.round())
                } else if magnitude < -5.0 {
                    format!("{value:.1e}")
                } else {
                    format!("{value:.*}", (2.0 - magnitude) as usize)
                }
            }
        }
    }
}

/// A whole number with commas between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::{EVALUATION, columns_of};

    #[test]
    fn every_row_is_read_and_agrees_with_the_dictionary() {
        assert_eq!(ALL.len(), MEASURES.lines().count() - 1);
        for measure in ALL.iter() {
            assert!(Direction::read(&measure.direction, &measure.target).is_ok(), "{measure:?}");
            let digits: Result<usize, _> = measure.format.parse();
            assert!(["count", "significant"].contains(&measure.format.as_str()) || digits.is_ok(), "{measure:?}");
            match columns_of(EVALUATION).find(|column| column.name == measure.name) {
                Some(column) => assert_eq!(column.direction, measure.direction, "{}", measure.name),
                None => assert!(measure.shown == Shown::Nowhere && measure.kind != Kind::Cost, "{measure:?}"),
            }
            let mut columns = measure.circumstances.split_whitespace().chain(measure.standard_error.as_deref());
            assert!(columns.all(|name| columns_of(EVALUATION).any(|column| column.name == name)), "{measure:?}");
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        let significant = |value| Format::Significant.write(value);
        assert_eq!(significant(12345.6), "12,346");
        assert_eq!(significant(12.345), "12.3");
        assert_eq!(significant(0.012345), "0.0123");
        assert_eq!(significant(-1.5), "-1.50");
        assert_eq!(significant(0.0), "0");
        assert_eq!(significant(1.2e-7), "1.2e-7");
        assert_eq!(Format::Count.write(1_234_567.0), "1,234,567");
        assert_eq!(Format::Count.write(-999.6), "-1,000");
        assert_eq!(Format::Fixed(3).write(0.5), "0.500");
        assert_eq!(Format::Fixed(3).write(-1.234e12), "-1.23e12");
        assert_eq!([significant(1e300), Format::Count.write(2e9)], ["1.00e300", "2.00e9"]);
        for format in [Format::Fixed(3), Format::Significant, Format::Count] {
            let written = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(|value| format.write(value));
            assert_eq!(written, ["inf", "-inf", "NaN"]);
        }
    }
}
