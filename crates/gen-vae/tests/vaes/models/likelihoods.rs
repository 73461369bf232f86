//! The likelihoods that a model gives to data.

use std::f64::consts::TAU;

use gen_core::data::{Batch, Binarise, Values};
use gen_core::distributions::Gaussian;
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, Step};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::testing::{assert_close, assert_close_f64};
use gen_vae::{Likelihood, PriorConfig, QUICK_VAE, VaeConfig};
use tch::{Device, Kind, Tensor};

use super::{alone, context, every_kind_of_data, finite, flow_prior, images, points, small, train, vae, with};

/// The sum over a row.
fn sums(x: &Tensor) -> Tensor {
    x.sum_dim_intlist(1, false, Kind::Double)
}

/// ln N(x; mean, exp(log_std)²) of each row.
fn log_normal(x: &Tensor, mean: &Tensor, log_std: &Tensor) -> Tensor {
    sums(&(((x - mean) / log_std.exp()).square() * -0.5 - log_std - 0.5 * TAU.ln()))
}

/// Written out in double precision from the outputs of the encoder and the decoder, with the noise that the seed gives:
/// the bound with the divergence of two normal distributions, and the importance weights of any number of samples.
#[test]
fn likelihoods_are_those_of_their_definition() {
    let _turn = alone();
    let data = points(200);
    let config = VaeConfig { prior: PriorConfig::StandardNormal, predict_scale: false, beta: 0.3, ..small(&data) };
    let model = QUICK_VAE.build(config, &context(&data, 0)).unwrap();
    let rng = Generator::seeded(1);
    for (_, tensor) in model.weights().iter().filter(|(name, _)| !name.starts_with("standardise.")) {
        let _ = tch::no_grad(|| tensor.shallow_clone().g_add_(&(rng.randn_like(tensor) * 0.3)));
    }
    let double = |x: &Tensor| x.detach().to_kind(Kind::Double);
    let row = |values: &[f64]| Tensor::from_slice(values);
    let log_scale = double(model.weights().get("log_scale").unwrap()) + row(&data.spec.std).log();
    let x = data.train.narrow(0, 9).to_batch(&data.spec, &Generator::seeded(0)).x;
    let _no_grad = tch::no_grad_guard();

    // For rows of x, `copies` times over: ln p(x | z), the samples of z, and the posterior.
    let sampled = |x: &Tensor, copies: i64, rng: &Generator| {
        let Gaussian { mean, log_std } = model.encode(x).unwrap();
        let [mean, log_std] = [mean, log_std].map(|part| double(&part).repeat([copies, 1]));
        let noise = rng.randn(mean.size().as_slice(), (Kind::Float, Device::Cpu));
        let z = &mean + log_std.exp() * noise;
        let centre = double(&model.decode(&z.to_kind(Kind::Float)));
        (log_normal(&double(x).repeat([copies, 1]), &centre, &log_scale), z, mean, log_std)
    };
    let (log_likelihood, _, mean, log_std) = sampled(&x, 1, &stream(3, Purpose::Evaluate, 0));
    let divergence = sums(&((&log_std * 2.0).exp() + mean.square() - &log_std * 2.0 - 1.0)) * 0.5;
    let found = model.log_likelihood(&Batch::of(&x), LikelihoodKind::LowerBound, 3).unwrap();
    assert_close(&found, &(log_likelihood - divergence), 1e-5, 1e-5);

    for k in [1, 20, 2500] {
        let rng = stream(3, Purpose::Evaluate, 0);
        let zero = Tensor::from(0.0);
        // A thousand samples go through the decoder together, of several rows or of one.
        let parts: Vec<Tensor> = x
            .split((1000 / k).max(1), 0)
            .iter()
            .map(|x| {
                let weights = [1000, 1000, 500].into_iter().scan(k, |left, most| {
                    let copies = most.min(*left);
                    *left -= copies;
                    (copies > 0).then_some(copies)
                });
                let weights: Vec<Tensor> = weights
                    .map(|copies| {
                        let (log_likelihood, z, mean, log_std) = sampled(x, copies, &rng);
                        let log_weight =
                            log_likelihood + log_normal(&z, &zero, &zero) - log_normal(&z, &mean, &log_std);
                        log_weight.view([copies, -1])
                    })
                    .collect();
                Tensor::cat(&weights, 0)
            })
            .collect();
        let log_weights = Tensor::cat(&parts, 1);
        let weights = (&log_weights - log_weights.amax([0i64].as_slice(), true)).exp();
        let sum = weights.sum_dim_intlist(0, false, Kind::Double);
        let bound = (&sum / k as f64).log() + log_weights.amax([0i64].as_slice(), false);
        let kind = LikelihoodKind::Importance(k as u32);
        assert_close(&model.log_likelihood(&Batch::of(&x), kind, 3).unwrap(), &bound, 1e-5, 1e-5);
        let size = sum.square() / weights.square().sum_dim_intlist(0, false, Kind::Double);
        assert_close(&model.effective_sample_size(&Batch::of(&x), kind, 3).unwrap().unwrap(), &size, 1e-4, 0.0);
        assert!(k == 1 || size.min().double_value(&[]) < 0.9 * k as f64, "samples differ in weight");
    }
    assert!(model.effective_sample_size(&Batch::of(&x), LikelihoodKind::LowerBound, 0).unwrap().is_none());
}

#[test]
fn likelihoods_are_finite_on_every_kind_of_data() {
    let _turn = alone();
    for data in every_kind_of_data() {
        let model = vae(&data);
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        for kind in model.kinds() {
            let nats = model.log_likelihood(&Batch::of(&x), kind, 0).unwrap();
            assert_eq!(nats.size(), [x.size()[0]]);
            assert!(finite(&nats), "{kind} on {:?}", data.spec.values);
        }
    }
}

#[test]
fn the_loss_is_the_negative_bound_in_the_units_of_the_data() {
    let _turn = alone();
    for data in [images(64, 1, 8, 8), points(64), with(images(64, 1, 8, 8), Binarise::Static, false)] {
        for (beta, prior) in [(1.0, flow_prior(2)), (0.25, PriorConfig::StandardNormal), (4.0, flow_prior(2))] {
            let config = VaeConfig { beta, prior, ..small(&data) };
            let mut model = QUICK_VAE.build(config, &context(&data, 0)).unwrap();
            train(&mut model, &data, 3);
            let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
            let bound = model.log_likelihood(&Batch::of(&x), LikelihoodKind::LowerBound, 9).unwrap();
            // The same noise as the bound's.
            let step = Step { rng: stream(9, Purpose::Evaluate, 0), ..Step::new(0) };
            let losses = model.train_step(&Batch::of(&x), &step).unwrap().values();
            let value = |name: &str| losses.iter().find(|(known, _)| *known == name).map(|(_, loss)| *loss);
            let [loss, reconstruction, kl] = ["loss", "reconstruction", "kl"].map(|name| value(name).unwrap());
            assert_close_f64(-reconstruction - kl, bound.mean(Kind::Double).double_value(&[]), 1e-5, 1e-5);
            assert_close_f64(loss, reconstruction + beta * kl, 1e-5, 0.0);
            assert!(kl > 0.01, "{kl} nats: too few to tell one weight of it from another");
            assert_eq!(value("sigma").is_some(), data.spec.values != Values::Binary);
        }
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
        let mut model = QUICK_VAE.build(config, &context(&data, 0)).unwrap();
        train(&mut model, &data, 30);
        let total = |kind, repeats: u64| {
            let draws = (0..repeats).map(|seed| model.log_likelihood(&Batch::of(outcomes), kind, seed).unwrap());
            let nats = Tensor::stack(&draws.collect::<Vec<_>>(), 0).mean_dim(0, false, Kind::Double);
            nats.exp().sum(Kind::Double).double_value(&[])
        };
        let tight = total(LikelihoodKind::Importance(3000), 1);
        assert!((0.995..1.005).contains(&tight), "{likelihood}: {tight}");
        let loose = total(LikelihoodKind::LowerBound, 200);
        assert!((0.3..=tight + 0.005).contains(&loose), "{likelihood}: {loose} of {tight}");
    }
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
    // The mean of the weights is unbiased, so that its integral is 1 on average.
    let integrals: Vec<f64> = (0..10)
        .map(|seed| {
            let nats = model.log_likelihood(&Batch::of(&mesh), LikelihoodKind::Importance(50), seed).unwrap();
            nats.exp().sum(Kind::Double).double_value(&[]) * da * db
        })
        .collect();
    let integrals = Tensor::from_slice(&integrals);
    let (mean, error) =
        (integrals.mean(Kind::Double).double_value(&[]), integrals.std(true).double_value(&[]) / 10f64.sqrt());
    assert!(error < 2e-3, "{error}");
    assert_close_f64(mean, 1.0, 0.0, 4.0 * error + 1e-3);
}

#[test]
fn the_bound_tightens_with_more_samples() {
    let _turn = alone();
    let data = images(200, 1, 8, 8);
    for prior in [PriorConfig::StandardNormal, flow_prior(2)] {
        let config = VaeConfig { prior, ..small(&data) };
        let mut model = QUICK_VAE.build(config, &context(&data, 0)).unwrap();
        train(&mut model, &data, 40);
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        // The mean over all rows and ten seeds, and its standard error.
        let mean = |kind| {
            let rows: Vec<Tensor> =
                (0..10).map(|seed| model.log_likelihood(&Batch::of(&x), kind, seed).unwrap()).collect();
            let each = Tensor::stack(&rows, 0).to_kind(Kind::Double);
            let error = each.std_dim(0, true, false).square().sum(Kind::Double).sqrt() / 10f64.sqrt() / 200.0;
            (each.mean(Kind::Double).double_value(&[]), error.double_value(&[]))
        };
        let (elbo, error) = mean(LikelihoodKind::LowerBound);
        let bounds = [1, 2, 8, 64].map(|k| mean(LikelihoodKind::Importance(k)));
        assert_close_f64(bounds[0].0, elbo, 0.0, 4.0 * (error + bounds[0].1));
        for pair in bounds.windows(2) {
            assert!(pair[1].0 > pair[0].0 + 4.0 * (pair[0].1 + pair[1].1), "{bounds:?}");
        }
    }
}
