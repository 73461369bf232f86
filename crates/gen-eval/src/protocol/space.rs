//! All metrics of samples in one feature space, beside their floor.

use std::cell::RefCell;
use std::collections::HashMap;

use tch::Tensor;

use super::cache::EvaluationCache;
use super::comparison::Comparison;
use super::found::Found;
use super::options::EvaluateOptions;
use super::real::RealRows;
use super::stage::Stage;
use super::table::{Domain, METRICS, MetricSpec, direction};
use crate::features::{Embedded, FeatureSpace};
use crate::measurement::Measurement;
use crate::reference::Reference;
use gen_core::Result;
use gen_core::data::{Dataset, Split, Values};

/// Features beyond this have squares and products that overflow.
const LARGEST: f64 = 1e75;

/// A data set in one feature space, ready to measure samples.
pub(super) struct Space<'a> {
    data: &'a Dataset,
    pub(super) rows: RealRows<'a>,
    options: &'a EvaluateOptions,
    cache: &'a dyn EvaluationCache,
    floors: RefCell<HashMap<usize, Vec<Found>>>,
}

impl<'a> Space<'a> {
    pub(super) fn new(
        data: &'a Dataset,
        test: &Split,
        space: &'a FeatureSpace,
        options: &'a EvaluateOptions,
        cache: &'a dyn EvaluationCache,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Self> {
        let rows = RealRows::new(data, test, space, options.k_of_radii(), cache, observe)?;
        Ok(Space { data, rows, options, cache, floors: RefCell::default() })
    }

    /// Measures samples in the form of the data.
    pub(super) fn measure(&self, samples: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Measurement>> {
        let fake = self.rows.embed(samples, observe)?;
        let largest = fake.features.abs().max().double_value(&[]);
        if largest.is_nan() || largest > LARGEST {
            return self.without_numbers(samples.size()[0] as usize, observe);
        }
        let floors = self.floors(samples.size()[0] as usize, observe)?;
        let found = self.compute(&|_| true, (&fake, samples), false, observe)?;
        Ok(self.beside(found, &floors))
    }

    /// Measures the training rows that are the floor. Their numbers are the floor, except in the search for copies.
    pub(super) fn measure_floor(&self, rows: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Measurement>> {
        let features = self.rows.embed(rows, observe)?;
        let floors = self.compute_floors(rows.size()[0] as usize, &features, rows, observe)?;
        let copies = self.compute(&|metric| metric.finds_copies, (&features, rows), false, observe)?;
        let is_copies = |floor: &Found| copies.iter().any(|found| found.is_of(floor));
        let found = floors.iter().filter(|floor| !is_copies(floor)).cloned().chain(copies.iter().cloned());
        Ok(self.beside(found.collect(), &floors))
    }

    /// NaN for every number of `n` samples that are not finite.
    pub(super) fn without_numbers(&self, n: usize, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Measurement>> {
        let floors = self.floors(n, observe)?;
        let found = floors.iter().map(|floor| floor.without_number(self.rows.n(), n));
        Ok(self.beside(found.collect(), &floors))
    }

    /// Computes the metrics among `choice` that are asked for and defined here.
    fn compute(
        &self,
        choice: &dyn Fn(&MetricSpec) -> bool,
        (fake, samples): (&Embedded, &Tensor),
        is_floor: bool,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Found>> {
        let other_domain = match self.data.spec.values {
            Values::Continuous => Domain::Images,
            _ => Domain::Points,
        };
        let mut sets = Comparison::new(self.data, &self.rows, (fake, samples), self.options.k, is_floor, observe);
        for metric in METRICS.iter().filter(|metric| choice(metric) && metric.domain != other_domain) {
            if let Some(compare) = metric.comparing()
                && self.options.metrics.contains(&metric)
            {
                sets.metric = metric.name;
                sets.progress(0, 1);
                compare(&mut sets)?;
            }
        }
        Ok(sets.found)
    }

    /// Each number beside its floor.
    fn beside(&self, found: Vec<Found>, floors: &[Found]) -> Vec<Measurement> {
        let space = self.rows.name();
        let measurements = found.into_iter().map(|found| {
            let floor = floors.iter().find(|floor| floor.is_of(&found)).map(|floor| floor.value);
            let direction = direction(&found.metric);
            found.measured(&space, floor, direction)
        });
        measurements.collect()
    }

    /// The numbers of `n` training rows in place of samples; in the search for copies, those of test rows.
    fn floors(&self, n: usize, observe: &mut dyn FnMut(Stage)) -> Result<Vec<Found>> {
        if let Some(known) = self.floors.borrow().get(&n) {
            return Ok(known.clone());
        }
        let key = self.key_of_floors(n);
        let kept = key.as_deref().and_then(|key| self.cache.load(key)).and_then(|kept| Found::read(&kept));
        match kept {
            Some(found) => {
                self.floors.borrow_mut().insert(n, found.clone());
                Ok(found)
            }
            None => {
                let rows = Reference::Floor.sample(self.data, n, 0)?;
                let features = self.rows.embed(&rows, observe)?;
                self.compute_floors(n, &features, &rows, observe)
            }
        }
    }

    fn compute_floors(
        &self,
        n: usize,
        features: &Embedded,
        rows: &Tensor,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Found>> {
        let found = self.compute(&|_| true, (features, rows), true, observe)?;
        if let Some(key) = self.key_of_floors(n) {
            self.cache.store(&key, &Found::tensors(&found));
        }
        self.floors.borrow_mut().insert(n, found.clone());
        Ok(found)
    }

    fn key_of_floors(&self, n: usize) -> Option<String> {
        let (real, k, metrics) = (self.rows.n(), self.options.k, &self.options.metrics);
        self.rows.key(&format!("floor {n} of {real} k {k} {metrics:?}"))
    }
}
