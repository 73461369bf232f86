//! The real rows of a data set in one feature space.

use std::cell::RefCell;
use std::rc::Rc;

use tch::Tensor;

use super::cache::EvaluationCache;
use super::stage::Stage;
use crate::features::{Embedded, FeatureSpace};
use crate::metrics::{NearestTraining, neighbour_radii};
use crate::reference::{as_values, units};
use gen_core::Result;
use gen_core::data::{Dataset, Split};
use gen_core::nn::Standardise;
use gen_core::params::NamedTensors;
use gen_core::rng::{Purpose, permutation};

/// Changes with the code of this crate: results stored by a program of another revision are computed again.
const REVISION: &str = env!("GEN_EVAL_REVISION");
/// Limit on the training rows that are searched for copies.
const MOST_TRAINING_ROWS: usize = 60_000;
/// Test rows whose features are computed again to check stored ones.
const PROBED: i64 = 4;

/// The real rows of a data set in one feature space.
pub(crate) struct RealRows<'a> {
    data: &'a Dataset,
    space: &'a FeatureSpace,
    /// Units of a table's columns, in which its rows are compared.
    units: Option<Standardise>,
    cache: &'a dyn EvaluationCache,
    pub(crate) test: Embedded,
    /// `f64 [rows, features]`, in random order
    pub(crate) train: Tensor,
    /// Distance of each test row to its `k`-th nearest other test row, if asked for: `f64 [n]`
    pub(crate) radii: Option<Tensor>,
    nearest_of_test: RefCell<Option<Rc<NearestTraining>>>,
}

impl<'a> RealRows<'a> {
    /// Computes the features of the test rows and of the training rows, and the test rows' radii for a `k`.
    pub(super) fn new(
        data: &'a Dataset,
        test: &Split,
        space: &'a FeatureSpace,
        k: Option<i64>,
        cache: &'a dyn EvaluationCache,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Self> {
        let test_rows = as_values(&test.x, data);
        let units = units(data)?;
        let neighbours = k.map_or("no radii".to_owned(), |k| format!("k {k}"));
        let key = key(data, space, &format!("rows {} {neighbours}", test.len()));
        let kept = key.as_deref().and_then(|key| cache.load(key));
        let kept = kept.and_then(|kept| Kept::read(kept, space, units.as_ref(), &test_rows));
        let Kept { test, train, radii } = match kept {
            Some(kept) => kept,
            None => {
                let mut embed = |x: &Tensor| embed(space, units.as_ref(), x, observe);
                let test = embed(&test_rows)?;
                let mut order = permutation(data.train.len(), 0, Purpose::Evaluate, 5);
                order.truncate(MOST_TRAINING_ROWS);
                let train = embed(&as_values(&data.train.select(&order).x, data))?.features;
                let k = k.filter(|k| test.features.size()[0] > *k);
                let radii = k.map(|k| neighbour_radii(&test.features, k)).transpose()?;
                let computed = Kept { test, train, radii };
                if let Some(key) = key {
                    cache.store(&key, &computed.tensors());
                }
                computed
            }
        };
        let nearest_of_test = RefCell::default();
        Ok(RealRows { data, space, units, cache, test, train, radii, nearest_of_test })
    }

    /// The training rows nearest to the test rows, searched once.
    pub(crate) fn nearest_of_test(&self, observe: &mut dyn FnMut(Stage)) -> Result<Rc<NearestTraining>> {
        if let Some(known) = &*self.nearest_of_test.borrow() {
            return Ok(known.clone());
        }
        let key = self.key(&format!("nearest training rows of {}", self.n()));
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

    /// Features of bytes, images in [-1, 1] or points.
    pub(crate) fn embed(&self, x: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Embedded> {
        embed(self.space, self.units.as_ref(), x, observe)
    }

    /// Everything that a result named `what` depends on; `None` for data without a checksum.
    pub(super) fn key(&self, what: &str) -> Option<String> {
        key(self.data, self.space, what)
    }

    /// Number of test rows.
    pub(crate) fn n(&self) -> usize {
        self.test.features.size()[0] as usize
    }

    /// SHA-256 of the weights of the space.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.space.sha256()
    }

    /// The name of the space.
    pub(crate) fn name(&self) -> String {
        self.space.name()
    }
}

fn key(data: &Dataset, space: &FeatureSpace, what: &str) -> Option<String> {
    let spec = &data.spec;
    let content = Some(&spec.sha256).filter(|hash| !hash.is_empty())?;
    Some(format!(
        "{REVISION} {} {content} {} threads {:?} {:?} {:?} {} {:?} {what}",
        spec.name,
        // The order of sums, and with it their last digits, depends on the number of threads.
        tch::get_num_threads(),
        spec.options,
        spec.values,
        spec.shape,
        space.name(),
        space.sha256(),
    ))
}

fn embed(
    space: &FeatureSpace,
    units: Option<&Standardise>,
    x: &Tensor,
    observe: &mut dyn FnMut(Stage),
) -> Result<Embedded> {
    let name = space.name();
    let mut progress = |done, total| observe(Stage::Features { space: name.clone(), done, total });
    match units {
        Some(units) => space.embed(&units.forward(x), &mut progress),
        None => space.embed(x, &mut progress),
    }
}

/// The part of [`RealRows`] that a cache stores.
struct Kept {
    test: Embedded,
    train: Tensor,
    radii: Option<Tensor>,
}

impl Kept {
    fn tensors(&self) -> NamedTensors {
        let mut tensors = NamedTensors::new();
        tensors.insert("test", self.test.features.shallow_clone());
        tensors.insert("train", self.train.shallow_clone());
        for (name, tensor) in [("logits", &self.test.logits), ("radii", &self.radii)] {
            if let Some(tensor) = tensor {
                tensors.insert(name, tensor.shallow_clone());
            }
        }
        tensors
    }

    /// Stored tensors, if the space gives the same features for a few of the rows.
    fn read(kept: NamedTensors, space: &FeatureSpace, units: Option<&Standardise>, rows: &Tensor) -> Option<Self> {
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
