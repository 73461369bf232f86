//! Every metric of samples against real rows in one feature space.

use tch::Tensor;

use super::Stage;
use super::space::{RealRows, classes};
use crate::features::Embedded;
use crate::measurement::{Direction, Measurement};
use crate::{
    Estimate, Estimator, Metric, NearestTraining, block_standard_error, class_histogram_distance,
    classifier_score, energy_distance_estimate, extrapolation_sizes, feature_likelihood_score,
    frechet_distance, frechet_distance_infinity, frechet_standard_error, kernel_distance_estimate,
    kernel_distance_of_subsets, median_distance, mmd_squared_estimate, mode_coverage, one_nn_accuracy,
    prdc_with_radii, random_directions, rbf_kernel, share_standard_error, sliced_wasserstein, vendi_score,
    wasserstein_exact,
};
use gen_core::Result;
use gen_core::data::{Dataset, PointSet, Values};
use gen_core::params::NamedTensors;

/// Disjoint blocks behind standard errors that have no formula.
const BLOCKS: i64 = 10;
/// Rows of each side without which a block says nothing.
const LEAST_IN_BLOCK: i64 = 5;
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
/// Rows of each set of the feature likelihood score but the training rows.
const LIKELIHOOD_ROWS: i64 = 2000;
/// Rows of each set of the one-nearest-neighbour test.
const TOLD_APART_ROWS: i64 = 5000;

/// Rows a dimension, and rows, without which a Fréchet distance has no error that could be trusted: a covariance of fewer is
/// mostly noise, and so is the floor.
const ROWS_A_DIMENSION: i64 = 5;
const LEAST_ROWS: i64 = 100;

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

    /// That there is no such number of these rows.
    pub(super) fn without_number(&self, n_real: usize, n_fake: usize) -> Found {
        Found { value: f64::NAN, standard_error: None, n_real, n_fake, ..self.clone() }
    }

    pub(super) fn in_space(self, space: &str, floor: Option<f64>) -> Measurement {
        Measurement {
            direction: Direction::of(&self.metric),
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

/// Whose rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Somebody's samples.
    Samples,
    /// Training rows in their place, for the floor.
    Floor,
}

/// Samples held against the real rows of a space.
pub(super) struct Comparison<'a> {
    real: &'a RealRows<'a>,
    fake: &'a Embedded,
    /// The samples as they came.
    raw: &'a Tensor,
    who: Who,
    kid: Option<Estimate>,
    found: Vec<Found>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(real: &'a RealRows<'a>, fake: &'a Embedded, raw: &'a Tensor, who: Who) -> Self {
        Comparison { real, fake, raw, who, kid: None, found: Vec::new() }
    }

    /// All metrics that are asked for and mean something here.
    pub(super) fn run(self, data: &Dataset, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Found>> {
        let points = data.spec.values == Values::Continuous;
        let applies = |metric: &Metric| match metric {
            Metric::Wasserstein | Metric::Modes => points,
            // In few dimensions the nearest training row is far nearer than the next sample.
            Metric::Fls => !points,
            Metric::PathLength | Metric::Likelihood => false,
            _ => true,
        };
        self.measure(&Metric::ALL.into_iter().filter(applies).collect::<Vec<_>>(), data, observe)
    }

    /// Those that look for copies of training rows.
    pub(super) fn copies(self, data: &Dataset, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Found>> {
        let points = data.spec.values == Values::Continuous;
        let metrics = if points { &[Metric::Memorisation][..] } else { &[Metric::Fls, Metric::Memorisation] };
        self.measure(metrics, data, observe)
    }

    fn measure(
        mut self,
        metrics: &[Metric],
        data: &Dataset,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Found>> {
        let options = self.real.options;
        for metric in metrics.iter().copied().filter(|metric| options.wants(*metric)) {
            let (space, floor) = (self.real.name(), self.who == Who::Floor);
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
                Metric::Memorisation => self.memorisation(observe),
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

    /// As many rows of both sets, `most` or fewer. Both are in random order.
    fn equal(&self, most: i64) -> (Tensor, Tensor) {
        let rows = self.rows().min(most);
        (self.real().narrow(0, 0, rows), self.fake().narrow(0, 0, rows))
    }

    fn add(&mut self, metric: &str, parameter: &str, value: f64, standard_error: Option<f64>) {
        let (real, fake) = (self.real().size()[0], self.fake().size()[0]);
        self.add_of(metric, parameter, value, standard_error, (real, fake));
    }

    fn add_of(&mut self, metric: &str, parameter: &str, value: f64, error: Option<f64>, rows: (i64, i64)) {
        self.found.push(Found {
            metric: metric.to_owned(),
            parameter: parameter.to_owned(),
            value,
            standard_error: error.filter(|error| error.is_finite() && value.is_finite()),
            n_real: rows.0 as usize,
            n_fake: rows.1 as usize,
        });
    }

    fn fd(&mut self) -> Result<()> {
        let value = frechet_distance(self.real(), self.fake())?;
        self.add("fd", "", value, frechet_error(self.real(), self.fake())?);
        Ok(())
    }

    /// Of sizes whose covariances are not singular: below, the distance is no line over 1 / size.
    fn fd_infinity(&mut self) -> Result<()> {
        let dimensions = self.real().size()[1];
        let sizes = extrapolation_sizes(self.fake().size()[0]);
        let sizes: Vec<i64> = sizes.into_iter().filter(|size| *size > dimensions).collect();
        if sizes.len() > 2 {
            let line = frechet_distance_infinity(self.real(), self.fake(), &sizes)?;
            let error = enough_rows(self.real(), self.fake()).then_some(line.standard_error);
            self.add("fd_infinity", &format!("sizes={}", sizes.len()), line.limit, error);
        }
        Ok(())
    }

    /// The kernel distance of the whole sets, found once.
    fn whole_kid(&mut self) -> Result<Estimate> {
        let found = match self.kid {
            Some(found) => found,
            None => kernel_distance_estimate(self.real(), self.fake())?,
        };
        self.kid = Some(found);
        Ok(found)
    }

    fn kid(&mut self) -> Result<()> {
        let found = self.whole_kid()?;
        self.add("kid", "", found.value, found.standard_error);
        Ok(())
    }

    fn kid_subsets(&mut self) -> Result<()> {
        let (subsets, size) = SUBSETS;
        if self.rows() >= size {
            let found = kernel_distance_of_subsets(self.real(), self.fake(), subsets, size, 0)?;
            let error = found.standard_error(subsets, self.whole_kid()?);
            self.add("kid_subsets", &format!("{subsets}x{size}"), found.mean, error);
        }
        Ok(())
    }

    fn classifier_score(&mut self) -> Result<()> {
        let Some(logits) = &self.fake.logits else { return Ok(()) };
        let splits = SPLITS.min(logits.size()[0] as usize);
        let found = classifier_score(logits, splits)?;
        let parameter = format!("splits={splits}");
        // The deviation is that with n.
        let error = (splits > 1).then(|| found.standard_deviation / ((splits - 1) as f64).sqrt());
        self.add("classifier_score", &parameter, found.score, error);
        self.add("classifier_entropy_marginal", "", found.marginal_entropy, None);
        self.add("classifier_entropy_conditional", "", found.conditional_entropy, None);
        Ok(())
    }

    fn classes(&mut self) -> Result<()> {
        let (Some(real), Some(fake)) = (&self.real.test.logits, &self.fake.logits) else { return Ok(()) };
        let count = real.size()[1];
        let (real, fake) = (classes(real), classes(fake));
        let found = class_histogram_distance(&real, &fake, count)?;
        self.add("class_kl", "", found.kl.value, found.kl.standard_error);
        self.add("class_tv", "", found.total_variation.value, found.total_variation.standard_error);
        for class in 0..count {
            let of = |classes: &Tensor| classes.eq(class).nonzero().squeeze_dim(1);
            let (real_rows, fake_rows) = (of(&real), of(&fake));
            let rows = (real_rows.size()[0], fake_rows.size()[0]);
            let parameter = format!("class={class}");
            let all = fake.size()[0];
            let share = rows.1 as f64 / all as f64;
            let error = share_standard_error(share, all as usize);
            self.add_of("class_share", &parameter, share, Some(error), rows);
            if rows.0 >= 2 && rows.1 >= 2 {
                let real = self.real().index_select(0, &real_rows);
                let fake = self.fake().index_select(0, &fake_rows);
                let error = frechet_error(&real, &fake)?;
                self.add_of("class_fd", &parameter, frechet_distance(&real, &fake)?, error, rows);
            }
        }
        Ok(())
    }

    fn prdc(&mut self) -> Result<()> {
        let k = self.real.options.k;
        // Recall grows with the number of samples: both sides have the same.
        let (real, fake) = self.equal(i64::MAX);
        let rows = real.size()[0];
        if rows <= k {
            return Ok(());
        }
        let radii = match &self.real.radii {
            Some(radii) if radii.size()[0] == rows => radii.shallow_clone(),
            _ => crate::neighbour_radii(&real, k)?,
        };
        let found = prdc_with_radii(&real, &radii, &fake, k)?;
        let errors = found.standard_errors;
        for (metric, value, error) in [
            ("precision", found.precision, errors.map(|errors| errors.precision)),
            ("recall", found.recall, errors.map(|errors| errors.recall)),
            ("density", found.density, errors.map(|errors| errors.density)),
            ("coverage", found.coverage, errors.map(|errors| errors.coverage)),
        ] {
            self.add_of(metric, &format!("k={k}"), value, error, (rows, rows));
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
        let error = block_error(self.real(), self.fake(), w2)?;
        self.add("sliced_w2", &format!("directions={DIRECTIONS}"), found.w2, error);
        Ok(())
    }

    fn wasserstein(&mut self) -> Result<()> {
        let (real, fake) = self.equal(MATCHED_ROWS);
        let rows = real.size()[0];
        let value = wasserstein_exact(&real, &fake, 2.0)?;
        let error = block_error(&real, &fake, |real, fake| wasserstein_exact(real, fake, 2.0))?;
        self.add_of("wasserstein2", &format!("n={rows}"), value, error, (rows, rows));
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
            let kernel = rbf_kernel(&sigmas);
            let found = mmd_squared_estimate(self.real(), self.fake(), kernel, Estimator::Unbiased)?;
            self.add("mmd", parameter, found.value, found.standard_error);
        }
        Ok(())
    }

    fn energy_distance(&mut self) -> Result<()> {
        let found = energy_distance_estimate(self.real(), self.fake())?;
        self.add("energy_distance", "", found.value, found.standard_error);
        Ok(())
    }

    /// A third of the test rows each judges, is the baseline, and stands in for samples where the floor is asked for.
    fn fls(&mut self) -> Result<()> {
        let rows = LIKELIHOOD_ROWS.min(self.real().size()[0] / 3).min(self.fake().size()[0]);
        if rows < 2 {
            return Ok(());
        }
        let part = |place: i64| self.real().narrow(0, place * rows, rows);
        let fake = match self.who {
            Who::Floor => part(2),
            Who::Samples => self.fake().narrow(0, 0, rows),
        };
        let found = feature_likelihood_score(&self.real.train, &part(1), &part(0), &fake)?;
        self.add_of("fls", &format!("n={rows}"), found.value, found.standard_error, (rows, rows));
        Ok(())
    }

    fn memorisation(&mut self, observe: &mut dyn FnMut(Stage)) -> Result<()> {
        let train = &self.real.train;
        if train.size()[0] < 2 {
            return Ok(());
        }
        let test = self.real.nearest_of_test(observe)?;
        // Of training rows all would be copies: what an honest model gets is what test rows get.
        let found = match self.who {
            Who::Floor => None,
            Who::Samples => {
                let (space, metric) = (self.real.name(), Metric::Memorisation);
                let mut progress = |done, total| {
                    observe(Stage::Comparing { space: space.clone(), metric, floor: false, done, total });
                };
                Some(NearestTraining::find(train, self.fake(), &mut progress)?)
            }
        };
        let fake = found.as_ref().unwrap_or(&test);
        let rows = (self.real().size()[0], self.fake().size()[0]);
        let authentic = fake.auth_pct(train)?;
        let copied = fake.copied_share(&test)?;
        let nearness = fake.against(&test)?;
        self.add_of("auth_pct", "", authentic.value, authentic.standard_error, rows);
        self.add_of("copied_share", "", copied.share, Some(copied.standard_error), rows);
        self.add_of("nearest_train_z", "", nearness.z, nearness.standard_error, rows);
        Ok(())
    }

    fn one_nearest(&mut self) -> Result<()> {
        let (real, fake) = self.equal(TOLD_APART_ROWS);
        let rows = real.size()[0];
        let value = one_nn_accuracy(&real, &fake)?.all;
        let error = block_error(&real, &fake, |real, fake| Ok(one_nn_accuracy(real, fake)?.all))?;
        // Never less than that of independent rows.
        let error = error.map(|error| error.max(share_standard_error(value, 2 * rows as usize)));
        self.add_of("one_nn_accuracy", &format!("n={rows}"), value, error, (rows, rows));
        Ok(())
    }

    fn modes(&mut self, data: &Dataset) -> Result<()> {
        let Some(modes) = PointSet::named(&data.spec.name).ok().and_then(PointSet::modes) else {
            return Ok(());
        };
        let found = mode_coverage(&modes.centres, modes.std, self.raw)?;
        let share = found.high_quality_share;
        let error = share_standard_error(share, self.raw.size()[0] as usize);
        let covered = Some(found.covered_standard_error);
        self.add("modes_covered", &format!("of {}", found.total), found.covered as f64, covered);
        self.add("high_quality_share", "", share, Some(error));
        Ok(())
    }
}

/// Whether a Fréchet distance of these rows has an error that can be trusted.
fn enough_rows(real: &Tensor, fake: &Tensor) -> bool {
    let rows = real.size()[0].min(fake.size()[0]);
    rows >= LEAST_ROWS.max(ROWS_A_DIMENSION * real.size()[1])
}

/// The standard error of a Fréchet distance; `None` for too few rows.
fn frechet_error(real: &Tensor, fake: &Tensor) -> Result<Option<f64>> {
    enough_rows(real, fake).then(|| frechet_standard_error(real, fake)).transpose()
}

/// The standard error by disjoint blocks, where there are enough rows for them.
fn block_error(
    real: &Tensor,
    fake: &Tensor,
    metric: impl Fn(&Tensor, &Tensor) -> Result<f64>,
) -> Result<Option<f64>> {
    let enough = real.size()[0].min(fake.size()[0]) / BLOCKS >= LEAST_IN_BLOCK;
    enough.then(|| block_standard_error(real, fake, BLOCKS, metric)).transpose()
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
