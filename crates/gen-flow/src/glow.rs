//! Glow: steps of activation normalisation, a mixing of channels and an affine coupling, at several scales.

use gen_core::Result;
use gen_core::config::at_least_one;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use gen_core::optim::AdamConfig;
use gen_core::params::{Params, Scope};
use gen_core::registry::{Capabilities, Origin, Preset};
use serde::{Deserialize, Serialize};

use crate::bijection::{ActNorm, Chain, Coupling, Layer, Mask, NormalisedConv1x1};
use crate::conditioner::{Conditioner, GlowConditioner, PriorConditioner};
use crate::images::{self, MultiScale, Pixels};
use crate::model::{Architecture, Design, FLOW, FlowModel, FlowSampling, RowsPerPass};
use crate::settings::training;
use crate::univariate::Affine;

/// Glow (Kingma & Dhariwal 2018): RealNVP for images with invertible 1 × 1 convolutions, and with distributions of the
/// values that are factored out that the others predict.
///
/// Two things differ from the paper. The scale of a coupling is exp(c tanh a), which starts at 1, where Glow's code has
/// σ(a + 2); and pixels go to the real line by their histograms or a logit, not by a shift alone
/// ([`Pixels`]).
pub type Glow = FlowModel<GlowSteps>;

/// The preset of [`Glow`].
pub static GLOW: Preset<Glow> = Preset {
    name: "glow",
    summary: "images: affine couplings, 1x1 convolutions and learned priors at several scales; exact likelihood",
    origin: Origin::Paper,
    citation: "Kingma & Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions",
    departures: &[
        "A histogram of each pixel and a normal quantile come first, so that each pixel by itself is Gaussian; the \
         paper takes bytes as they are.",
        "8 steps of 64 channels at each scale; the paper has 32 steps of 512 channels.",
        "Sizes, learning rates and batch sizes are for minutes on a processor without a GPU, and an average of the \
         weights makes the samples of images.",
    ],
    capabilities: Capabilities { points: false, ..FLOW },
    config: |data| {
        let config = GlowConfig::default();
        GlowConfig { multi_scale: config.multi_scale.fitted(data), ..config }
    },
    training: |data| training(data, 64, 100),
    sampling: FlowSampling::of,
};

/// The architecture of [`Glow`].
#[derive(Debug)]
pub enum GlowSteps {}

/// Hyperparameters of [`Glow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlowConfig {
    /// The way of bytes to the real line, and scales.
    #[serde(flatten)]
    pub multi_scale: MultiScale,
    /// K: steps of flow at each scale.
    pub steps: usize,
    /// Channels of the hidden layers of a coupling's network.
    pub width: i64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for GlowConfig {
    fn default() -> Self {
        GlowConfig {
            multi_scale: MultiScale::new(Pixels::Gaussian),
            steps: 8,
            width: 64,
            optimizer: AdamConfig { learning_rate: 2e-3, clip_norm: 50.0, ..AdamConfig::default() },
        }
    }
}

impl Architecture for GlowSteps {
    type Config = GlowConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "glow";

    const ROWS: RowsPerPass = RowsPerPass { images_in_cache: 64, ..RowsPerPass::DEFAULT };

    fn design(config: &GlowConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        let shape = images::shape(Self::NAME, data)?;
        config.multi_scale.check(Self::NAME, shape)?;
        at_least_one("steps", config.steps as i64)?;
        at_least_one("width", config.width)?;
        let (dequantiser, mut layers) = config.multi_scale.build(params, data, shape, &mut |place, scale| {
            let [channels, ..] = scale.shape;
            let mut layers: Vec<Box<dyn Layer>> = Vec::new();
            for i in 0..config.steps {
                step(&mut layers, &place / format!("steps.{i}"), channels, config.width);
            }
            if !scale.is_last {
                layers.push(Box::new(prior(&place / "prior", channels, scale.kept)));
            }
            layers
        })?;
        // The distribution of the last values, one Gaussian for each.
        layers.push(Box::new(ActNorm::new(&params.root() / "prior", shape.iter().product())));
        Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data))
    }
}

/// Activation normalisation and a mixing of the channels in one, then a coupling that keeps the first half of them.
fn step(layers: &mut Vec<Box<dyn Layer>>, place: Scope<'_>, channels: i64, width: i64) {
    layers.push(Box::new(NormalisedConv1x1::new(&place, channels)));
    let affine = Affine::bounded(&place / "affine");
    let net = |inputs, outputs| -> Box<dyn Conditioner> {
        Box::new(GlowConditioner::new(&place / "net", inputs, width, outputs))
    };
    layers.push(Box::new(Coupling::of_size(Mask::first_half(channels), channels, affine, net)));
}

/// N(μ, σ²) of the values that are finished at this scale, as the kept ones predict them: standardised by a coupling
/// whose network is one convolution.
fn prior(place: Scope<'_>, channels: i64, kept: i64) -> Coupling<Affine> {
    let affine = Affine::bounded(&place / "affine");
    Coupling::of_size(Mask::First { kept, of: channels }, channels, affine, |inputs, outputs| {
        Box::new(PriorConditioner::new(&place / "net", inputs, outputs))
    })
}
