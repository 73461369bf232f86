//! Models that fill their rows.

use gen_core::data::{Dataset, PointSet, bytes_to_signed};
use gen_core::model::{LikelihoodKind, SampleRequest};
use gen_core::rng::{Purpose, permutation};
use gen_core::testing::assert_close_f64;
use gen_eval::features::RandomNetwork;
use gen_eval::{Direction, EvaluateOptions, FeatureSpace, NoCache, Protocol, Reference, Stage};
use tch::{Device, Kind, Tensor};

use super::{Known, compare, only, pca, points, protocol, reference};
use crate::bars::images;

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
    let measured = evaluated.measured;
    assert_eq!(
        (measured.row.family.as_str(), measured.row.model.as_str(), measured.row.dataset.as_str()),
        ("baseline", "known", "bars")
    );
    assert_eq!(
        (measured.row.n_real, measured.row.n_fake, measured.number("prdc_n"), measured.number("prdc_k")),
        (Some(300), Some(300), Some(300.0), Some(5.0))
    );
    assert_eq!(
        (measured.row.parameters, measured.row.sampling_parameters, measured.row.nfe),
        (Some(12), Some(7), Some(1))
    );
    assert_eq!(measured.row.feature_space, "pca-64");
    let (fd, floor) = (measured.number("fd").unwrap(), measured.number("fd_floor").unwrap());
    assert!(floor > 0.0 && fd < 1.3 * floor, "{fd} against {floor}");
    assert!(measured.number("kid").unwrap().abs() < 6.0 * measured.number("kid_standard_error").unwrap());
    assert!(measured.row.sample_latency_ms.unwrap() > 0.0 && measured.row.sample_images_per_second.unwrap() > 0.0);

    let bits = |nats: f64| nats / (64.0 * std::f64::consts::LN_2);
    assert_eq!((measured.likelihood(false), measured.number("n_likelihood")), (Some("lower-bound"), Some(40.0)));
    assert_close_f64(measured.number("bits_per_dim").unwrap(), bits(1000.0), 1e-12, 0.0);
    assert_eq!(measured.number("bits_per_dim_standard_error"), Some(0.0));
    assert_eq!(measured.likelihood(true), Some("importance-64"));
    assert_close_f64(measured.number("importance_bits_per_dim").unwrap(), bits(990.0), 1e-12, 0.0);
    assert_eq!(
        (measured.number("nll_nats"), measured.number("mmd"), measured.number("modes_total")),
        (None, None, None)
    );

    assert_eq!(stages[..2], [Stage::Timing, Stage::Sampling { done: 0, total: 300 }]);
    let comparing =
        |floor| Stage::Comparing { space: "random-64".to_owned(), metric: "prdc", floor, done: 0, total: 1 };
    assert!(stages.contains(&comparing(true)) && stages.contains(&comparing(false)));
    assert!(stages.contains(&Stage::Likelihood { kind: LikelihoodKind::LowerBound, done: 40, total: 40 }));

    // The same numbers, with those of the second space, one under the other.
    let find = |metric: &str, space: &str| {
        measured.metrics.iter().find(|found| found.metric == metric && found.space == space).unwrap()
    };
    let (main, second) = (find("fd", "pca-64"), find("fd", "random-64"));
    assert_eq!(
        (Some(main.value), main.floor, main.standard_error),
        (measured.number("fd"), measured.number("fd_floor"), measured.number("fd_standard_error"))
    );
    assert_eq!((Some(second.value), second.floor), (measured.number("second_fd"), measured.number("second_fd_floor")));
    assert_eq!(measured.row.second_space.as_deref(), Some("random-64"));
    assert_eq!((main.direction, find("coverage", "pca-64").direction), (Direction::Lower, Direction::Higher));
    for (metric, row) in [
        ("auth_pct", measured.number("auth_pct")),
        ("vendi", measured.number("vendi")),
        ("one_nn_accuracy", measured.number("one_nn_accuracy")),
    ] {
        assert_eq!(Some(find(metric, "pca-64").value), row, "{metric}");
    }
    // Training images are copies of themselves, test images are not.
    assert_eq!((measured.number("copied_share"), measured.memorised()), (Some(1.0), Some(true)));
    assert!(find("copied_share", "pca-64").floor.unwrap() < 0.03);
    let likelihood = measured.metrics.iter().filter(|found| found.metric == "bits_per_dim");
    let kinds: Vec<&str> = likelihood.map(|found| found.parameter.as_str()).collect();
    assert_eq!(kinds, ["lower-bound", "importance-64"]);
    assert!(measured.metrics.iter().all(|found| found.value.is_finite()));
}

#[test]
fn likelihoods_alone_take_no_features_and_a_picture_of_samples() {
    let data = images();
    let options = EvaluateOptions { n_bound: 40, ..only(&["likelihood"]) };
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
    let measured = evaluated.measured;
    assert_eq!((measured.row.n_real, measured.row.n_fake, measured.row.sample_images_per_second), (None, None, None));
    assert_eq!((measured.number("n_likelihood"), measured.row.dataset.as_str()), (Some(40.0), "bars"));
    assert_eq!(measured.metrics.len(), 1);
    let noise = protocol.evaluate_reference(Reference::PixelNoise, &mut |_| ()).unwrap();
    assert_eq!((noise.samples.size()[0], noise.measured.number("bits_per_dim")), (64, Some(8.0)));
}

#[test]
fn a_model_of_points_is_held_against_the_entropy() {
    let data = points();
    let options = EvaluateOptions::default();
    let protocol = protocol(&data, &[FeatureSpace::Identity], &options);
    let model = Known::new(&data.spec, &[LikelihoodKind::Exact], |request: &SampleRequest| {
        PointSet::Moons.sample(request.n, request.seed)
    });
    let measured = protocol.evaluate(&model, &mut |_| ()).unwrap().measured;
    assert_eq!((measured.row.feature_space.as_str(), measured.number("n_likelihood")), ("identity", Some(1500.0)));
    assert!(measured.number("nll_gap_nats").unwrap().abs() < 4.0 * measured.number("nll_standard_error").unwrap());
    assert!(
        measured.number("kl_nats").unwrap().abs() < 1e-9,
        "the model is the distribution: {:?}",
        measured.number("kl_nats")
    );
    assert_eq!((measured.number("bits_per_dim"), measured.number("modes_total")), (None, None));
    let noise = reference(&protocol, Reference::PixelNoise);
    assert!(
        measured.number("mmd").unwrap().abs() < 0.01 && noise.number("mmd").unwrap() > 0.05,
        "{:?} {:?}",
        measured.number("mmd"),
        noise.number("mmd")
    );
    // The entropy of the best Gaussian is known too.
    let gaussian = reference(&protocol, Reference::PixelGaussian);
    assert_close_f64(gaussian.number("nll_nats").unwrap(), 3.2946, 0.02, 0.0);
    let (kl, error) = (gaussian.number("kl_nats").unwrap(), gaussian.number("kl_standard_error").unwrap());
    assert_close_f64(kl, 3.2946 - PointSet::Moons.entropy(), 0.0, 5.0 * error + 0.005);
    assert!(gaussian.number("fd").unwrap() < 0.05 && gaussian.number("mmd").unwrap() > 0.01);
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
        let measured = protocol.evaluate(&model, &mut |_| ()).unwrap().measured;
        assert!(
            measured.number("fd").unwrap().is_nan() && measured.number("coverage").unwrap().is_nan(),
            "{by}: {measured:?}"
        );
        assert_eq!((measured.number("fd_standard_error"), measured.memorised()), (None, None), "{by}");
        assert!(measured.number("fd_floor").unwrap() > 0.0 && measured.row.sample_latency_ms.is_some(), "{by}");
        let honest = compare(&protocol, &PointSet::Moons.sample(1500, 3)).metrics;
        assert_eq!(measured.metrics.len(), honest.len(), "{by}: every number is there");
        assert!(measured.metrics.iter().all(|found| found.value.is_nan() && found.standard_error.is_none()), "{by}");
    }
    // Of images a byte would hide it.
    let data = images();
    let spaces = [pca(&data)];
    let protocol = self::protocol(&data, &spaces, &options);
    let model = Known::new(&data.spec, &[], |request: &SampleRequest| {
        Tensor::full([request.n as i64, 1, 8, 8], f64::NAN, (Kind::Float, Device::Cpu))
    });
    assert!(protocol.evaluate(&model, &mut |_| ()).unwrap().measured.number("fd").unwrap().is_nan());
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

/// The model gives some rows no probability at all.
#[test]
fn an_infinite_likelihood_is_kept() {
    let data = points();
    let options = only(&["likelihood"]);
    let protocol = protocol(&data, &[], &options);
    let mut model = Known::new(&data.spec, &[LikelihoodKind::LowerBound], |request: &SampleRequest| {
        PointSet::Moons.sample(request.n, request.seed)
    });
    model.nats = f64::NEG_INFINITY;
    let measured = protocol.evaluate(&model, &mut |_| ()).unwrap().measured;
    assert_eq!((measured.number("nll_nats"), measured.number("nll_standard_error")), (Some(f64::INFINITY), None));
    assert_eq!(
        (measured.number("nll_gap_nats"), measured.number("kl_nats")),
        (Some(f64::INFINITY), Some(f64::INFINITY))
    );
    let nll = measured.metrics.iter().find(|found| found.metric == "nll_nats").unwrap();
    assert_eq!((nll.value, nll.standard_error), (f64::INFINITY, None));
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
    let steps = EvaluateOptions { sampling: toml::toml! { steps = 5 }, ..Default::default() };
    let protocol = self::protocol(&data, &spaces, &steps);
    let model = Known::new(&data.spec, &[], |_: &SampleRequest| bytes_to_signed(&data.test.x));
    assert_eq!(protocol.evaluate(&model, &mut |_| ()).unwrap_err().to_string(), "unknown sampling option `steps`");
    let untested = Dataset::from_tensor("mine", data.train.x.shallow_clone()).unwrap();
    let error = Protocol::new(&untested, &spaces, &options, &NoCache, &mut |_| ()).err().unwrap();
    assert_eq!(error.to_string(), "measuring needs at least 2 test rows: `mine` has 0, and 10000 are asked for");
}
