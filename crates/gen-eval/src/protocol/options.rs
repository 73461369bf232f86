use crate::Metric;
use gen_core::model::LikelihoodKind;

/// Settings of a [`Protocol`](super::Protocol).
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateOptions {
    /// Samples, and test rows, to compare.
    pub n: usize,
    /// The seed of the samples, of which of them are measured where there are more than `n`, and of likelihood estimates.
    pub seed: u64,
    /// Neighbours in precision, recall, density and coverage.
    pub k: i64,
    /// Test rows for likelihoods that are estimated; exact ones take all that are compared.
    pub n_bound: usize,
    /// Test rows for the likelihood by the probability-flow equation, which costs many passes of the network.
    pub n_ode: usize,
    /// What to measure.
    pub metrics: Vec<Metric>,
    /// The model's sampler, where it has several.
    pub sampler: Option<String>,
    /// The number of steps of an iterative sampler.
    pub steps: Option<usize>,
}

impl EvaluateOptions {
    /// Whether `metric` is asked for.
    pub(super) fn wants(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// Whether a metric is asked for that means something in a feature space.
    pub fn needs_features(&self) -> bool {
        self.metrics.iter().any(|metric| *metric != Metric::Likelihood)
    }

    /// Whether a metric is asked for that compares samples with real rows.
    pub(super) fn compares_samples(&self) -> bool {
        self.metrics.iter().any(|metric| !matches!(metric, Metric::Likelihood | Metric::PathLength))
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
            metrics: Metric::ALL.to_vec(),
            sampler: None,
            steps: None,
        }
    }
}

/// How far an evaluation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Taking features.
    Features {
        /// In this space.
        space: String,
        /// Of so many rows.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Timing single samples.
    Timing,
    /// Samples drawn.
    Sampling {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Looking for the training rows that are nearest to the test rows.
    Neighbours {
        /// In this space.
        space: String,
        /// Test rows that are done.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Comparing features.
    Comparing {
        /// In this space.
        space: String,
        /// By this metric.
        metric: Metric,
        /// Whether real rows take the place of the samples.
        floor: bool,
        /// So many steps of this, or rows,
        done: usize,
        /// Of so many; 1 where it is not divided.
        total: usize,
    },
    /// Rows whose likelihood is known.
    Likelihood {
        /// Of this kind.
        kind: LikelihoodKind,
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
}
