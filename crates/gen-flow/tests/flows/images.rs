//! The flows of images as their users see them, on small squares.

use std::collections::BTreeMap;

use crate::starts::assert_starts;
use gen_core::data::{Batch, Dataset, Values};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, SampleRequest};
use gen_core::registry::{BuildContext, Buildable, Preset};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_flow::{
    AffineSteps, Architecture, Dequantisation, FLOW_PLUS_PLUS, FlowModel, FlowPlusPlusConfig, GLOW, Glow, GlowConfig,
    ImageConfig, MODELS, MultiScale, NSF, NsfConfig, Pixels, QUICK_FLOW, RealNvpConfig, SplineImageConfig,
};
use tch::{Device, Kind, Tensor};

/// Squares of random place and brightness on black: `u8 [n, 1, 8, 8]`.
fn squares(n: i64) -> Dataset {
    let rng = stream(7, Purpose::Data, 0);
    let options = (Kind::Float, Device::Cpu);
    let index = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    let corner = || (rng.rand([n, 1], options) * 5.0).floor().to_kind(Kind::Int64);
    let inside = |corner: Tensor| index.ge_tensor(&corner).logical_and(&index.lt_tensor(&(corner + 4)));
    let square = inside(corner()).unsqueeze(2).logical_and(&inside(corner()).unsqueeze(1));
    let brightness = rng.rand([n, 1, 1], options) * 150.0 + 100.0;
    Dataset::from_tensor("squares", (square * brightness).to_kind(Kind::Uint8).unsqueeze(1)).unwrap()
}

fn build<M: Buildable>(preset: &Preset<M>, config: M::Config, data: &Dataset) -> M {
    tch::set_num_threads(1);
    preset.build(config, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 }).unwrap()
}

fn train<A: Architecture>(preset: &Preset<FlowModel<A>>, model: &mut FlowModel<A>, data: &Dataset, steps: u64) {
    let config = TrainConfig { batch_size: 64, ema_decay: 0.0, ..preset.training(&data.spec) };
    let mut trainer = Trainer::new(model, data, config, Budget::Steps(steps), 1).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
}

/// Two scales.
fn multi_scale(pixels: Pixels, dequantisation: Dequantisation) -> MultiScale {
    MultiScale { scales: 2, pixels, alpha: 1e-6, dequantisation }
}

fn glow(pixels: Pixels, dequantisation: Dequantisation) -> GlowConfig {
    let multi_scale = multi_scale(pixels, dequantisation);
    GlowConfig { steps: 2, width: 8, multi_scale, ..GlowConfig::default() }
}

fn flow_plus_plus(pixels: Pixels, dequantisation: Dequantisation) -> FlowPlusPlusConfig {
    let multi_scale = multi_scale(pixels, dequantisation);
    let default = FlowPlusPlusConfig::default();
    FlowPlusPlusConfig { couplings: 2, width: 8, blocks: 1, heads: 2, multi_scale, ..default }
}

fn realnvp(pixels: Pixels, dequantisation: Dequantisation) -> RealNvpConfig {
    RealNvpConfig::Images(ImageConfig {
        multi_scale: multi_scale(pixels, dequantisation),
        steps: AffineSteps { couplings: 2, width: 8, dense_width: 16, ..AffineSteps::default() },
        ..ImageConfig::default()
    })
}

fn nsf(pixels: Pixels, dequantisation: Dequantisation) -> SplineImageConfig {
    SplineImageConfig {
        spline_width: 8,
        multi_scale: multi_scale(pixels, dequantisation),
        steps: AffineSteps { couplings: 1, width: 8, blocks: 0, dense_couplings: 1, dense_width: 16 },
        ..SplineImageConfig::default()
    }
}

fn bits(data: &Dataset, log_likelihood: &Tensor) -> f64 {
    let mean = log_likelihood.mean(Kind::Double).double_value(&[]);
    data.spec.values.bits_per_dim(mean, data.spec.shape.dimensions())
}

/// The bits per dimension of the distribution that has each training image as often as the training set: no other one
/// is better at these images (Gibbs), and of 512 squares in 25 places and 150 shades hardly any two are alike.
fn entropy(data: &Dataset) -> f64 {
    let n = data.train.len();
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for i in 0..n as i64 {
        let image = Vec::<u8>::try_from(data.train.x.get(i).reshape([-1])).unwrap();
        *counts.entry(image).or_default() += 1;
    }
    let shares = counts.values().map(|count| *count as f64 / n as f64);
    shares.map(|share| -share * share.log2()).sum::<f64>() / data.spec.shape.dimensions() as f64
}

/// What holds of every flow of images: it learns, its likelihoods are of the right kind and order and not better than
/// any can be, what it samples are bytes, and latents lead back.
fn check<A: Architecture>(preset: &Preset<FlowModel<A>>, config: A::Config) {
    let kinds = [LikelihoodKind::Dequantised, LikelihoodKind::DequantisedImportance(8)];
    let data = squares(512);
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    let mut model: FlowModel<A> = build(preset, config, &data);
    let of = |model: &FlowModel<A>, kind, seed| bits(&data, &model.log_likelihood(&Batch::of(&x), kind, seed).unwrap());
    let untrained = of(&model, kinds[0], 0);
    train(preset, &mut model, &data, 80);
    assert_eq!(model.kinds(), kinds);
    let [one, several] = kinds.map(|kind| of(&model, kind, 0));
    assert!(one < untrained - 1.0 && one < 5.0, "{}: {untrained} to {one} bits", A::NAME);
    // Both are bounds in the mean over noise, which is that of 512 images here.
    let least = entropy(&data);
    assert!((8.0..=9.0).contains(&(least * 64.0)), "{least}");
    assert!(several > least - 0.05, "{}: {several} bits, and {least} are the least", A::NAME);
    // A tighter bound, by not more than there is to gain.
    assert!(several < one && several > one - 0.5, "{}: {one} and {several} bits", A::NAME);
    assert_close_f64(of(&model, LikelihoodKind::DequantisedImportance(1), 0), one, 0.0, 1e-6);
    assert!((of(&model, kinds[0], 1) - one).abs() < 0.05, "{}", A::NAME);
    for wrong in [LikelihoodKind::Exact, LikelihoodKind::LowerBound, LikelihoodKind::Importance(8)] {
        assert!(model.log_likelihood(&Batch::of(&x), wrong, 0).is_err(), "{wrong}");
    }

    let size = model.effective_sample_size(&Batch::of(&x), kinds[1], 0).unwrap().unwrap();
    assert!(size.min().double_value(&[]) >= 0.999 && size.max().double_value(&[]) <= 8.001);
    assert!(model.effective_sample_size(&Batch::of(&x), kinds[0], 0).unwrap().is_none());

    let samples = model.sample(&SampleRequest::new(30, 0)).unwrap();
    assert_eq!(samples.size(), [30, 1, 8, 8]);
    let levels = (&samples + 1.0) * 127.5;
    assert_close(&levels.round(), &levels, 0.0, 1e-3);
    let latents = model.latent().unwrap().encode(&x, 0).unwrap().unwrap();
    let back = model.latent().unwrap().decode(&latents).unwrap();
    let off = (&back - &x).abs().gt(1.5 / 255.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    assert!(off < 0.02, "{}: {off} of the pixels do not come back", A::NAME);
}

#[test]
fn glow_learns_with_either_noise() {
    check(&GLOW, glow(Pixels::Gaussian, Dequantisation::Uniform));
    check(&GLOW, glow(Pixels::Logit, Dequantisation::Variational));
}

#[test]
fn flow_plus_plus_learns_with_either_noise() {
    check(&FLOW_PLUS_PLUS, flow_plus_plus(Pixels::Logit, Dequantisation::Variational));
    check(&FLOW_PLUS_PLUS, flow_plus_plus(Pixels::Logit, Dequantisation::Uniform));
}

#[test]
fn realnvp_learns_with_either_noise() {
    check(&QUICK_FLOW, realnvp(Pixels::Gaussian, Dequantisation::Uniform));
    check(&QUICK_FLOW, realnvp(Pixels::Logit, Dequantisation::Variational));
}

#[test]
fn nsf_learns_with_either_noise() {
    let images = |pixels, dequantisation| NsfConfig::Images(nsf(pixels, dequantisation));
    check(&NSF, images(Pixels::Gaussian, Dequantisation::Uniform));
    check(&NSF, images(Pixels::Logit, Dequantisation::Variational));
}

#[test]
fn many_images_are_taken_in_parts() {
    // Of 150 images, 32 at a time but for the last 54.
    let data = squares(150);
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    let model = build(&GLOW, glow(Pixels::Gaussian, Dequantisation::Uniform), &data);
    let latent = model.latent().unwrap();
    let latents = latent.encode(&x, 0).unwrap().unwrap();
    assert_eq!(latents.size(), [150, 64]);
    // Without noise it does not matter which images go together.
    let apart: Vec<Tensor> = latents.split(30, 0).iter().map(|z| latent.decode(z).unwrap()).collect();
    assert_close(&Tensor::cat(&apart, 0), &latent.decode(&latents).unwrap(), 0.0, 1e-5);
    for n in [0, 1, 31, 32, 33, 64, 95] {
        assert_eq!(model.sample(&SampleRequest::new(n, 0)).unwrap().size(), [n as i64, 1, 8, 8]);
    }
}

#[test]
fn learned_noise_is_saved_and_not_needed_to_sample() {
    let data = squares(64);
    let mut model = build(&GLOW, glow(Pixels::Gaussian, Dequantisation::Variational), &data);
    assert!(model.card().sampling_parameters < model.card().parameters);
    train(&GLOW, &mut model, &data, 3);
    let other = build(&GLOW, glow(Pixels::Gaussian, Dequantisation::Variational), &data);
    other.weights().assign(&model.weights()).unwrap();
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    let of = |model: &Glow| model.log_likelihood(&Batch::of(&x), LikelihoodKind::Dequantised, 0).unwrap();
    assert_eq!(of(&model), of(&other));
}

#[test]
fn a_constant_image_costs_nothing_but_the_start() {
    // Each pixel is one byte always: its histogram and the first normalisation of its channel say so.
    let x = Tensor::full([256, 1, 8, 8], 37, (Kind::Uint8, Device::Cpu));
    let data = Dataset::from_tensor("grey", x).unwrap();
    let mut model = build(&GLOW, glow(Pixels::Gaussian, Dequantisation::Uniform), &data);
    train(&GLOW, &mut model, &data, 1);
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    let found = bits(&data, &model.log_likelihood(&Batch::of(&x), LikelihoodKind::Dequantised, 0).unwrap());
    assert!((0.0..0.5).contains(&found), "{found} bits");
}

/// What starts from the first batch learns nothing of widths from one image, and less from one that is black.
#[test]
fn every_model_of_images_starts_from_a_single_one() {
    let black = Tensor::zeros([1, 1, 8, 8], (Kind::Uint8, Device::Cpu));
    let sets = [squares(20), squares(1), Dataset::from_tensor("black", black).unwrap()];
    // Those of points alone.
    let others = ["nsf-ar", "maf", "iaf"];
    for entry in MODELS.iter().filter(|entry| !others.contains(&entry.name)) {
        for data in &sets {
            assert_starts(entry, data, 1);
        }
    }
}

#[test]
fn impossible_configurations_are_refused() {
    let images = squares(8);
    let refused = |error: Option<gen_core::Error>, part: &str| {
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(part), "`{text}` does not contain `{part}`");
    };
    let context = |data: &Dataset| BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let points = Dataset::from_tensor("line", Tensor::randn([9, 2], (Kind::Float, Device::Cpu))).unwrap();
    refused(GLOW.build(GlowConfig::default(), &context(&points)).err(), "is a model of images");
    refused(FLOW_PLUS_PLUS.build(FlowPlusPlusConfig::default(), &context(&points)).err(), "is a model of images");
    let of = |config: GlowConfig| GLOW.build(config, &context(&images)).err();
    let default = GlowConfig::default().multi_scale;
    let scaled = |multi_scale: MultiScale| GlowConfig { multi_scale, ..GlowConfig::default() };
    refused(of(scaled(MultiScale { scales: 3, ..default })), "can have 1 to 2 `scales`");
    refused(of(scaled(MultiScale { alpha: 0.5, ..default })), "`alpha`");
    refused(of(GlowConfig { width: 0, ..GlowConfig::default() }), "`width`");
    let config = FlowPlusPlusConfig { heads: 5, ..FlowPlusPlusConfig::default() };
    refused(FLOW_PLUS_PLUS.build(config, &context(&images)).err(), "`heads` must divide");
    let of = |config| NSF.build(NsfConfig::Images(config), &context(&images)).err();
    let config = nsf(Pixels::Gaussian, Dequantisation::Uniform);
    refused(of(SplineImageConfig { bound: 0.0, ..config.clone() }), "`bound` must be a positive number");
    refused(of(SplineImageConfig { bins: 65, ..config.clone() }), "`bins` must be 1 to 64, found 65");
    refused(of(SplineImageConfig { spline_couplings: 0, ..config.clone() }), "`spline_couplings`");
    let steps = AffineSteps { dense_width: 0, ..config.steps };
    refused(of(SplineImageConfig { steps, ..config.clone() }), "`dense_width`");
    let of_images = NSF.build(NsfConfig::Images(config), &context(&points));
    refused(of_images.err(), "the configuration is for images, `line` has Points");
    let options = gen_core::data::DataOptions { dequantise: true, ..Default::default() };
    let spread = squares(8).with_options(&options).unwrap();
    assert_eq!(spread.spec.values, Values::Dequantised);
    let config = glow(Pixels::Gaussian, Dequantisation::Variational);
    refused(GLOW.build(config, &context(&spread)).err(), "spread by uniform noise already");
    assert!(QUICK_FLOW.build(realnvp(Pixels::Logit, Dequantisation::Uniform), &context(&spread)).is_ok());
}
