//! The models of this crate by name.

use gen_core::data::{DataSpec, Shape};
use gen_core::model::Conditioning;
use gen_core::optim::{AdamConfig, Schedule};
use gen_core::registry::{Capabilities, Origin, Preset};
use gen_core::train::TrainConfig;

use crate::bound::{Bound, Discrete};
use crate::diffusion::{Ancestral, Diffusion, DiffusionConfig, DiffusionSampling, Euler, Heun, Sampler};
use crate::network::NetworkConfig;
use crate::noise::{Lognormal, NoiseDistribution};
use crate::prediction::{EdmScaling, Prediction};
use crate::samplers::Variance;
use crate::schedule::{DiscreteConfig, NoiseSchedule, ProcessConfig, SigmaRange, Spacing};
use crate::unet::UNetConfig;
use crate::weighting::Weighting;

/// The abilities of all presets. The default sampler comes first.
const fn with_samplers(samplers: &'static [&'static str]) -> Capabilities {
    Capabilities { labels: true, context: true, likelihood: true, latents: true, samplers, ..Capabilities::SAMPLES }
}

/// Chosen for minutes on a processor without a GPU, not for days on several.
pub static QUICK_DIFFUSION: Preset<Diffusion> = Preset {
    name: "quick-diffusion",
    summary: "denoising diffusion: a U-Net (an MLP for points) removes noise step by step",
    origin: Origin::House,
    citation: "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models; Nichol & Dhariwal 2021, Improved \
               Denoising Diffusion Probabilistic Models; Song, Meng & Ermon 2021, Denoising Diffusion Implicit Models; \
               Salimans & Ho 2022, Progressive Distillation for Fast Sampling of Diffusion Models",
    departures: &[],
    capabilities: with_samplers(&["ddim", "ancestral", "euler", "heun"]),
    config: |data| DiffusionConfig {
        process: ProcessConfig::VariancePreserving(DiscreteConfig { timesteps: 1000, schedule: NoiseSchedule::Cosine }),
        prediction: Prediction::V,
        weighting: Weighting::Uniform,
        noise: NoiseDistribution::Stratified,
        bound: Bound::Continuous,
        bound_evaluations: 20,
        network: NetworkConfig::of(data.shape),
        condition: Conditioning::needed_by(data),
        condition_dropout: 0.1,
        optimizer: AdamConfig {
            learning_rate: if data.shape.is_image() { 4e-3 } else { 1e-2 },
            clip_norm: 1.0,
            ..AdamConfig::default()
        },
    },
    training: |data| TrainConfig {
        batch_size: if data.shape.is_image() { 32 } else { 512 },
        schedule: Schedule::Cosine,
        warmup_steps: 100,
        ema_decay: 0.99,
        ..validated(data)
    },
    sampling: |data| DiffusionSampling::of(data),
};

/// The first diffusion model whose images were as good as those of GANs.
pub static DDPM: Preset<Diffusion> = Preset {
    name: "ddpm",
    summary: "DDPM: noise is predicted, and removed in 1000 random steps",
    origin: Origin::Paper,
    citation: "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models",
    departures: &[
        NARROW,
        SIMPLER_UNET,
        POINTS,
        NO_FLIPS,
        "The bound is estimated from 20 of its 1000 terms a row, without bias.",
        AVERAGE,
        CONDITIONS,
    ],
    capabilities: with_samplers(&["ancestral", "ddim", "euler", "heun"]),
    config: |data| DiffusionConfig {
        process: ProcessConfig::VariancePreserving(DiscreteConfig { timesteps: 1000, schedule: NoiseSchedule::Linear }),
        prediction: Prediction::Epsilon,
        weighting: Weighting::Uniform,
        noise: NoiseDistribution::Uniform,
        bound: Bound::Discrete(Discrete { variance: Variance::FixedLarge }),
        bound_evaluations: 20,
        network: published_network(data.shape, 2, 0.1),
        condition: Conditioning::needed_by(data),
        condition_dropout: 0.1,
        optimizer: AdamConfig { learning_rate: 2e-4, clip_norm: 1.0, ..AdamConfig::default() },
    },
    training: |data| TrainConfig { batch_size: 128, warmup_steps: 5000, ema_decay: 0.9999, ..validated(data) },
    sampling: |data| DiffusionSampling {
        sampler: Sampler::Ancestral(Ancestral {
            steps: 1000,
            spacing: Spacing::Trailing,
            variance: Variance::FixedLarge,
        }),
        ..DiffusionSampling::of(data)
    },
};

/// Diffusion without a discrete process, with a network whose inputs and targets have unit variance.
pub static EDM: Preset<Diffusion> = Preset {
    name: "edm",
    summary: "EDM: a preconditioned network over a wide range of noise, sampled by Heun's method in 18 steps",
    origin: Origin::Paper,
    citation: "Karras, Aittala, Aila & Laine 2022, Elucidating the Design Space of Diffusion-Based Generative Models",
    departures: &[
        "The U-Net has 32 channels at the full resolution and 64 below, in place of 256.",
        "The U-Net is that of `quick-diffusion` without patches, in place of DDPM++ or NCSN++: residual blocks are not \
         scaled by the root of a half, and attention is at the lowest resolution alone.",
        "Points have an MLP of 128 units, and a sigma_data of 1, as they are standardised.",
        "Images are not augmented.",
        "A model of labels sees a tenth of the rows without theirs, so that it can be guided.",
        "The average has a decay of 0.9993, their half-life of 500,000 images, and a warm-up of its own.",
        "The noise of x at the start has the deviation of data and noise together, 80.006 in place of 80.",
    ],
    capabilities: with_samplers(&["heun", "euler", "ddim", "ancestral"]),
    config: |data| DiffusionConfig {
        process: ProcessConfig::Edm(SigmaRange { sigma_min: 0.002, sigma_max: 80.0 }),
        prediction: Prediction::Edm(EdmScaling { sigma_data: if data.shape.is_image() { 0.5 } else { 1.0 } }),
        weighting: Weighting::Uniform,
        noise: NoiseDistribution::Lognormal(Lognormal { mean: -1.2, std: 1.2 }),
        bound: Bound::Continuous,
        bound_evaluations: 20,
        network: published_network(data.shape, 4, 0.13),
        condition: Conditioning::needed_by(data),
        condition_dropout: 0.1,
        optimizer: AdamConfig { learning_rate: 1e-3, ..AdamConfig::default() },
    },
    // The learning rate rises over 10 million images.
    training: |data| TrainConfig { batch_size: 512, warmup_steps: 19_531, ema_decay: 0.9993, ..validated(data) },
    sampling: |_data| DiffusionSampling {
        sampler: Sampler::Heun(Heun { steps: 18, spacing: Spacing::Karras }),
        clip: false,
        ..DiffusionSampling::default()
    },
};

/// The velocity along straight ways from noise to data.
pub static RECTIFIED_FLOW: Preset<Diffusion> = Preset {
    name: "rectified-flow",
    summary: "rectified flow: the velocity from noise to data along straight lines",
    origin: Origin::Paper,
    citation: "Liu, Gong & Liu 2023, Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified \
               Flow",
    departures: &[
        NARROW,
        "The U-Net is that of `quick-diffusion` without patches, in place of DDPM++: residual blocks are not scaled by \
         the root of a half, and attention is at the lowest resolution alone.",
        POINTS,
        NO_FLIPS,
        "Samples take 100 steps of Euler's method; the paper has those, and the adaptive Runge-Kutta method RK45.",
        "There is no reflow: it is the paper's 1-rectified flow.",
        AVERAGE,
        CONDITIONS,
    ],
    capabilities: with_samplers(&["euler", "heun", "ddim", "ancestral"]),
    config: |data| DiffusionConfig {
        process: ProcessConfig::RectifiedFlow,
        prediction: Prediction::Velocity,
        weighting: Weighting::Uniform,
        noise: NoiseDistribution::Uniform,
        bound: Bound::Continuous,
        bound_evaluations: 20,
        network: published_network(data.shape, 4, 0.15),
        condition: Conditioning::needed_by(data),
        condition_dropout: 0.1,
        optimizer: AdamConfig { learning_rate: 2e-4, clip_norm: 1.0, ..AdamConfig::default() },
    },
    training: |data| TrainConfig { batch_size: 128, warmup_steps: 5000, ema_decay: 0.999_999, ..validated(data) },
    sampling: |_data| DiffusionSampling {
        sampler: Sampler::Euler(Euler { steps: 100, spacing: Spacing::Trailing }),
        clip: false,
        ..DiffusionSampling::default()
    },
};

const NARROW: &str = "The U-Net has 32 channels at the full resolution and 64 below, in place of 128 and 256, and \
                      resolutions down to 4 pixels that their sides allow.";
const SIMPLER_UNET: &str = "The time scales and shifts a normalisation in place of being added, attention is at the \
                            lowest resolution alone, 2x2 convolutions change the resolution, and as many residual \
                            blocks go up as down.";
const POINTS: &str = "Points have an MLP of 128 units, in which nothing is dropped.";
const NO_FLIPS: &str = "Images are not flipped at random.";
const AVERAGE: &str = "The average of the weights has a warm-up, so that it forgets the initial weights.";

const CONDITIONS: &str = "It can learn from labels and a context, which the paper does not.";

/// 32 channels in place of the 128 of most papers, at the full resolution of images; a [`MlpConfig`] for points.
///
/// [`MlpConfig`]: crate::network::MlpConfig
fn published_network(shape: Shape, blocks: usize, dropout: f64) -> NetworkConfig {
    match shape {
        Shape::Image { height, width, .. } => {
            let channels = [32, 64, 64, 64];
            let fits = |level: &usize| {
                let unit = 1 << level;
                height % unit == 0 && width % unit == 0 && height.min(width) / unit >= 4
            };
            let levels = (1..channels.len()).take_while(fits).count() + 1;
            let channels = channels[..levels].to_vec();
            NetworkConfig::Unet(UNetConfig { patch: 1, channels, blocks, heads: 1, dropout })
        }
        Shape::Points { .. } => NetworkConfig::of(shape),
    }
}

/// An estimate of the bound takes `bound_evaluations` passes of the network.
fn validated(data: &DataSpec) -> TrainConfig {
    TrainConfig { validation_rows: if data.shape.is_image() { 64 } else { 256 }, ..TrainConfig::default() }
}
