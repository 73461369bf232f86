//! Samples from anywhere.

use gen_core::data::{Dataset, PointSet, Split};
use gen_core::rng::{Purpose, derive};
use gen_core::testing::assert_close_f64;
use gen_eval::{EvaluateOptions, FeatureSpace, Reference};
use tch::{Kind, Tensor};

use super::{compare, only, pca, points, protocol, reference};
use crate::bars::{bars, images};

#[test]
fn only_what_is_asked_for_is_measured() {
    let data = images();
    let spaces = [pca(&data)];
    let options = only(&["vendi"]);
    let measured = compare(&protocol(&data, &spaces, &options), &data.test.x);
    assert!(measured.metrics.iter().all(|found| found.metric == "vendi") && measured.metrics.len() == 3);
    assert_eq!((measured.number("fd"), measured.number("coverage")), (None, None));
}

#[test]
fn mixtures_count_their_modes() {
    let set = PointSet::EightGaussians;
    let part = |n, seed| Split::unlabelled(set.sample(n, seed));
    let data = Dataset::from_splits(set.name(), part(2000, 1), None, Some(part(800, 2)), Vec::new()).unwrap();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let one = set.modes().unwrap().centres.get(3).expand([50, 2], false).to_kind(Kind::Float);
    let measured = compare(&protocol, &one);
    assert_eq!(
        (measured.number("modes_covered"), measured.number("modes_total"), measured.number("high_quality_share")),
        (Some(1.0), Some(8.0), Some(1.0))
    );
    let floor = reference(&protocol, Reference::Floor);
    assert_eq!(floor.number("modes_covered"), Some(8.0));
    assert!(floor.number("high_quality_share").unwrap() > 0.97);
}

#[test]
fn the_test_images_themselves_are_perfect() {
    let data = images();
    let spaces = [pca(&data)];
    let measured = compare(&protocol(&data, &spaces, &EvaluateOptions::default()), &data.test.x);
    assert!(measured.number("fd").unwrap() < 1e-10);
    assert_eq!(
        (measured.number("precision"), measured.number("recall"), measured.number("coverage")),
        (Some(1.0), Some(1.0), Some(1.0))
    );
}

#[test]
fn a_small_n_takes_a_fixed_choice_of_rows() {
    let data = images();
    let spaces = [pca(&data)];
    let at = |seed, samples: &Tensor| {
        let options = EvaluateOptions { n: 64, seed, ..Default::default() };
        let measured = compare(&protocol(&data, &spaces, &options), samples);
        assert_eq!(
            (measured.row.n_real, measured.row.n_fake, measured.number("prdc_n")),
            (Some(64), Some(64), Some(64.0))
        );
        measured.number("fd").unwrap()
    };
    // The seed says which samples; which real rows they meet it does not.
    assert_eq!(at(0, &data.train.x), at(0, &data.train.x));
    assert_ne!(at(0, &data.train.x), at(1, &data.train.x));
    let few = data.train.x.narrow(0, 0, 64);
    assert_close_f64(at(0, &few), at(1, &few), 1e-9, 0.0);
}

/// A folder with one sub-folder a class is read class by class.
#[test]
fn the_order_of_samples_does_not_matter() {
    let data = images();
    let spaces = [pca(&data)];
    let labels = data.train.labels().unwrap();
    let (_, order) = labels.sort_stable(true, 0, false);
    let sorted = data.train.x.index_select(0, &order);
    let measure = |n: usize, samples: &Tensor| {
        let options = EvaluateOptions { n, ..only(&["fd", "fd-infinity", "one-nearest", "prdc"]) };
        compare(&protocol(&data, &spaces, &options), samples).metrics
    };
    let value = |metrics: &[gen_eval::Measurement], name: &str| {
        let found = metrics.iter().find(|found| found.metric == name).unwrap();
        (found.value, found.floor.unwrap())
    };
    // All samples, of which some metrics look at the first ones only; and a few of them.
    for (n, names) in [(1200, &["fd_infinity", "fd", "recall", "one_nn_accuracy"][..]), (100, &["fd", "recall"])] {
        let found = measure(n, &sorted);
        for name in names {
            let (value, floor) = value(&found, name);
            let allowed = if name.starts_with("fd") { 0.5 * floor.abs() + 0.5 } else { 0.1 };
            assert!((value - floor).abs() < allowed, "{n} {name}: {value}, floor {floor}");
        }
    }
}

/// Columns keep their own units: an error in an age counts as much as one in an income.
#[test]
fn columns_count_alike_whatever_their_units() {
    let table = |n: i64, seed: u64| {
        let uniform = |i: i64| (derive(seed, Purpose::Data, i as u64) >> 11) as f64 / (1u64 << 53) as f64;
        let rows = (0..n).flat_map(|i| {
            let [a, b, c] = [0, 1, 2].map(|j| uniform(3 * i + j));
            [1e4 + 4e4 * a, 20.0 + 60.0 * b, 0.1 + 0.2 * c]
        });
        Tensor::from_slice(&rows.collect::<Vec<f64>>()).view([n, 3]).to_kind(Kind::Float)
    };
    let part = |n, seed| Split::unlabelled(table(n, seed));
    let data = Dataset::from_splits("people", part(2000, 1), None, Some(part(500, 2)), Vec::new()).unwrap();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let honest = compare(&protocol, &table(500, 3));
    assert!(
        honest.number("fd").unwrap() - honest.number("fd_floor").unwrap()
            <= 3.0 * honest.number("fd_standard_error").unwrap()
    );
    assert!(honest.number("precision").unwrap() > 0.85 && honest.number("coverage").unwrap() > 0.85);
    let wrong = table(500, 4);
    let (_, _) = (wrong.select(1, 1).fill_(500.0), wrong.select(1, 2).fill_(-40.0));
    let wrong = compare(&protocol, &wrong);
    assert!(wrong.number("fd").unwrap() > 1000.0 * (honest.number("fd").unwrap() + 0.01), "{:?}", wrong.number("fd"));
    assert_eq!((wrong.number("precision"), wrong.number("coverage")), (Some(0.0), Some(0.0)));
    // The numbers do not depend on the units.
    for scale in [[1e-3, 1e6, 4.0], [1e200, 1e-200, 1e-150]] {
        let units = Tensor::from_slice(&scale);
        let scaled = |x: &Tensor| x.to_kind(Kind::Double) * &units;
        let part = |x: &Tensor| Split::unlabelled(scaled(x));
        let other = Dataset::from_splits("people", part(&data.train.x), None, Some(part(&data.test.x)), Vec::new());
        let other = other.unwrap();
        let spaces = [FeatureSpace::Identity];
        let same = compare(&self::protocol(&other, &spaces, &options), &scaled(&table(500, 3)));
        assert_close_f64(same.number("fd").unwrap(), honest.number("fd").unwrap(), 1e-3, 1e-5);
        assert_close_f64(same.number("mmd").unwrap(), honest.number("mmd").unwrap(), 1e-3, 1e-5);
        assert_close_f64(same.number("coverage").unwrap(), honest.number("coverage").unwrap(), 1e-2, 0.0);
    }
}

#[test]
fn few_rows_have_no_error_and_no_verdict() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &spaces, &options);
    // 64 dimensions: 5 rows each are 320, and the test split has 300.
    for n in [2, 60, 300] {
        let measured = compare(&protocol, &data.train.x.narrow(0, 0, n));
        assert!(measured.number("fd").is_some() && measured.number("fd_floor").is_some());
        assert_eq!(measured.number("fd_standard_error"), None, "{n}");
        assert!(measured.metrics.iter().all(|found| found.metric != "fd_infinity" || found.standard_error.is_none()));
    }
    // One of two samples that looks copied is chance.
    let two = Tensor::cat(&[data.train.x.narrow(0, 0, 1), data.test.x.narrow(0, 0, 1)], 0);
    let measured = compare(&protocol, &two);
    assert_eq!((measured.number("copied_share"), measured.memorised()), (Some(0.5), Some(false)));
    let points = points();
    let protocol = self::protocol(&points, &[FeatureSpace::Identity], &options);
    let error = |n| compare(&protocol, &PointSet::Moons.sample(n, 9)).number("fd_standard_error");
    assert!(error(99).is_none() && error(100).is_some());
}

#[test]
fn copies_are_flagged_by_likelihood_too() {
    let data = images();
    let spaces = [pca(&data)];
    let options = only(&["fls", "memorisation"]);
    let protocol = protocol(&data, &spaces, &options);
    let fls = |samples: &Tensor| {
        let measured = compare(&protocol, samples);
        let found = measured.metrics.iter().find(|found| found.metric == "fls").unwrap();
        (found.value, found.standard_error.unwrap(), found.floor.unwrap(), measured.memorised().unwrap())
    };
    let (honest, error, floor, memorised) = fls(&bars(300, 9).x);
    assert!((honest - 100.0).abs() < 4.0 * error + 3.0 && !memorised, "{honest} +- {error}");
    assert!((floor - 100.0).abs() < 15.0, "{floor}");
    let (copies, _, _, memorised) = fls(&data.train.x.narrow(0, 0, 300));
    assert!(copies < 10.0 && memorised, "{copies}");
}
