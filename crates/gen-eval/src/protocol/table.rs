//! The table of metrics. Names, help, directions and the rows of `metrics.csv` all follow from it.

use std::fmt;
use std::str::FromStr;

use super::comparison::Comparison;
use super::found::Found;
use super::measures::{classes, copies, distances, likelihood, path, support};
use super::real::RealRows;
use super::stage::Stage;
use crate::measurement::Direction::{self, Higher, Lower, None as Neither, Target};
use gen_core::model::{Density, Latent};
use gen_core::{Error, Result};

/// A metric that `gen evaluate --metrics` offers. It gives one number or several that are computed together.
pub struct MetricSpec {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of description.
    pub meaning: &'static str,
    /// The numbers in `metrics.csv`.
    pub numbers: &'static [NumberSpec],
    /// The data for which the metric is defined.
    pub domain: Domain,
    /// Whether the metric finds copies of training rows. Its floor is of test rows, since training rows would all be
    /// copies.
    pub finds_copies: bool,
    /// The function that computes the metric, by its input.
    pub(super) compute: Compute,
}

/// A number in `metrics.csv`.
#[derive(Debug, Clone, Copy)]
pub struct NumberSpec {
    /// The name in the column `metric`.
    pub name: &'static str,
    /// Which of two values is better.
    pub direction: Direction,
}

/// The data for which a metric is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Images and points.
    All,
    /// Images alone.
    Images,
    /// Points alone.
    Points,
}

/// The input of a metric, and the function that computes it.
#[derive(Clone, Copy)]
pub(super) enum Compute {
    /// Features of samples and real rows.
    Features(Compare),
    /// Features, and the distance of each test row to its `k`-th nearest other, which are stored with the features.
    Radii(Compare),
    /// Class scores, which the space of a classifier has.
    Logits(Compare),
    /// Samples in the form of the data.
    Samples(Compare),
    /// A model's latents, in each space.
    Latents(fn(&dyn Latent, &RealRows<'_>, u64) -> Result<Found>),
    /// A model's likelihood of test rows, in no space.
    Density(Estimate),
}

type Estimate = fn(&dyn Density, &likelihood::TestRows<'_>, &mut dyn FnMut(Stage)) -> Result<Vec<Found>>;
type Compare = fn(&mut Comparison<'_>) -> Result<()>;

/// All metrics, in the order in which they are computed and written.
///
/// Some numbers have no direction, and rank no model:
///
/// - `vendi` counts different samples, of which noise has the most. `classifier_entropy_marginal` and
///   `classifier_entropy_conditional` are the parts of `classifier_score`: uncertainty about every sample raises the
///   first as much as variety does.
/// - `auth_pct`, `copied_share` and `nearest_train_z` find copies. Samples far from all data are no copies, and would
///   win.
/// - `path_length` is 0 for a collapsed generator, `effective_sample_size` is K for a decoder that ignores its latent.
/// - `class_share` should equal that of the data, class by class, which `class_tv` measures.
///
/// Two have a target. `density` is 1 on average for samples from the distribution of the data, and above 1 for samples
/// in its densest parts. `one_nn_accuracy` is 1 for samples apart from the data and 0 for copies.
pub static METRICS: [MetricSpec; 18] = [
    MetricSpec { name: "fd", meaning: "Fréchet distance", numbers: &[number("fd", Lower)], ..features(distances::fd) },
    MetricSpec {
        name: "fd-infinity",
        meaning: "Fréchet distance, extrapolated to infinitely many samples",
        numbers: &[number("fd_infinity", Lower)],
        ..features(distances::fd_infinity)
    },
    MetricSpec {
        name: "kid",
        meaning: "kernel distance of all rows, unbiased",
        numbers: &[number("kid", Lower)],
        ..features(distances::kid)
    },
    MetricSpec {
        name: "kid-subsets",
        meaning: "kernel distance of 100 random subsets of 1,000 rows, as papers report it",
        numbers: &[number("kid_subsets", Lower)],
        ..features(distances::kid_subsets)
    },
    MetricSpec {
        name: "classifier-score",
        meaning: "classifier (inception) score and its two entropies",
        numbers: &[
            number("classifier_score", Higher),
            number("classifier_entropy_marginal", Neither),
            number("classifier_entropy_conditional", Neither),
        ],
        ..metric(Compute::Logits(classes::score))
    },
    MetricSpec {
        name: "classes",
        meaning: "how often each class occurs, and the Fréchet distance within it",
        numbers: &[
            number("class_kl", Lower),
            number("class_tv", Lower),
            number("class_share", Neither),
            number("class_fd", Lower),
        ],
        ..metric(Compute::Logits(classes::classes))
    },
    MetricSpec {
        name: "prdc",
        meaning: "precision, recall, density and coverage",
        numbers: &[
            number("precision", Higher),
            number("recall", Higher),
            number("density", Target(1.0)),
            number("coverage", Higher),
        ],
        ..metric(Compute::Radii(support::prdc))
    },
    MetricSpec {
        name: "vendi",
        meaning: "Vendi score: the effective number of different samples",
        numbers: &[number("vendi", Neither)],
        ..features(support::vendi)
    },
    MetricSpec {
        name: "sliced-wasserstein",
        meaning: "sliced Wasserstein distance of order 2",
        numbers: &[number("sliced_w2", Lower)],
        ..features(distances::sliced_wasserstein_distance)
    },
    MetricSpec {
        name: "wasserstein",
        meaning: "exact Wasserstein distance of order 2, of at most 1,000 rows",
        numbers: &[number("wasserstein2", Lower)],
        domain: Domain::Points,
        ..features(distances::wasserstein)
    },
    MetricSpec {
        name: "mmd",
        meaning: "squared maximum mean discrepancy under Gaussian kernels",
        numbers: &[number("mmd", Lower)],
        ..features(distances::mmd)
    },
    MetricSpec {
        name: "energy-distance",
        meaning: "energy distance",
        numbers: &[number("energy_distance", Lower)],
        ..features(distances::energy_distance)
    },
    MetricSpec {
        name: "fls",
        meaning: "feature likelihood score: quality, variety and novelty in one number",
        numbers: &[number("fls", Higher)],
        // In few dimensions the nearest training row is far nearer than the next sample.
        domain: Domain::Images,
        finds_copies: true,
        ..features(copies::feature_likelihood)
    },
    MetricSpec {
        name: "memorisation",
        meaning: "tests for samples that are copies of training rows",
        numbers: &[number("auth_pct", Neither), number("copied_share", Neither), number("nearest_train_z", Neither)],
        finds_copies: true,
        ..features(copies::memorisation)
    },
    MetricSpec {
        name: "one-nearest",
        meaning: "how well the nearest neighbour tells samples from real rows",
        numbers: &[number("one_nn_accuracy", Target(0.5))],
        ..features(support::one_nearest)
    },
    MetricSpec {
        name: "path-length",
        meaning: "perceptual path length of models with latents",
        numbers: &[number("path_length", Neither)],
        ..metric(Compute::Latents(path::length))
    },
    MetricSpec {
        name: "modes",
        meaning: "modes of known mixtures that samples reach",
        numbers: &[number("modes_covered", Higher), number("high_quality_share", Higher)],
        domain: Domain::Points,
        ..metric(Compute::Samples(support::modes))
    },
    MetricSpec {
        name: "likelihood",
        meaning: "likelihoods of test rows",
        numbers: &[
            number("bits_per_dim", Lower),
            number("nll_nats", Lower),
            number("nll_gap_nats", Lower),
            number("kl_nats", Lower),
            number("effective_sample_size", Neither),
        ],
        ..metric(Compute::Density(likelihood::of_model))
    },
];

const fn number(name: &'static str, direction: Direction) -> NumberSpec {
    NumberSpec { name, direction }
}

const fn features(compare: Compare) -> MetricSpec {
    metric(Compute::Features(compare))
}

/// An entry with defaults.
const fn metric(compute: Compute) -> MetricSpec {
    MetricSpec { name: "", meaning: "", numbers: &[], domain: Domain::All, finds_copies: false, compute }
}

/// The direction of a number by its name in `metrics.csv`; [`Direction::None`] for unknown names.
pub fn direction(number: &str) -> Direction {
    let mut numbers = METRICS.iter().flat_map(|metric| metric.numbers);
    numbers.find(|spec| spec.name == number).map_or(Neither, |spec| spec.direction)
}

impl MetricSpec {
    /// Whether the metric gives the number of this name.
    pub fn gives(&self, number: &str) -> bool {
        self.numbers.iter().any(|spec| spec.name == number)
    }

    /// Whether the metric is about likelihoods, which need neither samples nor features.
    pub fn needs_density(&self) -> bool {
        matches!(self.compute, Compute::Density(_))
    }

    /// The function of a metric that compares samples with real rows.
    pub(super) fn comparing(&self) -> Option<Compare> {
        match self.compute {
            Compute::Features(compare)
            | Compute::Radii(compare)
            | Compute::Logits(compare)
            | Compute::Samples(compare) => Some(compare),
            Compute::Latents(_) | Compute::Density(_) => None,
        }
    }
}

impl PartialEq for MetricSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for MetricSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for MetricSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for &'static MetricSpec {
    type Err = Error;

    /// The metric of this name, or the one that gives a number of this name.
    fn from_str(name: &str) -> Result<Self> {
        let with_hyphens = name.replace('_', "-");
        let found = METRICS.iter().find(|metric| metric.name == with_hyphens);
        found
            .or_else(|| METRICS.iter().find(|metric| metric.gives(name)))
            .ok_or_else(|| Error::unknown("metric", name, METRICS.each_ref().map(|metric| metric.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_near_ones_suggested() {
        let parse = |name: &str| name.parse::<&MetricSpec>();
        for metric in &METRICS {
            assert_eq!(parse(metric.name).unwrap(), metric);
            for number in metric.numbers {
                assert_eq!(parse(number.name).unwrap(), metric);
            }
        }
        for (number, metric) in [("coverage", "prdc"), ("fd_infinity", "fd-infinity"), ("nll_nats", "likelihood")] {
            assert_eq!(parse(number).unwrap().name, metric);
        }
        let error = parse("fdd").unwrap_err().to_string();
        assert_eq!(error, "unknown metric `fdd`: did you mean `fd`?");
    }

    #[test]
    fn names_are_unique_and_described() {
        let mut names: Vec<&str> = METRICS.iter().flat_map(|metric| metric.numbers).map(|n| n.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(METRICS.iter().all(|metric| !metric.meaning.is_empty() && !metric.numbers.is_empty()));
    }

    #[test]
    fn descriptive_numbers_rank_nothing() {
        for metric in ["auth_pct", "nearest_train_z", "copied_share", "vendi", "path_length", "class_share"] {
            assert_eq!((direction(metric).name(), direction(metric).target()), ("", None), "{metric}");
        }
        assert_eq!(direction("one_nn_accuracy"), Target(0.5));
        assert_eq!((direction("density").name(), direction("density").target()), ("target", Some(1.0)));
        assert_eq!((direction("fd").name(), direction("recall").name()), ("lower", "higher"));
    }
}
