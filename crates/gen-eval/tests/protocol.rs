//! The protocol on models whose quality is known.

#![allow(clippy::unwrap_used)]

mod bars;

use gen_core::Result;
use gen_core::data::{Batch, DataSpec, Dataset, PointSet, Split, bytes_to_signed};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, Losses, ModelCard, SampleRequest, Step};
use gen_core::params::NamedTensors;
use gen_core::rng::{Purpose, derive, permutation};
use gen_core::testing::assert_close_f64;
use gen_eval::features::{FEATURES, PrincipalComponents, RandomNetwork};
use gen_eval::{
    Direction, EvaluateOptions, Evaluation, FeatureSpace, Measured, Metric, NoCache, Protocol, Reference,
    Stage,
};
use tch::{Device, Kind, Tensor};

use bars::{bars, images};

/// A model that gives the same sample over and over, or that of a closure.
struct Known<F> {
    card: ModelCard,
    draw: F,
    kinds: Vec<LikelihoodKind>,
    nats: f64,
}

impl<F: Fn(&SampleRequest) -> Tensor> Known<F> {
    fn new(data: &DataSpec, kinds: &[LikelihoodKind], draw: F) -> Self {
        let card = ModelCard {
            name: "known",
            family: "baseline",
            data: data.clone(),
            citation: "",
            parameters: 12,
            sampling_parameters: 7,
        };
        Known { card, draw, kinds: kinds.to_vec(), nats: -1000.0 }
    }
}

impl<F: Fn(&SampleRequest) -> Tensor> GenerativeModel for Known<F> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, _: &Batch, _: &Step) -> Result<Losses> {
        Ok(Losses::new())
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        request.require_one_pass("known")?;
        Ok((self.draw)(request))
    }

    fn weights(&self) -> NamedTensors {
        NamedTensors::new()
    }

    fn training_state(&self) -> NamedTensors {
        NamedTensors::new()
    }

    fn density(&self) -> Option<&dyn Density> {
        if self.kinds.is_empty() { None } else { Some(self) }
    }
}

/// Of points, the true density of moons; of images, `-1000` nats, and 10 more by importance sampling.
impl<F> Density for Known<F> {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        self.kinds.clone()
    }

    fn log_likelihood(&self, x: &Tensor, kind: LikelihoodKind, _: u64) -> Result<Tensor> {
        let nats = match kind {
            LikelihoodKind::Importance(_) => self.nats + 10.0,
            _ => self.nats,
        };
        match kind {
            LikelihoodKind::Exact => Ok(PointSet::Moons.log_prob(x)),
            _ => Ok(Tensor::full([x.size()[0]], nats, (Kind::Float, Device::Cpu))),
        }
    }
}

fn points() -> Dataset {
    let part = |n, seed| Split::unlabelled(PointSet::Moons.sample(n, seed));
    Dataset::from_splits("moons", part(4000, 1), None, Some(part(1500, 2)), Vec::new()).unwrap()
}

fn pca(data: &Dataset) -> FeatureSpace {
    FeatureSpace::Pca(PrincipalComponents::fit(&data.train.x, FEATURES).unwrap())
}

fn protocol<'a>(data: &'a Dataset, spaces: &'a [FeatureSpace], options: &'a EvaluateOptions) -> Protocol<'a> {
    Protocol::new(data, spaces, options, &NoCache, &mut |_| ()).unwrap()
}

fn reference(protocol: &Protocol<'_>, reference: Reference) -> Evaluation {
    protocol.evaluate_reference(reference, &mut |_| ()).unwrap().measured.row
}

fn compare(protocol: &Protocol<'_>, samples: &Tensor) -> Measured {
    protocol.compare(samples, &mut |_| ()).unwrap()
}

#[test]
fn a_model_of_images_fills_its_columns() {
    let data = images();
    let random = RandomNetwork::fit(data.spec.shape, &data.train.x).unwrap();
    let spaces = [pca(&data), FeatureSpace::Random(random)];
    let options = EvaluateOptions { n_bound: 40, ..Default::default() };
    let protocol = protocol(&data, &spaces, &options);
    let kinds = [LikelihoodKind::LowerBound, LikelihoodKind::Importance(64)];
    // Random training images: as good as data.
    let train = bytes_to_signed(&data.train.x);
    let model = Known::new(&data.spec, &kinds, |request: &SampleRequest| {
        let order = permutation(1200, request.seed, Purpose::Sample, 0);
        train.index_select(0, &Tensor::from_slice(&order[..request.n]))
    });
    let mut stages = Vec::new();
    let evaluated = protocol.evaluate(&model, &mut |stage| stages.push(stage)).unwrap();
    assert_eq!(evaluated.samples.size(), [300, 1, 8, 8]);
    assert_eq!(evaluated.samples.kind(), Kind::Uint8);
    let Measured { row, metrics } = evaluated.measured;
    assert_eq!(
        (row.family.as_str(), row.model.as_str(), row.dataset.as_str()),
        ("baseline", "known", "bars")
    );
    assert_eq!((row.n_real, row.n_fake, row.prdc_n, row.prdc_k), (Some(300), Some(300), Some(300), Some(5)));
    assert_eq!((row.parameters, row.sampling_parameters, row.nfe), (Some(12), Some(7), Some(1)));
    assert_eq!(row.feature_space, "pca-64");
    let (fd, floor) = (row.fd.unwrap(), row.fd_floor.unwrap());
    assert!(floor > 0.0 && fd < 1.3 * floor, "{fd} against {floor}");
    assert!(row.kid.unwrap().abs() < 6.0 * row.kid_standard_error.unwrap());
    assert!(row.sample_latency_ms.unwrap() > 0.0 && row.sample_images_per_second.unwrap() > 0.0);

    let bits = |nats: f64| nats / (64.0 * std::f64::consts::LN_2);
    assert_eq!((row.likelihood_kind.as_deref(), row.n_likelihood), (Some("lower-bound"), Some(40)));
    assert_close_f64(row.bits_per_dim.unwrap(), bits(1000.0), 1e-12, 0.0);
    assert_eq!(row.bits_per_dim_standard_error, Some(0.0));
    assert_eq!(row.importance_kind.as_deref(), Some("importance-64"));
    assert_close_f64(row.importance_bits_per_dim.unwrap(), bits(990.0), 1e-12, 0.0);
    assert_eq!((row.nll_nats, row.mmd, row.modes_total), (None, None, None));

    assert_eq!(stages[..2], [Stage::Timing, Stage::Sampling { done: 0, total: 300 }]);
    let comparing = |floor| Stage::Comparing {
        space: "random-64".to_owned(),
        metric: Metric::Prdc,
        floor,
        done: 0,
        total: 1,
    };
    assert!(stages.contains(&comparing(true)) && stages.contains(&comparing(false)));
    assert!(stages.contains(&Stage::Likelihood { kind: LikelihoodKind::LowerBound, done: 40, total: 40 }));

    // The same numbers, with those of the second space, one under the other.
    let find = |metric: &str, space: &str| {
        metrics.iter().find(|found| found.metric == metric && found.space == space).unwrap()
    };
    let (main, second) = (find("fd", "pca-64"), find("fd", "random-64"));
    assert_eq!(
        (Some(main.value), main.floor, main.standard_error),
        (row.fd, row.fd_floor, row.fd_standard_error)
    );
    assert_eq!((Some(second.value), second.floor), (row.second_fd, row.second_fd_floor));
    assert_eq!(row.second_space.as_deref(), Some("random-64"));
    assert_eq!((main.direction, find("coverage", "pca-64").direction), (Direction::Lower, Direction::Higher));
    for (metric, row) in
        [("auth_pct", row.auth_pct), ("vendi", row.vendi), ("one_nn_accuracy", row.one_nn_accuracy)]
    {
        assert_eq!(Some(find(metric, "pca-64").value), row, "{metric}");
    }
    // Training images are copies of themselves, test images are not.
    assert_eq!((row.copied_share, row.memorised), (Some(1.0), Some(true)));
    assert!(find("copied_share", "pca-64").floor.unwrap() < 0.03);
    let likelihood = metrics.iter().filter(|found| found.metric == "bits_per_dim");
    let kinds: Vec<&str> = likelihood.map(|found| found.parameter.as_str()).collect();
    assert_eq!(kinds, ["lower-bound", "importance-64"]);
    assert!(metrics.iter().all(|found| found.value.is_finite()));
}

#[test]
fn only_what_is_asked_for_is_measured() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions { metrics: vec![Metric::Vendi], ..Default::default() };
    let measured = compare(&protocol(&data, &spaces, &options), &data.test.x);
    assert!(measured.metrics.iter().all(|found| found.metric == "vendi") && measured.metrics.len() == 3);
    assert_eq!((measured.row.fd, measured.row.coverage), (None, None));
}

#[test]
fn likelihoods_alone_take_no_features_and_a_picture_of_samples() {
    let data = images();
    let options = EvaluateOptions { metrics: vec![Metric::Likelihood], n_bound: 40, ..Default::default() };
    let protocol = protocol(&data, &[], &options);
    let drawn = std::cell::Cell::new(0);
    let model = Known::new(&data.spec, &[LikelihoodKind::LowerBound], |request: &SampleRequest| {
        drawn.set(drawn.get() + request.n);
        Tensor::zeros([request.n as i64, 1, 8, 8], (Kind::Float, Device::Cpu))
    });
    let mut stages = Vec::new();
    let evaluated = protocol.evaluate(&model, &mut |stage| stages.push(stage)).unwrap();
    assert_eq!(evaluated.samples.size(), [64, 1, 8, 8]);
    // Those of the picture, and at most 21 calls for one that are timed.
    assert!(drawn.get() <= 64 + 21, "{} samples", drawn.get());
    let features = |stage: &Stage| matches!(stage, Stage::Features { .. } | Stage::Comparing { .. });
    assert!(!stages.iter().any(features), "{stages:?}");
    let Measured { row, metrics } = evaluated.measured;
    assert_eq!((row.n_real, row.n_fake, row.sample_images_per_second), (None, None, None));
    assert_eq!((row.n_likelihood, row.dataset.as_str()), (Some(40), "bars"));
    assert_eq!(metrics.len(), 1);
    let noise = protocol.evaluate_reference(Reference::PixelNoise, &mut |_| ()).unwrap();
    assert_eq!((noise.samples.size()[0], noise.measured.row.bits_per_dim), (64, Some(8.0)));
}

/// Keeps everything, and counts what is asked for.
#[derive(Default)]
struct Kept {
    there: std::cell::RefCell<std::collections::HashMap<String, NamedTensors>>,
    found: std::cell::Cell<usize>,
}

impl gen_eval::EvaluationCache for Kept {
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
fn what_is_kept_changes_no_number() {
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
fn a_model_of_points_is_held_against_the_entropy() {
    let data = points();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let model = Known::new(&data.spec, &[LikelihoodKind::Exact], |request: &SampleRequest| {
        PointSet::Moons.sample(request.n, request.seed)
    });
    let row = protocol.evaluate(&model, &mut |_| ()).unwrap().measured.row;
    assert_eq!((row.feature_space.as_str(), row.n_likelihood), ("identity", Some(1500)));
    assert!(row.nll_gap_nats.unwrap().abs() < 4.0 * row.nll_standard_error.unwrap());
    assert!(row.kl_nats.unwrap().abs() < 1e-9, "the model is the distribution: {:?}", row.kl_nats);
    assert_eq!((row.bits_per_dim, row.modes_total), (None, None));
    let noise = reference(&protocol, Reference::PixelNoise);
    assert!(row.mmd.unwrap().abs() < 0.01 && noise.mmd.unwrap() > 0.05, "{:?} {:?}", row.mmd, noise.mmd);
    // The entropy of the best Gaussian is known too.
    let gaussian = reference(&protocol, Reference::PixelGaussian);
    assert_close_f64(gaussian.nll_nats.unwrap(), 3.2946, 0.02, 0.0);
    let (kl, error) = (gaussian.kl_nats.unwrap(), gaussian.kl_standard_error.unwrap());
    assert_close_f64(kl, 3.2946 - PointSet::Moons.entropy(), 0.0, 5.0 * error + 0.005);
    assert!(gaussian.fd.unwrap() < 0.05 && gaussian.mmd.unwrap() > 0.01);
}

#[test]
fn mixtures_count_their_modes() {
    let set = PointSet::EightGaussians;
    let part = |n, seed| Split::unlabelled(set.sample(n, seed));
    let data = Dataset::from_splits(set.name(), part(2000, 1), None, Some(part(800, 2)), Vec::new()).unwrap();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let one = set.modes().unwrap().centres.get(3).expand([50, 2], false).to_kind(Kind::Float);
    let row = compare(&protocol, &one).row;
    assert_eq!((row.modes_covered, row.modes_total, row.high_quality_share), (Some(1), Some(8), Some(1.0)));
    let floor = reference(&protocol, Reference::Floor);
    assert_eq!(floor.modes_covered, Some(8));
    assert!(floor.high_quality_share.unwrap() > 0.97);
}

#[test]
fn references_are_in_order_and_the_floor_is_the_floor() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &spaces, &options);
    let rows = Reference::ALL.map(|which| reference(&protocol, which));
    assert_eq!(rows[0].fd, rows[0].fd_floor);
    assert!(rows.windows(2).all(|pair| pair[0].fd < pair[1].fd), "{rows:?}");
    assert!(rows.windows(2).all(|pair| pair[0].coverage > pair[1].coverage), "{rows:?}");
    assert_eq!((rows[0].bits_per_dim, rows[2].bits_per_dim), (None, Some(8.0)));
    assert!(rows[1].bits_per_dim.unwrap() < 7.5);
}

#[test]
fn the_test_images_themselves_are_perfect() {
    let data = images();
    let spaces = [pca(&data)];
    let row = compare(&protocol(&data, &spaces, &EvaluateOptions::default()), &data.test.x).row;
    assert!(row.fd.unwrap() < 1e-10);
    assert_eq!((row.precision, row.recall, row.coverage), (Some(1.0), Some(1.0), Some(1.0)));
}

#[test]
fn a_small_n_takes_a_fixed_choice_of_rows() {
    let data = images();
    let spaces = [pca(&data)];
    let at = |seed, samples: &Tensor| {
        let options = EvaluateOptions { n: 64, seed, ..Default::default() };
        let row = compare(&protocol(&data, &spaces, &options), samples).row;
        assert_eq!((row.n_real, row.n_fake, row.prdc_n), (Some(64), Some(64), Some(64)));
        row.fd.unwrap()
    };
    // The seed says which samples; which real rows they meet it does not.
    assert_eq!(at(0, &data.train.x), at(0, &data.train.x));
    assert_ne!(at(0, &data.train.x), at(1, &data.train.x));
    let few = data.train.x.narrow(0, 0, 64);
    assert_close_f64(at(0, &few), at(1, &few), 1e-9, 0.0);
}

/// A folder with a folder for each class comes sorted by class.
#[test]
fn the_order_of_samples_does_not_matter() {
    let data = images();
    let spaces = [pca(&data)];
    let labels = data.train.labels.as_ref().unwrap();
    let (_, order) = labels.sort_stable(true, 0, false);
    let sorted = data.train.x.index_select(0, &order);
    let measure = |n: usize, samples: &Tensor| {
        let metrics = vec![Metric::Fd, Metric::FdInfinity, Metric::OneNearest, Metric::Prdc];
        let options = EvaluateOptions { n, metrics, ..Default::default() };
        compare(&protocol(&data, &spaces, &options), samples).metrics
    };
    let value = |metrics: &[gen_eval::Measurement], name: &str| {
        let found = metrics.iter().find(|found| found.metric == name).unwrap();
        (found.value, found.floor.unwrap())
    };
    // All samples, of which some metrics look at the first ones only; and a few of them.
    for (n, names) in
        [(1200, &["fd_infinity", "fd", "recall", "one_nn_accuracy"][..]), (100, &["fd", "recall"])]
    {
        let found = measure(n, &sorted);
        for name in names {
            let (value, floor) = value(&found, name);
            let allowed = if name.starts_with("fd") { 0.5 * floor.abs() + 0.5 } else { 0.1 };
            assert!((value - floor).abs() < allowed, "{n} {name}: {value}, floor {floor}");
        }
    }
}

/// Columns in their own units: what is wrong with an age does not drown beside an income.
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
    let honest = compare(&protocol, &table(500, 3)).row;
    assert!(honest.fd.unwrap() - honest.fd_floor.unwrap() <= 3.0 * honest.fd_standard_error.unwrap());
    assert!(honest.precision.unwrap() > 0.85 && honest.coverage.unwrap() > 0.85);
    let wrong = table(500, 4);
    let (_, _) = (wrong.select(1, 1).fill_(500.0), wrong.select(1, 2).fill_(-40.0));
    let wrong = compare(&protocol, &wrong).row;
    assert!(wrong.fd.unwrap() > 1000.0 * (honest.fd.unwrap() + 0.01), "{:?}", wrong.fd);
    assert_eq!((wrong.precision, wrong.coverage), (Some(0.0), Some(0.0)));
    // The numbers do not depend on the units.
    for scale in [[1e-3, 1e6, 4.0], [1e200, 1e-200, 1e-150]] {
        let units = Tensor::from_slice(&scale);
        let scaled = |x: &Tensor| x.to_kind(Kind::Double) * &units;
        let part = |x: &Tensor| Split::unlabelled(scaled(x));
        let other =
            Dataset::from_splits("people", part(&data.train.x), None, Some(part(&data.test.x)), Vec::new());
        let other = other.unwrap();
        let spaces = [FeatureSpace::Identity];
        let same = compare(&self::protocol(&other, &spaces, &options), &scaled(&table(500, 3))).row;
        assert_close_f64(same.fd.unwrap(), honest.fd.unwrap(), 1e-3, 1e-5);
        assert_close_f64(same.mmd.unwrap(), honest.mmd.unwrap(), 1e-3, 1e-5);
        assert_close_f64(same.coverage.unwrap(), honest.coverage.unwrap(), 1e-2, 0.0);
    }
}

#[test]
fn samples_that_are_no_numbers_have_no_numbers() {
    let data = points();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    for (broken, by) in [(f64::NAN, "NaN"), (f64::INFINITY, "infinity"), (1e200, "1e200")] {
        let model = Known::new(&data.spec, &[], |request: &SampleRequest| {
            let x = PointSet::Moons.sample(request.n, request.seed).to_kind(Kind::Double);
            let _ = x.get(0).fill_(broken);
            x
        });
        let Measured { row, metrics } = protocol.evaluate(&model, &mut |_| ()).unwrap().measured;
        assert!(row.fd.unwrap().is_nan() && row.coverage.unwrap().is_nan(), "{by}: {row:?}");
        assert_eq!((row.fd_standard_error, row.memorised), (None, None), "{by}");
        assert!(row.fd_floor.unwrap() > 0.0 && row.sample_latency_ms.is_some(), "{by}");
        let honest = compare(&protocol, &PointSet::Moons.sample(1500, 3)).metrics;
        assert_eq!(metrics.len(), honest.len(), "{by}: every number is there");
        assert!(metrics.iter().all(|found| found.value.is_nan() && found.standard_error.is_none()), "{by}");
    }
    // Of images a byte would hide it.
    let data = images();
    let spaces = [pca(&data)];
    let protocol = self::protocol(&data, &spaces, &options);
    let model = Known::new(&data.spec, &[], |request: &SampleRequest| {
        Tensor::full([request.n as i64, 1, 8, 8], f64::NAN, (Kind::Float, Device::Cpu))
    });
    assert!(protocol.evaluate(&model, &mut |_| ()).unwrap().measured.row.fd.unwrap().is_nan());
    // In somebody's file it is a mistake that has a place.
    let data = points();
    let protocol = self::protocol(&data, &[FeatureSpace::Identity], &options);
    let x = PointSet::Moons.sample(20, 0);
    let _ = x.get(4).get(1).fill_(f64::NAN);
    assert_eq!(
        protocol.compare(&x, &mut |_| ()).unwrap_err().to_string(),
        "row 5 of the samples holds NaN in column 2 (both from 1): samples need finite values"
    );
}

/// A model that gives some rows no probability at all.
#[test]
fn an_infinite_likelihood_is_kept() {
    let data = points();
    let options = EvaluateOptions { metrics: vec![Metric::Likelihood], ..Default::default() };
    let protocol = protocol(&data, &[], &options);
    let mut model = Known::new(&data.spec, &[LikelihoodKind::LowerBound], |request: &SampleRequest| {
        PointSet::Moons.sample(request.n, request.seed)
    });
    model.nats = f64::NEG_INFINITY;
    let Measured { row, metrics } = protocol.evaluate(&model, &mut |_| ()).unwrap().measured;
    assert_eq!((row.nll_nats, row.nll_standard_error), (Some(f64::INFINITY), None));
    assert_eq!((row.nll_gap_nats, row.kl_nats), (Some(f64::INFINITY), Some(f64::INFINITY)));
    let nll = metrics.iter().find(|found| found.metric == "nll_nats").unwrap();
    assert_eq!((nll.value, nll.standard_error), (f64::INFINITY, None));
}

#[test]
fn few_rows_have_no_error_and_no_verdict() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &spaces, &options);
    // 64 dimensions: 5 rows each are 320, and the test split has 300.
    for n in [2, 60, 300] {
        let Measured { row, metrics } = compare(&protocol, &data.train.x.narrow(0, 0, n));
        assert!(row.fd.is_some() && row.fd_floor.is_some());
        assert_eq!(row.fd_standard_error, None, "{n}");
        assert!(metrics.iter().all(|found| found.metric != "fd_infinity" || found.standard_error.is_none()));
    }
    // One of two samples that looks copied is chance.
    let two = Tensor::cat(&[data.train.x.narrow(0, 0, 1), data.test.x.narrow(0, 0, 1)], 0);
    let row = compare(&protocol, &two).row;
    assert_eq!((row.copied_share, row.memorised), (Some(0.5), Some(false)));
    let points = points();
    let protocol = self::protocol(&points, &[FeatureSpace::Identity], &options);
    let error = |n| compare(&protocol, &PointSet::Moons.sample(n, 9)).row.fd_standard_error;
    assert!(error(99).is_none() && error(100).is_some());
}

#[test]
fn copies_are_flagged_by_likelihood_too() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions { metrics: vec![Metric::Fls, Metric::Memorisation], ..Default::default() };
    let protocol = protocol(&data, &spaces, &options);
    let fls = |samples: &Tensor| {
        let Measured { row, metrics } = compare(&protocol, samples);
        let found = metrics.into_iter().find(|found| found.metric == "fls").unwrap();
        (found.value, found.standard_error.unwrap(), found.floor.unwrap(), row.memorised.unwrap())
    };
    let (honest, error, floor, memorised) = fls(&bars(300, 9).x);
    assert!((honest - 100.0).abs() < 4.0 * error + 3.0 && !memorised, "{honest} +- {error}");
    assert!((floor - 100.0).abs() < 15.0, "{floor}");
    let (copies, _, _, memorised) = fls(&data.train.x.narrow(0, 0, 300));
    assert!(copies < 10.0 && memorised, "{copies}");
}

/// What an evaluation with other threads kept has other last digits.
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
    let Measured { row, metrics } = floor();
    assert_eq!((row.fd, row.fd_floor), (first.row.fd, first.row.fd));
    for found in metrics {
        let copies = ["auth_pct", "copied_share", "nearest_train_z", "fls"].contains(&found.metric.as_str());
        assert_eq!(found.floor == Some(found.value), !copies, "{found:?}");
    }
    assert_eq!((row.copied_share, row.memorised), (Some(1.0), Some(true)));
}

#[test]
fn a_singular_covariance_leaves_the_gaussian_without_a_density() {
    let moons = |n, seed| PointSet::Moons.sample(n, seed);
    let constant = |n, seed| Split::unlabelled(moons(n, seed).constant_pad_nd([0, 1]));
    let data =
        Dataset::from_splits("flat", constant(900, 1), None, Some(constant(300, 2)), Vec::new()).unwrap();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let row = reference(&protocol, Reference::PixelGaussian);
    assert!(row.fd.unwrap() < 0.1 && row.mmd.is_some());
    assert_eq!((row.likelihood_kind, row.nll_nats), (None, None));
    let noise = reference(&protocol, Reference::PixelNoise);
    assert!(noise.fd > row.fd);
}

#[test]
fn impossible_requests_are_explained() {
    let data = images();
    let spaces = [pca(&data)];
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &spaces, &options);
    let refused = |samples: &Tensor| protocol.compare(samples, &mut |_| ()).unwrap_err().to_string();
    assert_eq!(
        refused(&Tensor::zeros([5, 1, 9, 8], (Kind::Uint8, Device::Cpu))),
        "samples of `bars` should be bytes [5, 1, 8, 8], found Uint8 [5, 1, 9, 8]"
    );
    assert!(refused(&bytes_to_signed(&data.test.x)).contains("should be bytes"));
    let narrow = Known::new(&data.spec, &[], |r: &SampleRequest| {
        Tensor::zeros([r.n as i64, 1, 8, 7], (Kind::Float, Device::Cpu))
    });
    assert!(protocol.evaluate(&narrow, &mut |_| ()).is_err());
    assert_eq!(refused(&data.test.x.narrow(0, 0, 1)), "measuring needs at least 2 samples, found 1");
    let steps = EvaluateOptions { steps: Some(5), ..Default::default() };
    let protocol = self::protocol(&data, &spaces, &steps);
    let model = Known::new(&data.spec, &[], |_: &SampleRequest| bytes_to_signed(&data.test.x));
    assert_eq!(
        protocol.evaluate(&model, &mut |_| ()).unwrap_err().to_string(),
        "`known` samples in one pass: it has no choice of sampler or steps"
    );
    let untested = Dataset::from_tensor("mine", data.train.x.shallow_clone()).unwrap();
    let error = Protocol::new(&untested, &spaces, &options, &NoCache, &mut |_| ()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "measuring needs at least 2 test rows: `mine` has 0, and 10000 are asked for"
    );
}
