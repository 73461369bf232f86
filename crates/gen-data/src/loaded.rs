use gen_core::data::Dataset;

/// A data set, and what its user should know about how it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The data set.
    pub data: Dataset,
    /// What was left out or is unusual, one line each.
    pub warnings: Vec<String>,
}
