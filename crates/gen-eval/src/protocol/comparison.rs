//! The input of a metric that compares samples with real rows.

use tch::Tensor;

use super::found::Found;
use super::real::RealRows;
use super::stage::Stage;
use crate::features::Embedded;
use crate::metrics::{Estimate, kernel_distance_estimate};
use gen_core::Result;
use gen_core::data::{Dataset, Values};

/// Samples and real rows in one feature space, and the numbers measured of them so far.
///
/// Real rows and samples are in random order, so their first rows are a random choice.
pub(crate) struct Comparison<'a> {
    pub(crate) data: &'a Dataset,
    pub(crate) rows: &'a RealRows<'a>,
    pub(crate) embedded: &'a Embedded,
    /// The samples in the form of the data.
    pub(crate) samples: &'a Tensor,
    /// Neighbours in precision, recall, density and coverage.
    pub(crate) k: i64,
    /// Whether training rows take the place of samples.
    pub(crate) is_floor: bool,
    pub(super) metric: &'static str,
    pub(super) observe: &'a mut dyn FnMut(Stage),
    pub(super) found: Vec<Found>,
    kid: Option<Estimate>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        data: &'a Dataset,
        rows: &'a RealRows<'a>,
        (embedded, samples): (&'a Embedded, &'a Tensor),
        k: i64,
        is_floor: bool,
        observe: &'a mut dyn FnMut(Stage),
    ) -> Self {
        let (metric, found) = ("", Vec::new());
        Comparison { data, rows, embedded, samples, k, is_floor, metric, observe, found, kid: None }
    }

    /// Features of the test rows: `f64 [n_real, features]`.
    pub(crate) fn real(&self) -> &'a Tensor {
        &self.rows.test.features
    }

    /// Features of the samples: `f64 [n_fake, features]`.
    pub(crate) fn fake(&self) -> &'a Tensor {
        &self.embedded.features
    }

    /// Whether the data are points.
    pub(crate) fn has_points(&self) -> bool {
        self.data.spec.values == Values::Continuous
    }

    /// Number of rows of the smaller set.
    pub(crate) fn smaller(&self) -> i64 {
        self.real().size()[0].min(self.fake().size()[0])
    }

    /// The same number of rows of both sets, at most `most`: `[rows, features]` each.
    pub(crate) fn equal(&self, most: i64) -> (Tensor, Tensor) {
        let rows = self.smaller().min(most);
        (self.real().narrow(0, 0, rows), self.fake().narrow(0, 0, rows))
    }

    /// Reports progress of the current metric.
    pub(crate) fn progress(&mut self, done: usize, total: usize) {
        let (space, metric, floor) = (self.rows.name(), self.metric, self.is_floor);
        (self.observe)(Stage::Comparing { space, metric, floor, done, total });
    }

    /// Adds a number of all rows of both sets.
    pub(crate) fn add(&mut self, metric: &str, parameter: &str, value: f64, standard_error: Option<f64>) {
        let rows = (self.real().size()[0], self.fake().size()[0]);
        self.add_of(metric, parameter, value, standard_error, rows);
    }

    /// Adds a number of some `rows` (real, fake).
    pub(crate) fn add_of(
        &mut self,
        metric: &str,
        parameter: &str,
        value: f64,
        standard_error: Option<f64>,
        rows: (i64, i64),
    ) {
        let rows = (rows.0 as usize, rows.1 as usize);
        self.found.push(Found::new(metric, parameter, value, standard_error, rows));
    }

    /// The kernel distance of both sets, computed once.
    pub(crate) fn kernel_distance(&mut self) -> Result<Estimate> {
        let found = match self.kid {
            Some(found) => found,
            None => kernel_distance_estimate(self.real(), self.fake())?,
        };
        self.kid = Some(found);
        Ok(found)
    }
}
