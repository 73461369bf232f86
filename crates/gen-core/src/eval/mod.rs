//! Metrics: pure functions on feature tensors, statistics in f64.

pub mod features;
