use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use gen_core::{Error, Result};

/// One number that was measured, with all that one must know to compare it: a row of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured: `fd`, `precision`, …
    pub metric: String,
    /// The feature space, or `data` where nothing is compared in one.
    pub space: String,
    /// What the metric depends on besides: `k=5`, `q=1`, `class=3`, the kind of a likelihood; empty if nothing.
    pub parameter: String,
    /// The number. It may be infinite, or no number at all where the samples are none.
    pub value: f64,
    /// How far it would move with other samples and other real rows, where that is known.
    pub standard_error: Option<f64>,
    /// The same metric of real rows in the place of the samples.
    pub floor: Option<f64>,
    /// Real rows.
    pub n_real: usize,
    /// Samples.
    pub n_fake: usize,
    /// Which of two values is the better one.
    pub direction: Direction,
}

/// Which of two values of a metric is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Direction {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
    /// The one nearer to this value, which data has.
    Target(f64),
    /// Neither: the number describes, and a model is not ranked by it.
    None,
}

impl Direction {
    /// The name in `metrics.csv`: `higher`, `lower`, `target`, or nothing.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
            Direction::Target(_) => "target",
            Direction::None => "",
        }
    }

    /// The best value, where that is neither the highest nor the lowest.
    pub fn target(self) -> Option<f64> {
        match self {
            Direction::Target(value) => Some(value),
            _ => None,
        }
    }

    /// That of a metric, by its name in `metrics.csv`; `None` for unknown names.
    ///
    /// Those without a direction, and why none of them ranks models:
    ///
    /// - `vendi` counts different samples, and noise has the most. `classifier_entropy_marginal` and
    ///   `classifier_entropy_conditional` are the parts of `classifier_score`: doubt about every sample makes the first as
    ///   high as variety does.
    /// - `auth_pct`, `copied_share` and `nearest_train_z` find copies. What is far from all data is no copy, and would win.
    /// - `path_length` is 0 for a generator that has collapsed, `effective_sample_size` K for one that ignores its code.
    /// - `class_share` should be that of the data, class by class, which `class_tv` measures.
    ///
    /// `density` is 1 on average for samples from the distribution of the data, and above it for samples that keep to its
    /// densest parts; `one_nn_accuracy` is 1 for samples apart from the data and 0 for copies.
    pub fn of(metric: &str) -> Self {
        match metric {
            "precision" | "fls" | "recall" | "coverage" | "classifier_score" | "modes_covered"
            | "high_quality_share" => Direction::Higher,
            "fd" | "fd_infinity" | "kid" | "kid_subsets" | "class_kl" | "class_tv" | "class_fd"
            | "sliced_w2" | "wasserstein2" | "mmd" | "energy_distance" | "bits_per_dim" | "nll_nats"
            | "nll_gap_nats" | "kl_nats" => Direction::Lower,
            "density" => Direction::Target(1.0),
            "one_nn_accuracy" => Direction::Target(0.5),
            _ => Direction::None,
        }
    }
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

    #[test]
    fn what_describes_ranks_nothing() {
        for metric in ["auth_pct", "nearest_train_z", "copied_share", "vendi", "path_length", "class_share"] {
            assert_eq!(
                (Direction::of(metric).name(), Direction::of(metric).target()),
                ("", None),
                "{metric}"
            );
        }
        assert_eq!(Direction::of("one_nn_accuracy"), Direction::Target(0.5));
        assert_eq!(
            (Direction::of("density").name(), Direction::of("density").target()),
            ("target", Some(1.0))
        );
        assert_eq!((Direction::of("fd").name(), Direction::of("recall").name()), ("lower", "higher"));
    }
}
