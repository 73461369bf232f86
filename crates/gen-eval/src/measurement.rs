//! One measured number, and how two values of it compare.

use serde::{Deserialize, Serialize};

/// One measured number with all that a comparison needs: a row of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Name of the number: `fd`, `precision`, …
    pub metric: String,
    /// The feature space, or `data` for numbers that need none.
    pub space: String,
    /// Settings of the metric: `k=5`, `q=1`, `class=3`, the kind of a likelihood; empty if there are none.
    pub parameter: String,
    /// The value; infinite or NaN where the samples are.
    pub value: f64,
    /// Standard error over draws of samples and of real rows, where it is known.
    pub standard_error: Option<f64>,
    /// The same number with real rows in place of the samples.
    pub floor: Option<f64>,
    /// Number of real rows.
    pub n_real: usize,
    /// Number of samples.
    pub n_fake: usize,
    /// Which of two values is better.
    pub direction: Direction,
}

/// Which of two values of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Direction {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
    /// The one nearer to this value, which real data have.
    Target(f64),
    /// Neither: the number is descriptive and ranks no model.
    None,
}

impl Direction {
    /// The name in `metrics.csv`: `higher`, `lower`, `target`, or nothing.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
            Direction::Target(_) => "target",
            Direction::None => "",
        }
    }

    /// The best value, where it is neither the highest nor the lowest.
    pub fn target(self) -> Option<f64> {
        match self {
            Direction::Target(value) => Some(value),
            _ => None,
        }
    }
}
