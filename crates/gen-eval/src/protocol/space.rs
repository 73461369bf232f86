//! The real rows of a data set in one feature space, and samples held against them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::Stage;
use super::comparison::{Comparison, Found, Who};
use super::options::EvaluateOptions;
use crate::features::Embedded;
use crate::reference::as_values;
use crate::standardise::Units;
use crate::{FeatureSpace, Measurement, Metric, NearestTraining, Reference, neighbour_radii};
use gen_core::Result;
use gen_core::data::{Dataset, Split};
use gen_core::params::NamedTensors;
use gen_core::rng::{Purpose, permutation};

/// Where what is known of the real rows is kept between two evaluations.
///
/// A key says all that the tensors depend on. What cannot be kept is computed again, so there are no errors.
pub trait EvaluationCache {
    /// What was kept under `key`.
    fn load(&self, key: &str) -> Option<NamedTensors>;
    /// Keeps `tensors` under `key`.
    fn store(&self, key: &str, tensors: &NamedTensors);
}

/// Keeps nothing.
pub struct NoCache;

impl EvaluationCache for NoCache {
    fn load(&self, _: &str) -> Option<NamedTensors> {
        None
    }

    fn store(&self, _: &str, _: &NamedTensors) {}
}

/// Numbers beyond this have squares and products that leave the range of numbers.
const LARGEST: f64 = 1e75;
/// Changes with the code of the metrics: what was kept by a program of another number is computed again.
const REVISION: &str = env!("GEN_EVAL_REVISION");
/// Training rows among which copies are looked for.
const MOST_TRAINING_ROWS: usize = 60_000;
/// Test rows whose features are taken again to see whether those that were kept are still right.
const PROBED: i64 = 4;

/// The real rows of a data set in one feature space.
pub(super) struct RealRows<'a> {
    data: &'a Dataset,
    space: &'a FeatureSpace,
    /// Those of a table's columns, in which its rows are compared.
    units: Option<Units>,
    pub(super) options: &'a EvaluateOptions,
    cache: &'a dyn EvaluationCache,
    pub(super) test: Embedded,
    /// `f64 [rows, features]`, in a random order
    pub(super) train: Tensor,
    /// Distance of each test row to its `k`-th nearest other, if precision and recall are wanted: `f64 [n]`
    pub(super) radii: Option<Tensor>,
    nearest_of_test: RefCell<Option<Rc<NearestTraining>>>,
    floors: RefCell<HashMap<usize, Vec<Found>>>,
}

impl<'a> RealRows<'a> {
    /// Takes the features of the test rows, and of the training rows.
    pub(super) fn new(
        data: &'a Dataset,
        test: &Split,
        space: &'a FeatureSpace,
        options: &'a EvaluateOptions,
        cache: &'a dyn EvaluationCache,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Self> {
        let test_rows = as_values(&test.x, data);
        let units = Units::of(data);
        // Radii take as many distances as there are pairs of rows, and are for these metrics alone.
        let with_radii = options.wants(Metric::Prdc);
        let neighbours = if with_radii { format!("k {}", options.k) } else { "no radii".to_owned() };
        let key = Self::key(data, space, &format!("rows {} {neighbours}", test.len()));
        let kept = key.as_deref().and_then(|key| cache.load(key));
        let kept = kept.and_then(|kept| Kept::read(kept, space, units.as_ref(), &test_rows));
        let (test, train, radii) = match kept {
            Some(Kept { test, train, radii }) => (test, train, radii),
            None => {
                let mut embed = |x: &Tensor| embed(space, units.as_ref(), x, observe);
                let test = embed(&test_rows)?;
                let mut order = permutation(data.train.len(), 0, Purpose::Evaluate, 5);
                order.truncate(MOST_TRAINING_ROWS);
                let train = embed(&as_values(&data.train.select(&order).x, data))?.features;
                let enough = test.features.size()[0] > options.k;
                let radii =
                    (with_radii && enough).then(|| neighbour_radii(&test.features, options.k)).transpose()?;
                if let Some(key) = key {
                    cache.store(&key, &Kept::tensors(&test, &train, radii.as_ref()));
                }
                (test, train, radii)
            }
        };
        Ok(RealRows {
            data,
            space,
            units,
            options,
            cache,
            test,
            train,
            radii,
            nearest_of_test: RefCell::default(),
            floors: RefCell::default(),
        })
    }

    /// What everything kept depends on; `None` for data whose content has no checksum.
    fn key(data: &Dataset, space: &FeatureSpace, what: &str) -> Option<String> {
        let spec = &data.spec;
        let content = Some(&spec.sha256).filter(|hash| !hash.is_empty())?;
        Some(format!(
            "{REVISION} {} {content} {} threads {:?} {:?} {:?} {} {:?} {what}",
            spec.name,
            // Sums in another order have other last digits.
            tch::get_num_threads(),
            spec.options,
            spec.values,
            spec.shape,
            space.name(),
            space.sha256(),
        ))
    }

    /// Measures samples in the form of the data, and real rows in their place.
    pub(super) fn measure(
        &self,
        samples: &Tensor,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Measurement>> {
        let fake = embed(self.space, self.units.as_ref(), samples, observe)?;
        let largest = fake.features.abs().max().double_value(&[]);
        if largest.is_nan() || largest > LARGEST {
            return self.without_numbers(samples.size()[0] as usize, observe);
        }
        let floors = self.floors(samples.size()[0] as usize, observe)?;
        let found = Comparison::new(self, &fake, samples, Who::Samples).run(self.data, observe)?;
        Ok(self.beside(found, &floors))
    }

    /// Measures the training rows that are the floor: but for the search for copies, of which they are, what they get is the
    /// floor.
    pub(super) fn measure_floor(
        &self,
        rows: &Tensor,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Measurement>> {
        let features = embed(self.space, self.units.as_ref(), rows, observe)?;
        let floors = self.compute_floors(rows.size()[0] as usize, &features, rows, observe)?;
        let copies = Comparison::new(self, &features, rows, Who::Samples).copies(self.data, observe)?;
        let is_copies = |floor: &Found| copies.iter().any(|found| found.is_of(floor));
        let found = floors.iter().filter(|floor| !is_copies(floor)).cloned().chain(copies.iter().cloned());
        Ok(self.beside(found.collect(), &floors))
    }

    /// For every number of `n` samples that are no numbers: that it is none.
    pub(super) fn without_numbers(
        &self,
        n: usize,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Measurement>> {
        let floors = self.floors(n, observe)?;
        let found = floors.iter().map(|floor| floor.without_number(self.test.features.size()[0] as usize, n));
        Ok(self.beside(found.collect(), &floors))
    }

    /// Each number beside its floor.
    fn beside(&self, found: Vec<Found>, floors: &[Found]) -> Vec<Measurement> {
        let space = self.space.name();
        let measurements = found.into_iter().map(|found| {
            let floor = floors.iter().find(|floor| floor.is_of(&found)).map(|floor| floor.value);
            found.in_space(&space, floor)
        });
        measurements.collect()
    }

    /// The training rows that are nearest to the test rows, looked for once.
    pub(super) fn nearest_of_test(&self, observe: &mut dyn FnMut(Stage)) -> Result<Rc<NearestTraining>> {
        if let Some(known) = &*self.nearest_of_test.borrow() {
            return Ok(known.clone());
        }
        let what = format!("nearest training rows of {}", self.test.features.size()[0]);
        let key = Self::key(self.data, self.space, &what);
        let kept = key.as_deref().and_then(|key| self.cache.load(key)).and_then(|kept| {
            let get = |name: &str| kept.get(name).map(Tensor::shallow_clone);
            NearestTraining::from_tensors(get("distances")?, get("index")?).ok()
        });
        let found = match kept {
            Some(kept) => kept,
            None => {
                let mut progress = |done, total| {
                    observe(Stage::Neighbours { space: self.name(), done, total });
                };
                let found = NearestTraining::find(&self.train, &self.test.features, &mut progress)?;
                if let Some(key) = key {
                    let (distances, index) = found.tensors();
                    let mut tensors = NamedTensors::new();
                    tensors.insert("distances", distances.shallow_clone());
                    tensors.insert("index", index.shallow_clone());
                    self.cache.store(&key, &tensors);
                }
                found
            }
        };
        let found = Rc::new(found);
        *self.nearest_of_test.borrow_mut() = Some(found.clone());
        Ok(found)
    }

    /// Rows in the space, whatever they are: bytes, images in [-1, 1], points.
    pub(super) fn embed(&self, x: &Tensor) -> Result<Embedded> {
        embed(self.space, self.units.as_ref(), x, &mut |_| ())
    }

    /// SHA-256 of the weights of the space.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.space.sha256()
    }

    /// The name of the space.
    pub(super) fn name(&self) -> String {
        self.space.name()
    }

    /// What `n` training rows get in the place of samples; in tests for copies, what test rows get.
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
                let features = embed(self.space, self.units.as_ref(), &rows, observe)?;
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
        let found = Comparison::new(self, features, rows, Who::Floor).run(self.data, observe)?;
        if let Some(key) = self.key_of_floors(n) {
            self.cache.store(&key, &Found::tensors(&found));
        }
        self.floors.borrow_mut().insert(n, found.clone());
        Ok(found)
    }

    fn key_of_floors(&self, n: usize) -> Option<String> {
        let what = format!(
            "floor {n} of {} k {} {:?}",
            self.test.features.size()[0],
            self.options.k,
            self.options.metrics
        );
        Self::key(self.data, self.space, &what)
    }
}

/// Rows in a space: of points, in the units of their columns.
fn embed(
    space: &FeatureSpace,
    units: Option<&Units>,
    x: &Tensor,
    observe: &mut dyn FnMut(Stage),
) -> Result<Embedded> {
    let name = space.name();
    let mut progress = |done, total| observe(Stage::Features { space: name.clone(), done, total });
    match units {
        Some(units) => space.embed(&units.standardise(x), &mut progress),
        None => space.embed(x, &mut progress),
    }
}

/// What is kept of the real rows.
struct Kept {
    test: Embedded,
    train: Tensor,
    radii: Option<Tensor>,
}

impl Kept {
    fn tensors(test: &Embedded, train: &Tensor, radii: Option<&Tensor>) -> NamedTensors {
        let mut tensors = NamedTensors::new();
        tensors.insert("test", test.features.shallow_clone());
        tensors.insert("train", train.shallow_clone());
        for (name, tensor) in [("logits", test.logits.as_ref()), ("radii", radii)] {
            if let Some(tensor) = tensor {
                tensors.insert(name, tensor.shallow_clone());
            }
        }
        tensors
    }

    /// What was kept, if it is what the space says today of a few of the rows.
    fn read(kept: NamedTensors, space: &FeatureSpace, units: Option<&Units>, rows: &Tensor) -> Option<Self> {
        let get = |name: &str| kept.get(name).map(Tensor::shallow_clone);
        let features = get("test")?;
        let probed = embed(space, units, &rows.narrow(0, 0, PROBED.min(rows.size()[0])), &mut |_| ()).ok()?;
        let same = features.size()[0] == rows.size()[0] && {
            let there = features.narrow(0, 0, probed.features.size()[0]);
            there.size() == probed.features.size() && there.allclose(&probed.features, 1e-4, 1e-4, false)
        };
        let logits = get("logits");
        (same && logits.is_some() == probed.logits.is_some()).then_some(())?;
        Some(Kept { test: Embedded { features, logits }, train: get("train")?, radii: get("radii") })
    }
}

/// The class of each row by its logits: `i64 [n]`.
pub(super) fn classes(logits: &Tensor) -> Tensor {
    logits.argmax(1, false).to_kind(Kind::Int64)
}
