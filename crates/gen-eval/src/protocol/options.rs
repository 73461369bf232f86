use gen_core::config::Table;

use super::table::{Compute, METRICS, MetricSpec};

/// Settings of a [`Protocol`](crate::Protocol).
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateOptions {
    /// Number of samples to compare with as many test rows.
    pub n: usize,
    /// Seed of the samples, of the choice among more than `n` of them, and of likelihood estimates.
    pub seed: u64,
    /// Neighbours in precision, recall, density and coverage.
    pub k: i64,
    /// Test rows for likelihoods that are bounds; exact ones use all that are compared.
    pub n_bound: usize,
    /// Test rows for the likelihood by the probability-flow equation, which takes many passes of the network.
    pub n_ode: usize,
    /// The metrics to compute.
    pub metrics: Vec<&'static MetricSpec>,
    /// Sampling options that differ from the model's own.
    pub sampling: Table,
}

impl EvaluateOptions {
    /// Whether a metric is asked for that needs a feature space.
    pub fn needs_features(&self) -> bool {
        self.metrics.iter().any(|metric| !metric.needs_density())
    }

    /// Whether a metric is asked for that compares samples with real rows.
    pub(super) fn compares_samples(&self) -> bool {
        self.metrics.iter().any(|metric| metric.comparing().is_some())
    }

    /// Number of neighbours, where a metric is asked for that needs the radii of test rows. They take the distances of
    /// all pairs of rows.
    pub(super) fn k_of_radii(&self) -> Option<i64> {
        let with_radii = self.metrics.iter().any(|metric| matches!(metric.compute, Compute::Radii(_)));
        with_radii.then_some(self.k)
    }
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        EvaluateOptions {
            n: 10_000,
            seed: 0,
            k: 5,
            n_bound: 1000,
            n_ode: 100,
            metrics: METRICS.iter().collect(),
            sampling: Table::new(),
        }
    }
}
