use gen_core::data::Dataset;

/// A data set, and warnings about how it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The data set.
    pub data: Dataset,
    /// What was left out or looks unusual, one line each.
    pub warnings: Vec<String>,
}
