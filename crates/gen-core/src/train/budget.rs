use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The length of a training.
///
/// ```
/// use gen_core::train::Budget;
/// assert_eq!("5m".parse::<Budget>().unwrap(), Budget::Seconds(300.0));
/// assert_eq!("20000steps".parse::<Budget>().unwrap(), Budget::Steps(20_000));
/// assert_eq!("1.5Mimages".parse::<Budget>().unwrap(), Budget::Images(1_500_000));
/// assert_eq!("10epochs".parse::<Budget>().unwrap(), Budget::Epochs(10));
/// assert!("0s".parse::<Budget>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Budget {
    /// Seconds of training. Evaluation, checkpoints and sample grids do not count, nor does time in which the process
    /// is stopped (Ctrl-Z, SIGSTOP) or the machine sleeps.
    Seconds(f64),
    /// Optimizer steps.
    Steps(u64),
    /// Training rows seen, rounded up to a whole batch.
    Images(u64),
    /// Passes over the training data.
    Epochs(u64),
}

impl Budget {
    /// Refuses an empty budget.
    ///
    /// # Errors
    /// When the time or the count is not positive.
    pub fn check(self) -> Result<()> {
        let is_some = match self {
            Budget::Seconds(seconds) => seconds > 0.0 && seconds.is_finite(),
            Budget::Steps(count) | Budget::Images(count) | Budget::Epochs(count) => count > 0,
        };
        if is_some { Ok(()) } else { Err(Error::invalid(format!("a budget of {self} is empty"))) }
    }

    /// The number of steps; `None` for a budget of seconds.
    pub fn steps(self, batch_size: usize, batches_per_epoch: u64) -> Option<u64> {
        match self {
            Budget::Seconds(_) => None,
            Budget::Steps(steps) => Some(steps),
            Budget::Images(images) => Some(images.div_ceil(batch_size as u64)),
            Budget::Epochs(epochs) => Some(epochs.saturating_mul(batches_per_epoch)),
        }
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "the budget `{text}` should be a positive number and a unit: 90s, 5m, 2h, 20000steps, 1Mimages, \
                 10epochs"
            ))
        };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = text[digits..].trim();
        let count = |scale: f64| {
            let count = (number * scale).round();
            if (1.0..9e15).contains(&count) { Ok(count as u64) } else { Err(wrong()) }
        };
        let seconds = |scale: f64| {
            let seconds = number * scale;
            if seconds > 0.0 && seconds.is_finite() { Ok(Budget::Seconds(seconds)) } else { Err(wrong()) }
        };
        match unit {
            "s" => seconds(1.0),
            "m" | "min" => seconds(60.0),
            "h" => seconds(3600.0),
            "steps" => Ok(Budget::Steps(count(1.0)?)),
            "ksteps" => Ok(Budget::Steps(count(1e3)?)),
            "images" => Ok(Budget::Images(count(1.0)?)),
            "kimages" => Ok(Budget::Images(count(1e3)?)),
            "Mimages" => Ok(Budget::Images(count(1e6)?)),
            "epochs" => Ok(Budget::Epochs(count(1.0)?)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Budget {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> String {
        budget.to_string()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Seconds(seconds) => write!(f, "{seconds}s"),
            Budget::Steps(steps) => write!(f, "{steps}steps"),
            Budget::Images(images) => write!(f, "{images}images"),
            Budget::Epochs(epochs) => write!(f, "{epochs}epochs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_budgets_are_read_back() {
        for budget in [Budget::Seconds(0.25), Budget::Steps(7), Budget::Images(3_000_000), Budget::Epochs(2)] {
            assert_eq!(budget.to_string().parse::<Budget>().unwrap(), budget);
        }
    }

    #[test]
    fn malformed_budgets_are_refused() {
        for text in ["", "5", "m", "0s", "0steps", "-3m", "1.2.3s", "5 parsecs", "0.2steps", "inf s"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
        assert!(format!("{}h", "9".repeat(400)).parse::<Budget>().is_err());
    }

    #[test]
    fn images_round_up_to_a_batch() {
        assert_eq!(Budget::Images(100).steps(64, 10), Some(2));
        assert_eq!(Budget::Epochs(3).steps(64, 10), Some(30));
        assert_eq!(Budget::Epochs(u64::MAX).steps(64, 10), Some(u64::MAX));
        assert_eq!(Budget::Seconds(1.0).steps(64, 10), None);
    }
}
