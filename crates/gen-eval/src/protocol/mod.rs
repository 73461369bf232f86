//! The protocol by which all models are measured. It fills `evaluation.csv` and `metrics.csv`.
//!
//! - The number of samples equals that of test rows, `n` each (10,000 unless the test split is smaller). The floor is
//!   the result of as many training rows in place of samples. Only metrics that are asked for are computed: likelihoods
//!   alone need no features.
//! - Samples are converted to bytes, as in a file, before they are measured.
//! - Real rows are in one random order that does not depend on the seed, so all models meet the same ones. Samples are
//!   in a random order by the seed, since a folder may be sorted by class and some metrics use the first rows alone.
//! - Columns of points are in units of their standard deviation over the training rows.
//! - Values that are not finite are a result, not an error: the quality of such samples is NaN.
//! - Images are compared in two feature spaces or more. The first fills most columns of `evaluation.csv`.

mod cache;
mod columns;
mod comparison;
mod evaluate;
mod found;
mod measures;
mod options;
mod real;
mod sampling;
mod space;
mod stage;
mod table;

pub use cache::{EvaluationCache, NoCache};
pub use columns::{COLUMNS, Column, Evaluation, Measured};
pub use evaluate::{Evaluated, Protocol};
pub use options::EvaluateOptions;
pub use stage::Stage;
pub use table::{Domain, METRICS, MetricSpec, NumberSpec, direction};
