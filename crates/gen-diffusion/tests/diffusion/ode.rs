//! The likelihood of the probability flow, where it is known in closed form and of a trained model; latents and
//! trajectories.

use std::f64::consts::TAU;

use gen_core::data::{Batch, Binarise, DataOptions, Dataset, PointSet, Split, Values};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, SampleRequest};
use gen_core::registry::BuildContext;
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::testing::assert_close;
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_diffusion::network::{MlpConfig, NetworkConfig};
use gen_diffusion::ode::{Divergence, log_density};
use gen_diffusion::schedule::{DiscreteVp, Level, NoiseSchedule};
use gen_diffusion::unet::UNetConfig;
use gen_diffusion::{Diffusion, DiffusionConfig, QUICK_DIFFUSION};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// A mixture of Gaussians of equal weight with diagonal covariances: means and variances `[components, dimensions]`.
struct Mixture {
    means: Tensor,
    variances: Tensor,
}

impl Mixture {
    /// log of each component's density of α x_0 + σ ε at `x: [batch, dimensions]`, and its variances.
    fn components(&self, x: &Tensor, alpha: f64, sigma: f64) -> (Tensor, Tensor) {
        let variances = &self.variances * alpha.powi(2) + sigma.powi(2);
        let off = x.unsqueeze(1) - &self.means * alpha;
        let log_density = (off.square() / &variances + variances.log() + TAU.ln()) * -0.5;
        (log_density.sum_dim_intlist(2, false, Kind::Double), variances)
    }

    /// log p of x_0 + σ ε.
    fn log_prob(&self, x: &Tensor, sigma: f64) -> Tensor {
        let (components, _) = self.components(x, 1.0, sigma);
        components.logsumexp(1, false) - (self.means.size()[0] as f64).ln()
    }

    /// E[x_0 | x_t = x].
    fn denoise(&self, x: &Tensor, level: &Level) -> Tensor {
        let (components, variances) = self.components(x, level.alpha, level.sigma);
        let gain = &self.variances * level.alpha / variances;
        let each = (x.unsqueeze(1) - &self.means * level.alpha) * gain + &self.means;
        (each * components.softmax(1, Kind::Double).unsqueeze(2)).sum_dim_intlist(1, false, Kind::Double)
    }
}

fn cosine() -> DiscreteVp {
    // Small tensors: threads would only wait for each other.
    tch::set_num_threads(1);
    DiscreteVp::new(NoiseSchedule::Cosine, 1000).unwrap()
}

/// The noise that the probability flow leaves in data.
fn lowest_noise() -> f64 {
    let level = cosine().level(0);
    level.sigma / level.alpha
}

/// x ~ N(0, 0.7²) and N(0, 1) in two coordinates: the noise of the lowest level, which stays in the density, is the
/// only error that is not the solver's.
#[test]
fn a_gaussian_has_its_density() {
    let gaussian =
        Mixture { means: Tensor::zeros([1, 2], F64), variances: Tensor::from_slice(&[0.49, 1.0]).unsqueeze(0) };
    let x = Generator::seeded(0).randn([50, 2], F64);
    let rng = Generator::seeded(1);
    let of = |steps, divergence| {
        let denoise = |x: &Tensor, level: &Level| gaussian.denoise(x, level);
        log_density(denoise, &x, &cosine(), steps, divergence, &rng).unwrap()
    };
    let error = |found: &Tensor, expected: &Tensor| (found - expected).abs().max().double_value(&[]);
    let found = of(40, Divergence::Exact);
    assert!(error(&found, &gaussian.log_prob(&x, 0.0)) < 1e-3);
    let noisy = gaussian.log_prob(&x, lowest_noise());
    let [coarse, middle, fine] = [10, 20, 40].map(|steps| error(&of(steps, Divergence::Exact), &noisy));
    assert!(middle < 2e-4 && fine < 2e-5, "{coarse} {middle} {fine}");
    // Fourth order: half the step, a sixteenth of the error.
    assert!(middle < coarse / 8.0 && fine < middle / 8.0, "{coarse} {middle} {fine}");
    // The Jacobian is diagonal: random signs give its trace exactly.
    assert_close(&of(40, Divergence::Hutchinson), &found, 1e-9, 1e-9);
}

/// Two Gaussians of very different widths and a Jacobian that is not diagonal: random signs are right on average.
#[test]
fn a_mixture_has_its_density() {
    let mixture = Mixture {
        means: Tensor::from_slice(&[-1.0, 0.5, 1.0, -0.8]).view([2, 2]),
        variances: Tensor::from_slice(&[0.3, 0.02, 0.05, 0.4]).view([2, 2]),
    };
    let x = mixture.means.repeat([20, 1])
        + mixture.variances.sqrt().repeat([20, 1]) * Generator::seeded(0).randn([40, 2], F64);
    let denoise = |x: &Tensor, level: &Level| mixture.denoise(x, level);
    let rng = Generator::seeded(1);
    let of = |x: &Tensor, divergence| log_density(denoise, x, &cosine(), 40, divergence, &rng).unwrap();
    assert_close(&of(&x, Divergence::Exact), &mixture.log_prob(&x, lowest_noise()), 1e-3, 1e-3);
    let x = x.narrow(0, 0, 4);
    let copies = of(&x.repeat([500, 1]), Divergence::Hutchinson).view([500, 4]);
    let mean = copies.mean_dim(0, false, Kind::Double);
    let error = copies.std_dim(0, true, false) / 500f64.sqrt();
    assert!(error.max().double_value(&[]) > 1e-6, "these rows should have something to estimate");
    let off = ((mean - of(&x, Divergence::Exact)).abs() / (error * 4.5 + 1e-6)).max().double_value(&[]);
    assert!(off < 1.0, "{off}");
}

#[test]
fn the_density_of_nothing_and_in_no_steps() {
    let denoise = |x: &Tensor, _: &Level| x * 0.5;
    let rng = Generator::seeded(0);
    let none = log_density(denoise, &Tensor::zeros([0, 2], F64), &cosine(), 3, Divergence::Exact, &rng);
    assert_eq!(none.unwrap().size(), [0]);
    let error = log_density(denoise, &Tensor::zeros([1, 2], F64), &cosine(), 0, Divergence::Exact, &rng);
    assert!(error.unwrap_err().to_string().contains("at least 1 step"));
}

fn build(config: DiffusionConfig, data: &Dataset) -> Diffusion {
    tch::set_num_threads(1);
    QUICK_DIFFUSION.build(config, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 }).unwrap()
}

fn train(model: &mut Diffusion, data: &Dataset, batch_size: usize, steps: u64) {
    let settings = TrainConfig { batch_size, log_every: 100, ..QUICK_DIFFUSION.training(&data.spec) };
    let mut trainer = Trainer::new(model, data, settings, Budget::Steps(steps), 0).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
}

fn moons() -> (Dataset, Diffusion) {
    let train_split = Split::unlabelled(PointSet::Moons.sample(20_000, 0));
    let data = Dataset::from_splits("moons", train_split, None, None, Vec::new()).unwrap();
    let config = DiffusionConfig {
        network: NetworkConfig::Mlp(MlpConfig { width: 64, blocks: 2 }),
        ..QUICK_DIFFUSION.config(&data.spec)
    };
    let mut model = build(config, &data);
    train(&mut model, &data, 256, 500);
    (data, model)
}

/// The density of a trained model integrates to 1 in the units of the data, is near that of the set, and above the
/// bound. Latents lead to samples and back; a trajectory ends at the samples.
#[test]
fn a_model_of_the_moons() {
    let (data, model) = moons();
    let nats = |x: &Tensor, kind| model.log_likelihood(&Batch::of(x), kind, 0).unwrap();

    let (side, half) = (60, 6.0);
    let width = 2.0 * half / side as f64;
    let axis = (Tensor::arange(side, (Kind::Float, Device::Cpu)) + 0.5) * width - half;
    let grid = Tensor::stack(&Tensor::meshgrid_indexing(&[&axis, &axis], "xy"), 2).view([-1, 2]);
    let mass = nats(&grid, LikelihoodKind::Ode).exp().sum(Kind::Double).double_value(&[]) * width * width;
    assert!((mass - 1.0).abs() < 0.02, "{mass}");

    let test = PointSet::Moons.sample(500, 1);
    let mean = |kind| nats(&test, kind).mean(Kind::Double).double_value(&[]);
    let (flow, bound) = (mean(LikelihoodKind::Ode), mean(LikelihoodKind::LowerBound));
    let entropy = PointSet::Moons.entropy();
    assert!(-flow > entropy - 0.1 && -flow < entropy + 0.5 && flow > bound, "{flow} {bound}, not {entropy}");

    let latent = model.latent().unwrap();
    let latents = latent.prior(600, 4).unwrap();
    let samples = model.sample(&SampleRequest::new(600, 4)).unwrap();
    assert_eq!(latent.decode(&latents).unwrap(), samples);
    let back = latent.decode(&latent.encode(&test, 0).unwrap().unwrap()).unwrap();
    let rms = |x: &Tensor| x.square().mean(Kind::Double).sqrt().double_value(&[]);
    let (error, spread) = (rms(&(&back - &test)), rms(&(&test - test.mean(Kind::Float))));
    assert!(error < 0.03 * spread, "{error} of {spread}");
    assert!(latent.decode(&latents.narrow(1, 0, 1)).is_err());

    for (sampler, steps) in [("ddim", 10), ("ancestral", 30)] {
        let request = SampleRequest::new(300, 4).with("sampler", sampler).with("sampler.steps", steps);
        let frames = model.trajectory(&request, 6).unwrap().unwrap().frames;
        assert_eq!((frames.len(), frames[0].label.as_str(), frames[5].label.as_str()), (6, "t = 999", "sample"));
        assert_eq!(frames[5].state, model.sample(&request).unwrap());
        // x_T is the latents, in the units of the data, of the rows that are drawn together first.
        let row = |values: &[f64]| Tensor::from_slice(values);
        let start = &latents * row(&data.spec.std) + row(&data.spec.mean);
        assert_eq!(frames[0].state.narrow(0, 0, 250), start.narrow(0, 0, 250));
        // Estimates come nearer to the samples.
        let off: Vec<f64> =
            frames.iter().map(|frame| rms(&(frame.estimate.as_ref().unwrap() - &frames[5].state))).collect();
        assert!(off[0] > off[3] && off[3] > off[4] && off[5] == 0.0, "{sampler}: {off:?}");
        assert!(frames.iter().all(|frame| frame.state.size() == [300, 2]));
    }
    assert!(model.trajectory(&SampleRequest::new(3, 0), 1).is_err());
}

fn images(options: &DataOptions) -> Dataset {
    let place = Tensor::arange(64 * 64, (Kind::Int64, Device::Cpu));
    let bytes = (place.square() * 7).fmod(256).to_kind(Kind::Uint8).view([64, 1, 8, 8]);
    Dataset::from_tensor("images", bytes).unwrap().with_options(options).unwrap()
}

/// Pictures of `width` pixels in a row, and a small model that was trained a little: as bytes, and with the same
/// weights as numbers that were spread over their cells.
fn bytes_and_spread(width: i64) -> (Dataset, [Diffusion; 2]) {
    let place = Tensor::arange(64 * width, (Kind::Int64, Device::Cpu));
    let bytes = (place.square() * 7).fmod(256).to_kind(Kind::Uint8).view([64, 1, 1, width]);
    let data = Dataset::from_tensor("pixels", bytes.shallow_clone()).unwrap();
    let dequantise = DataOptions { dequantise: true, ..Default::default() };
    let spread = Dataset::from_tensor("pixels", bytes).unwrap().with_options(&dequantise).unwrap();
    let [mut model, other] = [&data, &spread].map(|data| {
        let unet = UNetConfig { channels: vec![4], ..UNetConfig::of(1, width) };
        build(DiffusionConfig { network: NetworkConfig::Unet(unet), ..QUICK_DIFFUSION.config(&data.spec) }, data)
    });
    train(&mut model, &data, 16, 60);
    other.weights().assign(&model.weights()).unwrap();
    (data, [model, other])
}

/// The mass of a byte is the density at a place in its cell times the width of the cell: bits per dimension of the same
/// model mean the same for bytes and for numbers that were spread already, but for cells of 2/255 and of 2/256.
#[test]
fn bytes_have_the_density_of_their_dequantised_values() {
    let (data, [model, spread]) = bytes_and_spread(2);
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    assert_eq!(model.kinds(), [LikelihoodKind::LowerBound, LikelihoodKind::DequantisedOde]);
    let nats = model.log_likelihood(&Batch::of(&x), LikelihoodKind::DequantisedOde, 5).unwrap();
    assert!(nats.size() == [64] && !nats.requires_grad());
    let noise = stream(5, Purpose::Evaluate, 0).rand_like(&x);
    let of_spread = spread
        .log_likelihood(&Batch::of(&(&x + (noise - 0.5) * (2.0 / 255.0))), LikelihoodKind::DequantisedOde, 9)
        .unwrap();
    assert_close(&nats, &(&of_spread + 2.0 * (2.0f64 / 255.0).ln()), 1e-4, 1e-4);
    let bits = |values: Values, nats: &Tensor| values.bits_per_dim(nats.mean(Kind::Double).double_value(&[]), 2);
    let difference = bits(Values::Bytes, &nats) - bits(Values::Dequantised, &of_spread);
    assert!((difference - (255f64 / 256.0).log2()).abs() < 1e-5, "{difference} bits");
}

#[test]
fn the_density_of_one_pixel_integrates_to_one() {
    let (_, [_, model]) = bytes_and_spread(1);
    let (n, reach) = (400, 8.0);
    let width = 2.0 * reach / n as f64;
    let x = (Tensor::arange(n, (Kind::Float, Device::Cpu)) + 0.5) * width - reach;
    let log_p = model.log_likelihood(&Batch::of(&x.view([-1, 1, 1, 1])), LikelihoodKind::DequantisedOde, 0).unwrap();
    let mass = log_p.exp().sum(Kind::Double).double_value(&[]) * width;
    assert!((mass - 1.0).abs() < 1e-5, "{mass}");
}

#[test]
fn black_and_white_has_no_density() {
    let data = images(&DataOptions { binarise: Binarise::Static, ..Default::default() });
    let model = build(QUICK_DIFFUSION.config(&data.spec), &data);
    assert_eq!(model.kinds(), [LikelihoodKind::LowerBound]);
    let x = data.train.narrow(0, 2).to_batch(&data.spec, &Generator::seeded(0)).x;
    let message = model.log_likelihood(&Batch::of(&x), LikelihoodKind::Ode, 0).unwrap_err().to_string();
    assert_eq!(message, "the likelihood of Binary values by `quick-diffusion` is `lower-bound`, not `ode`");
}
