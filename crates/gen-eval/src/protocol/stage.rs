use gen_core::model::LikelihoodKind;

/// Progress of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Computing features.
    Features {
        /// The feature space.
        space: String,
        /// Rows done.
        done: usize,
        /// Rows in all.
        total: usize,
    },
    /// Timing single samples.
    Timing,
    /// Drawing samples.
    Sampling {
        /// Samples done.
        done: usize,
        /// Samples in all.
        total: usize,
    },
    /// Finding the training rows nearest to the test rows.
    Neighbours {
        /// The feature space.
        space: String,
        /// Test rows done.
        done: usize,
        /// Test rows in all.
        total: usize,
    },
    /// Computing a metric.
    Comparing {
        /// The feature space.
        space: String,
        /// Name of the metric.
        metric: &'static str,
        /// Whether real rows take the place of the samples.
        floor: bool,
        /// Steps or rows done.
        done: usize,
        /// Steps or rows in all; 1 where the work is not divided.
        total: usize,
    },
    /// Computing likelihoods of test rows.
    Likelihood {
        /// The kind of likelihood.
        kind: LikelihoodKind,
        /// Rows done.
        done: usize,
        /// Rows in all.
        total: usize,
    },
}
