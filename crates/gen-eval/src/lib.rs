//! Metrics: pure functions on feature tensors, statistics in f64; the feature spaces; the protocol.
//!
//! Every metric takes `real` and `fake`, in this order, as `[n, features]` of any floating-point kind; the rows of
//! the two may differ in number. Scores of one number a row, which tell data from other data, are in [`OodScore`] and
//! [`Detection`]. [`Protocol`] puts them together to one row of a report, an [`Evaluation`].
#![doc = include_str!("../README.md")]

mod axes;
mod evaluation;
pub mod features;
mod gaussian;
mod likelihood;
mod measurement;
mod metrics;
mod ood;
mod protocol;
mod reference;
mod standardise;
pub mod state_dict;

pub use evaluation::Evaluation;
pub use features::FeatureSpace;
pub use gaussian::Gaussian;
pub use likelihood::{bits_per_dim, effective_sample_size, log_mean_exp};
pub use measurement::{Direction, Measurement, Metric};
pub use metrics::*;
pub use ood::{Detection, OodScore, input_complexity, likelihood_ratio, typicality};
pub use protocol::{EvaluateOptions, Evaluated, EvaluationCache, Measured, NoCache, Protocol, Stage};
pub use reference::Reference;
