//! Every metric of samples against real rows in one feature space.

use tch::Tensor;

use super::Stage;
use super::options::EvaluateOptions;
use super::space::{RealRows, classes};
use crate::data::{Dataset, PointSet, Values};
use crate::error::Result;
use crate::eval::features::Embedded;
use crate::eval::measurement::{Measurement, higher_is_better};
use crate::eval::{
    Estimator, Metric, NearestTraining, block_standard_error, class_histogram_distance, classifier_score,
    energy_distance, extrapolation_sizes, feature_likelihood_score, frechet_distance,
    frechet_distance_infinity, frechet_standard_error, kernel_distance, kernel_distance_of_subsets,
    kernel_distance_standard_error, median_distance, mmd_squared, mode_coverage, one_nn_accuracy,
    prdc_with_radii, random_directions, rbf_kernel, sliced_wasserstein, vendi_score, wasserstein_exact,
};
use crate::params::NamedTensors;
use crate::rng::{Purpose, permutation};

/// Disjoint blocks behind standard errors that have no formula.
const BLOCKS: i64 = 10;
/// Bandwidths of the kernel of the MMD, in medians of the distances between test rows.
const BANDWIDTHS: [f64; 4] = [0.25, 0.5, 1.0, 2.0];
/// Rows that the median is taken of.
const MEDIAN_ROWS: i64 = 2000;
/// The protocol of papers for the kernel distance: subsets, and rows in each.
const SUBSETS: (usize, i64) = (100, 1000);
/// Splits of the classifier score.
const SPLITS: usize = 10;
/// Directions of the sliced Wasserstein distance.
const DIRECTIONS: i64 = 500;
/// Rows of the exact Wasserstein distance, whose cost grows with their cube.
const MATCHED_ROWS: i64 = 1000;
/// Rows of each of the four sets of the feature likelihood score.
const LIKELIHOOD_ROWS: i64 = 2000;
/// Rows of each set of the one-nearest-neighbour test.
const TOLD_APART_ROWS: i64 = 5000;

/// A number, before it is known in which space and beside which floor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) metric: String,
    pub(super) parameter: String,
    pub(super) value: f64,
    standard_error: Option<f64>,
    n_real: usize,
    n_fake: usize,
}

impl Found {
    /// Whether both are of one metric with one parameter.
    pub(super) fn is_of(&self, other: &Found) -> bool {
        (&self.metric, &self.parameter) == (&other.metric, &other.parameter)
    }

    pub(super) fn in_space(self, space: &str, floor: Option<f64>) -> Measurement {
        Measurement {
            higher_is_better: higher_is_better(&self.metric),
            metric: self.metric,
            space: space.to_owned(),
            parameter: self.parameter,
            value: self.value,
            standard_error: self.standard_error,
            floor,
            n_real: self.n_real,
            n_fake: self.n_fake,
        }
    }

    /// As a cache keeps them: a tensor of one number each, named by metric and parameter.
    pub(super) fn tensors(found: &[Found]) -> NamedTensors {
        let mut tensors = NamedTensors::new();
        for found in found {
            let name = format!("{}|{}", found.metric, found.parameter);
            tensors.insert(name, Tensor::from_slice(&[found.value]));
        }
        tensors
    }

    /// Values that were kept; what only the samples' own rows are for is left out.
    pub(super) fn read(kept: &NamedTensors) -> Option<Vec<Found>> {
        let one = |(name, value): (&str, &Tensor)| {
            let (metric, parameter) = name.split_once('|')?;
            Some(Found {
                metric: metric.to_owned(),
                parameter: parameter.to_owned(),
                value: value.double_value(&[0]),
                standard_error: None,
                n_real: 0,
                n_fake: 0,
            })
        };
        kept.iter().map(one).collect()
    }
}

/// Samples held against the real rows of a space.
pub(super) struct Comparison<'a> {
    real: &'a RealRows<'a>,
    fake: &'a Embedded,
    options: &'a EvaluateOptions,
    /// Whether real rows stand in for the samples.
    floor: bool,
    found: Vec<Found>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        real: &'a RealRows<'a>,
        fake: &'a Embedded,
        options: &'a EvaluateOptions,
        floor: bool,
    ) -> Self {
        Comparison { real, fake, options, floor, found: Vec::new() }
    }

    /// All metrics that are asked for and mean something here.
    pub(super) fn run(mut self, data: &Dataset, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Found>> {
        let points = data.spec.values == Values::Continuous;
        let applies = |metric: &Metric| match metric {
            Metric::Wasserstein | Metric::Modes => points,
            Metric::PathLength | Metric::Likelihood => false,
            _ => true,
        };
        let wanted = |metric: &Metric| self.options.wants(*metric) && applies(metric);
        for metric in Metric::ALL.into_iter().filter(wanted).collect::<Vec<_>>() {
            let (space, floor) = (self.real.name(), self.floor);
            let mut progress = |done, total| {
                observe(Stage::Comparing { space: space.clone(), metric, floor, done, total });
            };
            progress(0, 1);
            match metric {
                Metric::Fd => self.fd(),
                Metric::FdInfinity => self.fd_infinity(),
                Metric::Kid => self.kid(),
                Metric::KidSubsets => self.kid_subsets(),
                Metric::ClassifierScore => self.classifier_score(),
                Metric::Classes => self.classes(),
                Metric::Prdc => self.prdc(),
                Metric::Vendi => self.vendi(),
                Metric::SlicedWasserstein => self.sliced_wasserstein(),
                Metric::Wasserstein => self.wasserstein(),
                Metric::Mmd => self.mmd(data),
                Metric::EnergyDistance => self.energy_distance(),
                Metric::Fls => self.fls(),
                Metric::Memorisation => self.memorisation(&mut progress),
                Metric::OneNearest => self.one_nearest(),
                Metric::Modes => self.modes(data),
                // These need a model.
                Metric::PathLength | Metric::Likelihood => Ok(()),
            }?;
        }
        Ok(self.found)
    }

    fn real(&self) -> &'a Tensor {
        &self.real.test.features
    }

    fn fake(&self) -> &'a Tensor {
        &self.fake.features
    }

    /// The rows of the smaller of the two sets.
    fn rows(&self) -> i64 {
        self.real().size()[0].min(self.fake().size()[0])
    }

    /// As many rows of both sets, `most` or fewer.
    fn equal(&self, most: i64) -> (Tensor, Tensor) {
        let rows = self.rows().min(most);
        (self.real().narrow(0, 0, rows), self.fake().narrow(0, 0, rows))
    }

    fn add(&mut self, metric: &str, parameter: &str, value: f64, standard_error: Option<f64>) {
        let (real, fake) = (self.real().size()[0], self.fake().size()[0]);
        self.add_of(metric, parameter, value, standard_error, (real, fake));
    }

    fn add_of(&mut self, metric: &str, parameter: &str, value: f64, error: Option<f64>, rows: (i64, i64)) {
        // What is not finite does not apply.
        if value.is_finite() {
            self.found.push(Found {
                metric: metric.to_owned(),
                parameter: parameter.to_owned(),
                value,
                standard_error: error.filter(|error| error.is_finite()),
                n_real: rows.0 as usize,
                n_fake: rows.1 as usize,
            });
        }
    }

    fn fd(&mut self) -> Result<()> {
        let value = frechet_distance(self.real(), self.fake())?;
        self.add("fd", "", value, Some(frechet_standard_error(self.real(), self.fake())?));
        Ok(())
    }

    fn fd_infinity(&mut self) -> Result<()> {
        let sizes = extrapolation_sizes(self.fake().size()[0]);
        if sizes.len() > 2 {
            let line = frechet_distance_infinity(self.real(), self.fake(), &sizes)?;
            self.add("fd_infinity", &format!("sizes={}", sizes.len()), line.limit, Some(line.standard_error));
        }
        Ok(())
    }

    fn kid(&mut self) -> Result<()> {
        let block = self.rows() / BLOCKS;
        let error = (block >= 2).then(|| kernel_distance_standard_error(self.real(), self.fake(), block));
        self.add("kid", "", kernel_distance(self.real(), self.fake())?, error.transpose()?);
        Ok(())
    }

    fn kid_subsets(&mut self) -> Result<()> {
        let (subsets, size) = SUBSETS;
        if self.rows() >= size {
            let found = kernel_distance_of_subsets(self.real(), self.fake(), subsets, size, 0)?;
            let parameter = format!("{subsets}x{size}");
            self.add("kid_subsets", &parameter, found.mean, Some(found.std / (subsets as f64).sqrt()));
        }
        Ok(())
    }

    fn classifier_score(&mut self) -> Result<()> {
        let Some(logits) = &self.fake.logits else { return Ok(()) };
        let splits = SPLITS.min(logits.size()[0] as usize);
        let found = classifier_score(logits, splits)?;
        let parameter = format!("splits={splits}");
        let error = found.standard_deviation / (splits as f64).sqrt();
        self.add("classifier_score", &parameter, found.score, Some(error));
        self.add("classifier_entropy_marginal", "", found.marginal_entropy, None);
        self.add("classifier_entropy_conditional", "", found.conditional_entropy, None);
        Ok(())
    }

    fn classes(&mut self) -> Result<()> {
        let (Some(real), Some(fake)) = (&self.real.test.logits, &self.fake.logits) else { return Ok(()) };
        let count = real.size()[1];
        let (real, fake) = (classes(real), classes(fake));
        let histogram = class_histogram_distance(&real, &fake, count)?;
        self.add("class_kl", "", histogram.kl, None);
        self.add("class_tv", "", histogram.total_variation, None);
        for class in 0..count {
            let of = |classes: &Tensor| classes.eq(class).nonzero().squeeze_dim(1);
            let (real_rows, fake_rows) = (of(&real), of(&fake));
            let rows = (real_rows.size()[0], fake_rows.size()[0]);
            let parameter = format!("class={class}");
            let share = |rows: i64, all: &Tensor| rows as f64 / all.size()[0] as f64;
            self.add_of("class_share", &parameter, share(rows.1, &fake), None, rows);
            if rows.0 >= 2 && rows.1 >= 2 {
                let real = self.real().index_select(0, &real_rows);
                let fake = self.fake().index_select(0, &fake_rows);
                let error = frechet_standard_error(&real, &fake)?;
                self.add_of("class_fd", &parameter, frechet_distance(&real, &fake)?, Some(error), rows);
            }
        }
        Ok(())
    }

    fn prdc(&mut self) -> Result<()> {
        let k = self.options.k;
        // Recall grows with the number of samples: both sides have the same.
        let (real, fake) = self.equal(i64::MAX);
        let rows = real.size()[0];
        if rows <= k {
            return Ok(());
        }
        let radii = match &self.real.radii {
            Some(radii) if radii.size()[0] == rows => radii.shallow_clone(),
            _ => crate::eval::neighbour_radii(&real, k)?,
        };
        let found = prdc_with_radii(&real, &radii, &fake, k)?;
        let errors = found.standard_errors;
        for (metric, value, error) in [
            ("precision", found.precision, errors.precision),
            ("recall", found.recall, errors.recall),
            ("density", found.density, errors.density),
            ("coverage", found.coverage, errors.coverage),
        ] {
            self.add_of(metric, &format!("k={k}"), value, Some(error), (rows, rows));
        }
        Ok(())
    }

    fn vendi(&mut self) -> Result<()> {
        for (parameter, order) in [("q=1", 1.0), ("q=2", 2.0), ("q=inf", f64::INFINITY)] {
            let value = vendi_score(self.fake(), order)?;
            self.add("vendi", parameter, value, None);
        }
        Ok(())
    }

    fn sliced_wasserstein(&mut self) -> Result<()> {
        let directions = random_directions(self.real().size()[1], DIRECTIONS, 0);
        let found = sliced_wasserstein(self.real(), self.fake(), &directions)?;
        let few = directions.narrow(0, 0, DIRECTIONS / 10);
        let w2 = |real: &Tensor, fake: &Tensor| Ok(sliced_wasserstein(real, fake, &few)?.w2);
        let error = self.block_error(w2)?;
        self.add("sliced_w2", &format!("directions={DIRECTIONS}"), found.w2, error);
        Ok(())
    }

    fn wasserstein(&mut self) -> Result<()> {
        let (real, fake) = self.equal(MATCHED_ROWS);
        let rows = real.size()[0];
        let value = wasserstein_exact(&real, &fake, 2.0)?;
        self.add_of("wasserstein2", &format!("n={rows}"), value, None, (rows, rows));
        Ok(())
    }

    /// Points: Gaussian kernels of several widths. Images: one, of the median distance.
    fn mmd(&mut self, data: &Dataset) -> Result<()> {
        let rows = self.real().size()[0].min(MEDIAN_ROWS);
        // Taken from real rows, so that all models meet the same kernel.
        let median = median_distance(&self.real().narrow(0, 0, rows))?;
        let (factors, parameter) = match data.spec.values {
            Values::Continuous => (&BANDWIDTHS[..], "sigma=median/4,/2,1,2"),
            _ => (&BANDWIDTHS[2..3], "sigma=median"),
        };
        let sigmas: Vec<f64> = factors.iter().map(|factor| factor * median).collect();
        if median > 0.0 {
            let distance = |real: &Tensor, fake: &Tensor| {
                mmd_squared(real, fake, rbf_kernel(&sigmas), Estimator::Unbiased)
            };
            let value = distance(self.real(), self.fake())?;
            let error = self.block_error(distance)?;
            self.add("mmd", parameter, value, error);
        }
        Ok(())
    }

    fn energy_distance(&mut self) -> Result<()> {
        let value = energy_distance(self.real(), self.fake())?;
        self.add("energy_distance", "", value, self.block_error(energy_distance)?);
        Ok(())
    }

    /// Half of the training rows that are looked at are the ones that the samples are fitted to, half are the baseline.
    fn fls(&mut self) -> Result<()> {
        let train = &self.real.train;
        let rows = LIKELIHOOD_ROWS.min(self.rows()).min(train.size()[0] / 2);
        if rows < 2 {
            return Ok(());
        }
        let mut order = permutation(train.size()[0] as usize, 0, Purpose::Evaluate, 3);
        order.truncate(2 * rows as usize);
        let train = train.index_select(0, &Tensor::from_slice(&order));
        let (real, fake) = self.equal(rows);
        let (fitted, baseline) = (train.narrow(0, 0, rows), train.narrow(0, rows, rows));
        let value = feature_likelihood_score(&fitted, &baseline, &real, &fake)?;
        self.add_of("fls", &format!("n={rows}"), value, None, (rows, rows));
        Ok(())
    }

    fn memorisation(&mut self, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let train = &self.real.train;
        if train.size()[0] < 2 {
            return Ok(());
        }
        let test = self.real.nearest_of_test()?;
        // Of training rows all would be copies: what an honest model gets is what test rows get.
        let found = match self.floor {
            true => None,
            false => Some(NearestTraining::find(train, self.fake(), progress)?),
        };
        let fake = found.as_ref().unwrap_or(&test);
        let rows = (self.real().size()[0], self.fake().size()[0]);
        let error = |share: f64| (share * (1.0 - share) / rows.1 as f64).sqrt();
        let (authentic, copied) = (fake.auth_pct(train)?, fake.copied_share(&test)?.share);
        self.add_of("auth_pct", "", authentic, Some(100.0 * error(authentic / 100.0)), rows);
        self.add_of("copied_share", "", copied, Some(error(copied)), rows);
        self.add_of("nearest_train_z", "", fake.against(&test)?.z, Some(1.0), rows);
        Ok(())
    }

    fn one_nearest(&mut self) -> Result<()> {
        let (real, fake) = self.equal(TOLD_APART_ROWS);
        let rows = real.size()[0];
        let value = one_nn_accuracy(&real, &fake)?.all;
        let error = (value * (1.0 - value) / (2 * rows) as f64).sqrt();
        self.add_of("one_nn_accuracy", &format!("n={rows}"), value, Some(error), (rows, rows));
        Ok(())
    }

    fn modes(&mut self, data: &Dataset) -> Result<()> {
        let Some(modes) = PointSet::named(&data.spec.name).ok().and_then(PointSet::modes) else {
            return Ok(());
        };
        let found = mode_coverage(&modes.centres, modes.std, self.fake())?;
        let share = found.high_quality_share;
        let rows = self.fake().size()[0];
        self.add("modes_covered", &format!("of {}", found.total), found.covered as f64, None);
        let error = (share * (1.0 - share) / rows as f64).sqrt();
        self.add("high_quality_share", "", share, Some(error));
        Ok(())
    }

    /// The standard error by disjoint blocks, where there are enough rows for them.
    fn block_error(&self, metric: impl Fn(&Tensor, &Tensor) -> Result<f64>) -> Result<Option<f64>> {
        let enough = self.rows() / BLOCKS >= 2;
        enough.then(|| block_standard_error(self.real(), self.fake(), BLOCKS, metric)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let found = vec![Found {
            metric: "vendi".to_owned(),
            parameter: "q=1".to_owned(),
            value: 3.25,
            standard_error: None,
            n_real: 0,
            n_fake: 0,
        }];
        assert_eq!(Found::read(&Found::tensors(&found)).unwrap(), found);
    }
}
