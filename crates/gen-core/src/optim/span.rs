use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The place of a step in its run, on which schedules depend.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Now {
    /// The used share of the budget before the step, in [0, 1].
    pub share: f64,
    /// The number of the step, counted from 0.
    pub step: u64,
    /// The training rows seen before the step.
    pub images: u64,
    /// The training rows of the step.
    pub batch: u64,
}

/// A length of a run: a share of its budget, a number of steps or a number of training rows.
///
/// As text it is a number from 0 to 1, or a count with its unit.
///
/// ```
/// use gen_core::optim::Span;
/// assert_eq!("0.25".parse::<Span>()?, Span::Share(0.25));
/// assert_eq!("500steps".parse::<Span>()?, Span::Steps(500));
/// assert_eq!("1.5Mimages".parse::<Span>()?, Span::Images(1_500_000));
/// assert_eq!(Span::Images(1_500_000).to_string(), "1500000images");
/// # Ok::<(), gen_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum Span {
    /// A share of the budget, in [0, 1].
    Share(f64),
    /// Optimizer steps.
    Steps(u64),
    /// Training rows.
    Images(u64),
}

impl Span {
    /// No time at all.
    pub const NONE: Span = Span::Steps(0);
    /// The whole budget.
    pub const WHOLE: Span = Span::Share(1.0);

    /// The length, in its own unit.
    pub fn length(self) -> f64 {
        match self {
            Span::Share(share) => share,
            Span::Steps(count) | Span::Images(count) => count as f64,
        }
    }

    /// The part of the run before the step, in the unit of this span.
    pub fn before(self, now: &Now) -> f64 {
        match self {
            Span::Share(_) => now.share,
            Span::Steps(_) => now.step as f64,
            Span::Images(_) => now.images as f64,
        }
    }

    /// The part of the run up to the end of the step, in the unit of this span. The share that a step uses is unknown,
    /// so a share does not include the step.
    pub fn after(self, now: &Now) -> f64 {
        match self {
            Span::Share(_) => now.share,
            Span::Steps(_) => now.step as f64 + 1.0,
            Span::Images(_) => (now.images + now.batch) as f64,
        }
    }

    /// Whether both count in the same unit.
    pub(super) fn has_unit_of(self, other: Span) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "the span `{text}` should be a share of the budget from 0 to 1, or a count and its unit: 0.5, \
                 1000steps, 20ksteps, 2Mimages"
            ))
        };
        let text = text.trim();
        let digits = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e').unwrap_or(text.len());
        let number: f64 = text[..digits].trim().parse().map_err(|_| wrong())?;
        let count = |scale: f64| {
            let count = (number * scale).round();
            if (0.0..9e15).contains(&count) { Ok(count as u64) } else { Err(wrong()) }
        };
        match &text[digits..] {
            "" if (0.0..=1.0).contains(&number) => Ok(Span::Share(number)),
            "steps" => Ok(Span::Steps(count(1.0)?)),
            "ksteps" => Ok(Span::Steps(count(1e3)?)),
            "images" => Ok(Span::Images(count(1.0)?)),
            "kimages" => Ok(Span::Images(count(1e3)?)),
            "Mimages" => Ok(Span::Images(count(1e6)?)),
            _ => Err(wrong()),
        }
    }
}

/// A span in a file: a share may be a number there.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl TryFrom<Written> for Span {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Number(share) => share.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Share(share) => write!(f, "{share}"),
            Span::Steps(steps) => write!(f, "{steps}steps"),
            Span::Images(images) => write!(f, "{images}images"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_span_is_read_back() {
        for span in [Span::Share(0.07), Span::Share(1e-9), Span::NONE, Span::WHOLE, Span::Images(20_000_000)] {
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!(" 20ksteps ".parse::<Span>().unwrap(), Span::Steps(20_000));
        assert_eq!("1e-3".parse::<Span>().unwrap(), Span::Share(1e-3));
    }

    #[test]
    fn a_share_in_a_file_may_be_a_number() {
        #[derive(Deserialize)]
        struct Settings {
            over: Span,
        }
        let read = |table: toml::Table| crate::config::from_table::<Settings>(&table);
        assert_eq!(read(toml::toml! { over = 0.5 }).unwrap().over, Span::Share(0.5));
        assert_eq!(read(toml::toml! { over = 1 }).unwrap().over, Span::WHOLE);
        assert_eq!(read(toml::toml! { over = "2ksteps" }).unwrap().over, Span::Steps(2000));
        let error = read(toml::toml! { over = 1000 }).err().unwrap().to_string();
        assert!(error.contains("the span `1000` should be"), "{error}");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "1.5", "-0.1", "NaN", "10epochs", "-1steps", "1e20images", "steps", "0.5 %"] {
            let message = text.parse::<Span>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("the span `{text}` should be")), "{message}");
        }
    }

    #[test]
    fn each_unit_counts_its_own() {
        let now = Now { share: 0.5, step: 10, images: 320, batch: 32 };
        let counted = |span: Span| (span.before(&now), span.after(&now));
        assert_eq!(counted(Span::Share(0.1)), (0.5, 0.5));
        assert_eq!(counted(Span::Steps(1)), (10.0, 11.0));
        assert_eq!(counted(Span::Images(1)), (320.0, 352.0));
    }
}
