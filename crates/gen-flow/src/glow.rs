//! Glow: steps of activation normalisation, a mixing of channels and an affine coupling, at several scales.

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::optim::AdamConfig;
use gen_core::params::{Params, Scope};
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::bijection::{ActNorm, Bijection, Chain, Conv1x1, Coupling, Mask, NormalisedConv1x1};
use crate::conditioner::{GlowConditioner, PriorConditioner};
use crate::images::{
    self, Dequantisation, ImageShape, Pixels, at_least_one, check_alpha, check_scales, multi_scale,
};
use crate::model::{Architecture, Design, FlowModel};
use crate::univariate::{Affine, Univariate};

/// Glow (Kingma & Dhariwal 2018): RealNVP for images with invertible 1 × 1 convolutions, and with distributions of the
/// values that are factored out that the others predict.
///
/// Two things differ from the paper. The scale of a coupling is exp(c tanh a), which starts at 1, where Glow's code has
/// σ(a + 2); and pixels go to the real line by their histograms or a logit, not by a shift alone
/// ([`Pixels`](GlowConfig::pixels)).
pub type Glow = FlowModel<GlowSteps>;

/// The architecture of [`Glow`].
#[derive(Debug)]
pub enum GlowSteps {}

/// Hyperparameters of [`Glow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlowConfig {
    /// L: how often the image is squeezed to half its side. Half of the values are factored out after each scale but
    /// the last.
    pub scales: usize,
    /// K: steps of flow at each scale.
    pub steps: usize,
    /// Channels of the hidden layers of a coupling's network.
    pub width: i64,
    /// How pixels get to the real line.
    pub pixels: Pixels,
    /// The margin α at the ends of the interval, see [`Logit`](crate::bijection::Logit).
    pub alpha: f64,
    /// How bytes become real numbers.
    pub dequantisation: Dequantisation,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for GlowConfig {
    fn default() -> Self {
        GlowConfig {
            scales: 2,
            steps: 8,
            width: 64,
            pixels: Pixels::Gaussian,
            alpha: 1e-6,
            dequantisation: Dequantisation::Uniform,
            optimizer: AdamConfig { learning_rate: 2e-3, clip_norm: 50.0, ..AdamConfig::default() },
        }
    }
}

impl GlowConfig {
    fn check(&self, shape: ImageShape) -> Result<()> {
        check_scales(GlowSteps::NAME, self.scales, shape)?;
        check_alpha(self.alpha)?;
        at_least_one("steps", self.steps as i64)?;
        at_least_one("width", self.width)
    }
}

impl Architecture for GlowSteps {
    type Config = GlowConfig;

    const NAME: &'static str = "glow";
    const SUMMARY: &'static str =
        "images: affine couplings, 1x1 convolutions and learned priors at several scales; exact likelihood";
    const CITATION: &'static str =
        "Kingma & Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions";

    const IMAGES_IN_CACHE: i64 = 64;

    fn default_config(data: &DataSpec) -> GlowConfig {
        let scales = images::scales_of(data, GlowConfig::default().scales);
        GlowConfig { scales, ..GlowConfig::default() }
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        images::training()
    }

    fn design(config: &GlowConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        let shape = images::shape(Self::NAME, data)?;
        config.check(shape)?;
        let root = params.root();
        let dequantiser = config.dequantisation.build(params, data)?;
        let mut parts = config.pixels.bijections(&root, config.alpha, shape);
        parts.push(Box::new(multi_scale(&root, shape, config.scales, &mut |place, scale| {
            let [channels, ..] = scale.shape;
            let mut parts: Vec<Box<dyn Bijection>> = Vec::new();
            for i in 0..config.steps {
                step(&mut parts, &place / format!("steps.{i}"), channels, config.width);
            }
            if !scale.is_last {
                parts.push(Box::new(prior(&place / "prior", channels, scale.kept)));
            }
            parts
        })));
        // The distribution of the last values, one Gaussian for each.
        parts.push(Box::new(ActNorm::new(&root / "prior", shape.iter().product())));
        Ok(Design::new(Chain::new(parts), Some(dequantiser), config.optimizer, params, data))
    }
}

/// Activation normalisation and a mixing of the channels in one, then a coupling that keeps the first half of them.
fn step(parts: &mut Vec<Box<dyn Bijection>>, place: Scope<'_>, channels: i64, width: i64) {
    let norm = ActNorm::new(&place / "actnorm", channels);
    parts.push(Box::new(NormalisedConv1x1::new(norm, Conv1x1::new(&place / "mixing", channels))));
    let mask = Mask::first_half(channels);
    let affine = Affine::bounded(&place / "affine");
    let outputs = affine.parameters() * mask.transformed(channels);
    let net = GlowConditioner::new(&place / "net", mask.kept(channels), width, outputs);
    parts.push(Box::new(Coupling::new(mask, affine, Box::new(net))));
}

/// N(μ, σ²) of the values that are finished here, as the kept ones predict them: standardised by a coupling whose network
/// is one convolution.
fn prior(place: Scope<'_>, channels: i64, kept: i64) -> Coupling<Affine> {
    let mask = Mask::First { kept, of: channels };
    let affine = Affine::bounded(&place / "affine");
    let outputs = affine.parameters() * (channels - kept);
    let net = PriorConditioner::new(&place / "net", kept, outputs);
    Coupling::new(mask, affine, Box::new(net))
}
