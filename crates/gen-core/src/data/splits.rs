use serde::{Deserialize, Serialize};

/// The number of rows in each part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// Rows to train on.
    pub train: usize,
    /// Rows to choose models by.
    pub validation: usize,
    /// Rows to report results on.
    pub test: usize,
}
