//! References, and what a cache stores of real rows.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use gen_core::data::{Dataset, PointSet, Split};
use gen_core::params::NamedTensors;
use gen_eval::{EvaluateOptions, EvaluationCache, FeatureSpace, Protocol, Reference};

use super::{compare, pca, protocol, reference};
use crate::bars::images;

/// Keeps everything, and counts what is asked for.
#[derive(Default)]
struct Kept {
    there: RefCell<HashMap<String, NamedTensors>>,
    found: Cell<usize>,
}

impl EvaluationCache for Kept {
    fn load(&self, key: &str) -> Option<NamedTensors> {
        let found = self.there.borrow().get(key).map(NamedTensors::shallow_clone);
        self.found.set(self.found.get() + usize::from(found.is_some()));
        found
    }

    fn store(&self, key: &str, tensors: &NamedTensors) {
        self.there.borrow_mut().insert(key.to_owned(), tensors.shallow_clone());
    }
}

#[test]
fn the_cache_changes_no_number() {
    let mut data = images();
    data.spec.sha256 = "0123".to_owned();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let cache = Kept::default();
    let measure = |data: &Dataset| {
        let protocol = Protocol::new(data, &spaces, &options, &cache, &mut |_| ()).unwrap();
        compare(&protocol, &data.train.x.narrow(0, 0, 200)).metrics
    };
    let first = measure(&data);
    assert_eq!((cache.there.borrow().len(), cache.found.get()), (3, 0));
    assert_eq!(measure(&data), first);
    assert_eq!(cache.found.get(), 3);
    // What is kept of other features under the same name is not believed.
    let key = cache.there.borrow().keys().find(|key| key.contains("rows 300")).unwrap().clone();
    let mut wrong = NamedTensors::new();
    for (name, tensor) in cache.there.borrow()[&key].iter() {
        let by = if name == "test" { 1.0 } else { 0.0 };
        wrong.insert(name, tensor + by);
    }
    cache.there.borrow_mut().insert(key, wrong);
    assert_eq!(measure(&data), first);
    // Other data has another key.
    data.spec.sha256 = "4567".to_owned();
    let before = cache.found.get();
    assert_eq!(measure(&data), first);
    assert_eq!((cache.there.borrow().len(), cache.found.get()), (6, before));
}

#[test]
fn references_are_in_order_and_the_floor_is_the_floor() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &spaces, &options);
    let rows = Reference::ALL.map(|which| reference(&protocol, which));
    assert_eq!(rows[0].number("fd"), rows[0].number("fd_floor"));
    assert!(rows.windows(2).all(|pair| pair[0].number("fd") < pair[1].number("fd")), "{rows:?}");
    assert!(rows.windows(2).all(|pair| pair[0].number("coverage") > pair[1].number("coverage")), "{rows:?}");
    assert_eq!((rows[0].number("bits_per_dim"), rows[2].number("bits_per_dim")), (None, Some(8.0)));
    assert!(rows[1].number("bits_per_dim").unwrap() < 7.5);
}

/// An evaluation with another number of threads has stored numbers with other last digits.
#[test]
fn the_floor_is_its_own_floor_whatever_is_kept() {
    let mut data = images();
    data.spec.sha256 = "0123".to_owned();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let cache = Kept::default();
    let floor = || {
        let protocol = Protocol::new(&data, &spaces, &options, &cache, &mut |_| ()).unwrap();
        protocol.evaluate_reference(Reference::Floor, &mut |_| ()).unwrap().measured
    };
    let first = floor();
    let key = cache.there.borrow().keys().find(|key| key.contains("floor 300")).unwrap().clone();
    assert!(key.contains("threads"), "{key}");
    let mut other = NamedTensors::new();
    for (name, tensor) in cache.there.borrow()[&key].iter() {
        other.insert(name, tensor * (1.0 + 1e-8));
    }
    cache.there.borrow_mut().insert(key, other);
    let measured = floor();
    assert_eq!((measured.number("fd"), measured.number("fd_floor")), (first.number("fd"), first.number("fd")));
    for found in &measured.metrics {
        let copies = ["auth_pct", "copied_share", "nearest_train_z", "fls"].contains(&found.metric.as_str());
        assert_eq!(found.floor == Some(found.value), !copies, "{found:?}");
    }
    assert_eq!((measured.number("copied_share"), measured.memorised()), (Some(1.0), Some(true)));
}

#[test]
fn a_singular_covariance_leaves_the_gaussian_without_a_density() {
    let moons = |n, seed| PointSet::Moons.sample(n, seed);
    let constant = |n, seed| Split::unlabelled(moons(n, seed).constant_pad_nd([0, 1]));
    let data = Dataset::from_splits("flat", constant(900, 1), None, Some(constant(300, 2)), Vec::new()).unwrap();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let measured = reference(&protocol, Reference::PixelGaussian);
    assert!(measured.number("fd").unwrap() < 0.1 && measured.number("mmd").is_some());
    assert_eq!((measured.likelihood(false), measured.number("nll_nats")), (None, None));
    let noise = reference(&protocol, Reference::PixelNoise);
    assert!(noise.number("fd") > measured.number("fd"));
}
