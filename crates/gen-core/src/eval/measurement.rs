use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One number that was measured, with all that one must know to compare it: a row of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured: `fd`, `precision`, …
    pub metric: String,
    /// The feature space, or `data` where nothing is compared in one.
    pub space: String,
    /// What the metric depends on besides: `k=5`, `q=1`, `class=3`, the kind of a likelihood; empty if nothing.
    pub parameter: String,
    /// The number, always finite.
    pub value: f64,
    /// How far it would move with other samples, where that is known.
    pub standard_error: Option<f64>,
    /// The same metric of real rows in the place of the samples.
    pub floor: Option<f64>,
    /// Real rows.
    pub n_real: usize,
    /// Samples.
    pub n_fake: usize,
    /// Which of two values is the better one.
    pub higher_is_better: bool,
}

/// What can be asked for: one metric, or a few that come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// The Fréchet distance.
    Fd,
    /// Its extrapolation to infinitely many samples.
    FdInfinity,
    /// The kernel distance of whole sets.
    Kid,
    /// The kernel distance of 100 random subsets of 1,000 rows, as papers report it.
    KidSubsets,
    /// The classifier score and its two parts.
    ClassifierScore,
    /// How classes are hit, and the Fréchet distance of each.
    Classes,
    /// Precision, recall, density, coverage.
    Prdc,
    /// The Vendi score.
    Vendi,
    /// The sliced Wasserstein distance.
    SlicedWasserstein,
    /// The exact Wasserstein distance of as many points as it can be computed for.
    Wasserstein,
    /// The maximum mean discrepancy under Gaussian kernels.
    Mmd,
    /// The energy distance.
    EnergyDistance,
    /// The feature likelihood score.
    Fls,
    /// Tests for samples that are copies of training rows.
    Memorisation,
    /// How well a nearest neighbour tells samples from real rows.
    OneNearest,
    /// The perceptual path length of models with a latent code.
    PathLength,
    /// Modes of known mixtures.
    Modes,
    /// Likelihoods of test rows.
    Likelihood,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 18] = [
        Metric::Fd,
        Metric::FdInfinity,
        Metric::Kid,
        Metric::KidSubsets,
        Metric::ClassifierScore,
        Metric::Classes,
        Metric::Prdc,
        Metric::Vendi,
        Metric::SlicedWasserstein,
        Metric::Wasserstein,
        Metric::Mmd,
        Metric::EnergyDistance,
        Metric::Fls,
        Metric::Memorisation,
        Metric::OneNearest,
        Metric::PathLength,
        Metric::Modes,
        Metric::Likelihood,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Fd => "fd",
            Metric::FdInfinity => "fd-infinity",
            Metric::Kid => "kid",
            Metric::KidSubsets => "kid-subsets",
            Metric::ClassifierScore => "classifier-score",
            Metric::Classes => "classes",
            Metric::Prdc => "prdc",
            Metric::Vendi => "vendi",
            Metric::SlicedWasserstein => "sliced-wasserstein",
            Metric::Wasserstein => "wasserstein",
            Metric::Mmd => "mmd",
            Metric::EnergyDistance => "energy-distance",
            Metric::Fls => "fls",
            Metric::Memorisation => "memorisation",
            Metric::OneNearest => "one-nearest",
            Metric::PathLength => "path-length",
            Metric::Modes => "modes",
            Metric::Likelihood => "likelihood",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    /// By its own name, or by that of a number that it gives, as `metrics.csv` has it.
    fn from_str(name: &str) -> Result<Self> {
        let with_hyphens = name.replace('_', "-");
        let found = Self::ALL.into_iter().find(|metric| metric.name() == with_hyphens);
        found
            .or_else(|| giving(name))
            .ok_or_else(|| Error::unknown("metric", name, Self::ALL.map(Metric::name)))
    }
}

/// What gives a number of this name in `metrics.csv`, where it is not called like the number.
fn giving(number: &str) -> Option<Metric> {
    Some(match number {
        "precision" | "recall" | "density" | "coverage" => Metric::Prdc,
        "classifier_entropy_marginal" | "classifier_entropy_conditional" => Metric::ClassifierScore,
        "class_kl" | "class_tv" | "class_share" | "class_fd" => Metric::Classes,
        "sliced_w2" => Metric::SlicedWasserstein,
        "wasserstein2" => Metric::Wasserstein,
        "auth_pct" | "copied_share" | "nearest_train_z" => Metric::Memorisation,
        "one_nn_accuracy" => Metric::OneNearest,
        "modes_covered" | "high_quality_share" => Metric::Modes,
        "bits_per_dim" | "nll_nats" | "nll_gap_nats" | "kl_nats" | "effective_sample_size" => {
            Metric::Likelihood
        }
        _ => return None,
    })
}

/// Whether a higher value of a metric, by its name in `metrics.csv`, is the better one.
///
/// `one_nn_accuracy` is best at 0.5; above it samples can be told from real rows, so lower is better as long as
/// nothing is memorised. Of `nearest_train_z`, higher means farther from the training rows.
pub(super) fn higher_is_better(metric: &str) -> bool {
    matches!(
        metric,
        "classifier_score"
            | "classifier_entropy_marginal"
            | "precision"
            | "recall"
            | "density"
            | "coverage"
            | "vendi"
            | "fls"
            | "auth_pct"
            | "nearest_train_z"
            | "modes_covered"
            | "high_quality_share"
            | "effective_sample_size"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_near_ones_suggested() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
        }
        let numbers = [
            ("coverage", Metric::Prdc),
            ("fd_infinity", Metric::FdInfinity),
            ("nll_nats", Metric::Likelihood),
        ];
        for (number, metric) in numbers {
            assert_eq!(number.parse::<Metric>().unwrap(), metric);
        }
        let error = "fdd".parse::<Metric>().unwrap_err().to_string();
        assert_eq!(error, "unknown metric `fdd`: did you mean `fd`?");
    }
}
