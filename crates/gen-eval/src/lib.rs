//! Metrics: pure functions on feature tensors, with statistics in f64; feature spaces; the protocol.
//!
//! Every metric takes `real` and `fake`, in this order, as `[n, features]` of any floating-point kind; the two may
//! differ in their numbers of rows. [`OodScore`] and [`Detection`] are about scores of one number per row, which tell
//! data from other data. [`Protocol`] computes all metrics of a set of samples, and [`METRICS`] lists them.
#![doc = include_str!("../README.md")]

mod axes;
pub mod features;
mod gaussian;
mod measurement;
mod metrics;
mod ood;
mod protocol;
mod reference;
pub mod state_dict;

pub use features::FeatureSpace;
pub use gaussian::Gaussian;
pub use measurement::{Direction, Measurement};
pub use metrics::*;
pub use ood::{Detection, OodScore, input_complexity, likelihood_ratio, typicality};
pub use protocol::{
    COLUMNS, Column, Domain, EvaluateOptions, Evaluated, Evaluation, EvaluationCache, METRICS, Measured, MetricSpec,
    NoCache, NumberSpec, Protocol, Stage, direction,
};
pub use reference::Reference;
