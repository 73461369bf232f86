//! The data sets that the program knows.

use gen_core::data::Dataset;

/// The data set of this name, fetched if it is not there yet.
pub(crate) fn load(name: &str) -> anyhow::Result<Dataset> {
    anyhow::bail!("unknown data set `{name}`")
}
