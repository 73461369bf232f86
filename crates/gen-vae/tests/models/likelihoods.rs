//! What a model says of the probability of data.

use gen_core::data::{Batch, Binarise, Dataset};
use gen_core::model::{Buildable, Density, GenerativeModel, LikelihoodKind, Step};
use gen_core::rng::Generator;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_vae::{Likelihood, Vae, VaeConfig};
use tch::{Device, Kind, Tensor};

use super::{alone, context, every_kind_of_data, finite, images, points, settings, small, vae, with};

#[test]
fn an_effective_sample_size_is_between_one_and_all() {
    let _turn = alone();
    let data = points(200);
    let model = vae(&data);
    let x = data.train.narrow(0, 9).to_batch(&data.spec, &Generator::seeded(0)).x;
    let size = |kind| model.effective_sample_size(&x, kind, 0).unwrap();
    for k in [1u32, 20, 1500] {
        let size = size(LikelihoodKind::Importance(k)).unwrap();
        assert_eq!(size.size(), [9]);
        let (low, high) = (size.min().double_value(&[]), size.max().double_value(&[]));
        assert!(low > 0.999 && high < 1.001 * f64::from(k), "{k}: {low} to {high}");
        assert!(k == 1 || low < f64::from(k) * 0.999, "untrained, samples differ in weight");
    }
    assert!(size(LikelihoodKind::LowerBound).is_none());
}

#[test]
fn likelihoods_are_finite_on_every_kind_of_data() {
    let _turn = alone();
    for data in every_kind_of_data() {
        let model = vae(&data);
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        for kind in model.kinds() {
            let nats = model.log_likelihood(&x, kind, 0).unwrap();
            assert_eq!(nats.size(), [x.size()[0]]);
            assert!(finite(&nats), "{kind} on {:?}", data.spec.values);
        }
    }
}

#[test]
fn the_loss_is_the_negative_bound_in_the_units_of_the_data() {
    let _turn = alone();
    for data in [images(64, 1, 8, 8), points(64)] {
        let mut model = vae(&data);
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        let kind = LikelihoodKind::LowerBound;
        let bound: f64 = (0..20)
            .map(|seed| {
                model.log_likelihood(&x, kind, seed).unwrap().mean(Kind::Double).double_value(&[]) / 20.0
            })
            .sum();
        let losses = model.train_step(&Batch::unlabelled(x), &Step::new(0)).unwrap().values();
        let value = |name: &str| losses.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_close_f64(value("loss"), value("reconstruction") + value("kl"), 1e-6, 0.0);
        assert_close_f64(value("loss"), -bound, 0.02, 0.1);
        assert!(value("sigma") > 0.0);
    }
}

/// All of the outcomes of a tiny image: the masses of a bound sum to at most 1, and nearly to 1 for large K.
#[test]
fn masses_of_a_model_sum_to_one() {
    let _turn = alone();
    let bytes = || images(20, 1, 1, 1);
    let all_bytes = Tensor::arange(256, (Kind::Float, Device::Cpu)).view([256, 1, 1, 1]) / 127.5 - 1.0;
    let pairs = Tensor::from_slice(&[-1f32, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0]).view([4, 1, 1, 2]);
    let binary = with(images(20, 1, 1, 2), Binarise::Static, false);
    let cases = [
        (bytes(), Likelihood::DiscretisedLogistic, true, &all_bytes),
        (bytes(), Likelihood::DiscretisedLogistic, false, &all_bytes),
        (bytes(), Likelihood::Gaussian, false, &all_bytes),
        (binary, Likelihood::Bernoulli, false, &pairs),
    ];
    for (data, likelihood, predict_scale, outcomes) in cases {
        let config = VaeConfig { likelihood, predict_scale, ..small(&data) };
        let mut model = Vae::build(config, &context(&data, 0)).unwrap();
        train(&mut model, &data, 30);
        let total = |kind, repeats: u64| {
            let draws = (0..repeats).map(|seed| model.log_likelihood(outcomes, kind, seed).unwrap());
            let nats = Tensor::stack(&draws.collect::<Vec<_>>(), 0).mean_dim(0, false, Kind::Double);
            nats.exp().sum(Kind::Double).double_value(&[])
        };
        let tight = total(LikelihoodKind::Importance(3000), 1);
        assert!((0.98..1.02).contains(&tight), "{likelihood}: {tight}");
        let loose = total(LikelihoodKind::LowerBound, 200);
        assert!(loose <= tight + 0.02, "{likelihood}: {loose} above {tight}");
    }
}

fn train(model: &mut Vae, data: &Dataset, steps: u64) {
    let settings = TrainConfig { log_every: 50, ..settings() };
    let mut trainer = Trainer::new(model, data, settings, Budget::Steps(steps), 0).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
}

/// A density on the plane, in the units of the data: it integrates to 1, so the Jacobian of the standardisation is
/// right.
#[test]
fn the_density_of_points_integrates_to_one() {
    let _turn = alone();
    let data = points(400);
    let mut model = vae(&data);
    train(&mut model, &data, 100);
    let axis = |i: usize| {
        let (mean, reach) = (data.spec.mean[i], 6.0 * data.spec.std[i]);
        (Tensor::linspace(mean - reach, mean + reach, 60, (Kind::Float, Device::Cpu)), 2.0 * reach / 59.0)
    };
    let ((a, da), (b, db)) = (axis(0), axis(1));
    let mesh = Tensor::cartesian_prod(&[a, b]);
    let nats = model.log_likelihood(&mesh, LikelihoodKind::Importance(100), 0).unwrap();
    let integral = nats.exp().sum(Kind::Double).double_value(&[]) * da * db;
    assert!((0.93..1.03).contains(&integral), "{integral}");
}

#[test]
fn the_bound_tightens_with_more_samples() {
    let _turn = alone();
    let data = images(200, 1, 8, 8);
    for prior_layers in [0, 2] {
        let config = VaeConfig { prior_layers, ..small(&data) };
        let mut model = Vae::build(config, &context(&data, 0)).unwrap();
        train(&mut model, &data, 40);
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        let mean = |kind| {
            let rows = (0..10).map(|seed| model.log_likelihood(&x, kind, seed).unwrap().mean(Kind::Double));
            rows.map(|mean| mean.double_value(&[]) / 10.0).sum::<f64>()
        };
        let elbo = mean(LikelihoodKind::LowerBound);
        let bounds = [1, 2, 8, 64].map(|k| mean(LikelihoodKind::Importance(k)));
        assert_close_f64(bounds[0], elbo, 0.0, 0.3);
        assert!(bounds.is_sorted(), "{bounds:?}");
        assert!(bounds[3] > bounds[0] + 0.05, "{bounds:?}");
    }
}

#[test]
fn more_samples_than_fit_in_one_pass_are_one_estimate() {
    let _turn = alone();
    let data = points(50);
    let model = vae(&data);
    let x = data.train.to_batch(&data.spec, &Generator::shared()).x.narrow(0, 0, 2);
    let many = |seed| model.log_likelihood(&x, LikelihoodKind::Importance(2500), seed).unwrap();
    assert_eq!(many(0), many(0));
    assert_close(&many(0), &many(1), 0.0, 0.3);
    assert_ne!(many(0), many(1));
}
