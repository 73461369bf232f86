//! The columns that people compare, and how numbers are written for them.

use crate::direction::Direction;

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

/// A column that people compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) column: &'static str,
    /// The head of the column.
    pub(crate) head: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) direction: Direction,
    pub(crate) format: Format,
    /// Whether it is among the few that a terminal and a README have room for.
    pub(crate) main: bool,
}

const fn measure(
    column: &'static str,
    head: &'static str,
    direction: Direction,
    format: Format,
    main: bool,
    meaning: &'static str,
) -> Measure {
    Measure { column, head, meaning, direction, format, main }
}

/// The columns that people compare, in the order in which tables have them.
pub(crate) const MEASURES: [Measure; 24] = {
    use Direction::{Higher, Lower, Neither, Target};
    use Format::{Count, Fixed, Significant};
    [
        measure(
            "fd",
            "FD",
            Lower,
            Significant,
            true,
            "Fréchet distance between generated and test data in the feature space; its floor is the distance between training and test data",
        ),
        measure(
            "second_fd",
            "FD (2nd)",
            Lower,
            Significant,
            true,
            "the same in the second feature space, in which no label had a part; the scales of two spaces are not comparable",
        ),
        measure(
            "kid",
            "KID",
            Lower,
            Fixed(4),
            true,
            "kernel inception distance (squared MMD with a cubic kernel, unbiased) in the feature space",
        ),
        measure(
            "mmd",
            "MMD",
            Lower,
            Significant,
            true,
            "maximum mean discrepancy between generated and test points",
        ),
        measure(
            "modes_covered",
            "modes",
            Higher,
            Count,
            true,
            "modes of the distribution that samples reach",
        ),
        measure(
            "high_quality_share",
            "high quality",
            Higher,
            Fixed(3),
            false,
            "share of samples close to a mode",
        ),
        measure(
            "precision",
            "precision",
            Higher,
            Fixed(3),
            true,
            "share of samples that lie within the test data's neighbourhoods",
        ),
        measure(
            "recall",
            "recall",
            Higher,
            Fixed(3),
            true,
            "share of test data that lie within the samples' neighbourhoods",
        ),
        measure(
            "density",
            "density",
            Target(1.0),
            Fixed(3),
            false,
            "precision that counts overlapping neighbourhoods; 1 for samples like the test data, above it for samples that keep to its densest parts",
        ),
        measure(
            "coverage",
            "coverage",
            Higher,
            Fixed(3),
            true,
            "share of test data with a sample in their neighbourhood",
        ),
        measure(
            "vendi",
            "Vendi",
            Neither,
            Fixed(1),
            false,
            "how many different samples there are, effectively, in the feature space",
        ),
        measure(
            "one_nn_accuracy",
            "1-NN",
            Target(0.5),
            Fixed(3),
            false,
            "how well the nearest neighbour tells samples from test data: 0.5 if not at all, 1 if always",
        ),
        measure(
            "copied_share",
            "copies",
            Neither,
            Fixed(3),
            false,
            "share of samples that look copied from a training row, as 0.01 of the test data do",
        ),
        measure(
            "bits_per_dim",
            "bits/dim",
            Lower,
            Fixed(3),
            true,
            "negative log-likelihood of test data in bits per dimension; kinds are not comparable without a word",
        ),
        measure(
            "nll_nats",
            "NLL nats",
            Lower,
            Fixed(3),
            true,
            "negative log-likelihood of test points in nats",
        ),
        measure(
            "nll_gap_nats",
            "NLL gap",
            Lower,
            Fixed(3),
            false,
            "how far the negative log-likelihood is above the entropy of the distribution",
        ),
        measure(
            "kl_nats",
            "KL nats",
            Lower,
            Fixed(4),
            false,
            "the divergence of the model's distribution from that of the data",
        ),
        measure(
            "sample_images_per_second",
            "samples/s",
            Higher,
            Significant,
            true,
            "samples drawn a second, in batches",
        ),
        measure(
            "sample_latency_ms",
            "latency ms",
            Lower,
            Significant,
            false,
            "milliseconds until one sample is drawn",
        ),
        measure("nfe", "NFE", Neither, Count, true, "network evaluations a sample costs"),
        measure("train_seconds", "train s", Neither, Count, true, "seconds of training"),
        measure(
            "train_cpu_seconds",
            "train CPU\u{a0}s",
            Neither,
            Count,
            false,
            "processor seconds of training, all threads together",
        ),
        measure(
            "parameters",
            "parameters",
            Lower,
            Count,
            true,
            "trainable parameters, all networks together",
        ),
        measure("peak_rss_mib", "memory MiB", Lower, Count, false, "largest resident memory of the training"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_columns() {
        for measure in MEASURES {
            let column =
                crate::dictionary::columns_of("runs.csv").find(|c| c.name == measure.column).unwrap();
            assert_ne!(column.kind, "string", "{}", measure.column);
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
