//! Flow++: couplings by mixtures of logistics whose networks attend to the whole image, and learned dequantisation.

use gen_core::data::{DataSpec, Values};
use gen_core::optim::AdamConfig;
use gen_core::params::{Params, Scope};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bijection::{ActNorm, Bijection, Chain, Conv1x1, Coupling, Mask, NormalisedConv1x1};
use crate::conditioner::GatedConditioner;
use crate::images::{
    self, Dequantisation, ImageShape, Pixels, at_least_one, check_alpha, check_scales, multi_scale,
};
use crate::model::{Architecture, Design, FlowModel};
use crate::univariate::{LogisticMixture, Univariate};

/// Flow++ (Ho et al. 2019): a flow of images whose couplings are mixtures of logistics, with gated convolutions and
/// self-attention in their networks, trained with learned noise.
///
/// The scales are those of RealNVP and Glow: at each a squeeze and couplings of channels, with a mixing of the channels
/// before each one, where the paper has couplings on a checkerboard too.
pub type FlowPlusPlus = FlowModel<MixtureCouplings>;

/// The architecture of [`FlowPlusPlus`].
#[derive(Debug)]
pub enum MixtureCouplings {}

/// Hyperparameters of [`FlowPlusPlus`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowPlusPlusConfig {
    /// How often the image is squeezed to half its side. Half of the values are factored out after each scale but the
    /// last.
    pub scales: usize,
    /// Coupling layers at each scale.
    pub couplings: usize,
    /// Components of the mixture that transforms each value.
    pub components: i64,
    /// Channels of a coupling's network.
    pub width: i64,
    /// Blocks of a coupling's network.
    pub blocks: usize,
    /// Heads of the attention in each block; 0 for no attention.
    pub heads: i64,
    /// How pixels get to the real line.
    pub pixels: Pixels,
    /// The margin α at the ends of the interval, see [`Logit`](crate::bijection::Logit).
    pub alpha: f64,
    /// How bytes become real numbers.
    pub dequantisation: Dequantisation,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for FlowPlusPlusConfig {
    fn default() -> Self {
        FlowPlusPlusConfig {
            scales: 2,
            couplings: 4,
            components: 4,
            width: 32,
            blocks: 2,
            heads: 4,
            pixels: Pixels::Logit,
            alpha: 1e-6,
            dequantisation: Dequantisation::Variational,
            optimizer: AdamConfig { learning_rate: 2e-3, clip_norm: 10.0, ..AdamConfig::default() },
        }
    }
}

impl FlowPlusPlusConfig {
    fn check(&self, shape: ImageShape) -> Result<()> {
        check_scales(MixtureCouplings::NAME, self.scales, shape)?;
        check_alpha(self.alpha)?;
        at_least_one("couplings", self.couplings as i64)?;
        at_least_one("components", self.components)?;
        at_least_one("width", self.width)?;
        if self.heads < 0 || (self.heads > 0 && self.width % self.heads != 0) {
            return Err(Error::invalid(format!(
                "`heads` must divide the `width` of {}, or be 0 for no attention; found {}",
                self.width, self.heads
            )));
        }
        Ok(())
    }
}

impl Architecture for MixtureCouplings {
    type Config = FlowPlusPlusConfig;

    const NAME: &'static str = "flow++";
    const SUMMARY: &'static str = "images: couplings by mixtures of logistics with attention, learned dequantisation; a bound on the likelihood";
    const CITATION: &'static str = "Ho, Chen, Srinivas, Duan & Abbeel 2019, Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design";

    /// Attention gains more from many images at once than from a cache.
    const IMAGES_IN_CACHE: i64 = 500;

    fn default_config(data: &DataSpec) -> FlowPlusPlusConfig {
        let scales = images::scales_of(data, FlowPlusPlusConfig::default().scales);
        // What is spread already needs no noise, and leaves none to learn.
        let dequantisation = match data.values {
            Values::Dequantised => Dequantisation::Uniform,
            _ => Dequantisation::Variational,
        };
        FlowPlusPlusConfig { scales, dequantisation, ..FlowPlusPlusConfig::default() }
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        images::training()
    }

    fn design(config: &FlowPlusPlusConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        let shape = images::shape(Self::NAME, data)?;
        config.check(shape)?;
        let root = params.root();
        let dequantiser = config.dequantisation.build(params, data)?;
        let mut parts = config.pixels.bijections(&root, config.alpha, shape);
        parts.push(Box::new(multi_scale(&root, shape, config.scales, &mut |place, scale| {
            let mut parts: Vec<Box<dyn Bijection>> = Vec::new();
            for i in 0..config.couplings {
                step(&mut parts, &place / format!("couplings.{i}"), config, scale.shape, i);
            }
            parts
        })));
        Ok(Design::new(Chain::new(parts), Some(dequantiser), config.optimizer, params, data))
    }
}

/// Activation normalisation and a mixing of the channels in one, then a coupling that keeps their first or last half in
/// turn.
fn step(
    parts: &mut Vec<Box<dyn Bijection>>,
    place: Scope<'_>,
    config: &FlowPlusPlusConfig,
    [channels, height, width]: ImageShape,
    layer: usize,
) {
    let norm = ActNorm::new(&place / "actnorm", channels);
    parts.push(Box::new(NormalisedConv1x1::new(norm, Conv1x1::new(&place / "mixing", channels))));
    let mask = Mask::alternating(channels, layer);
    let mixture = LogisticMixture::new(config.components);
    let outputs = mixture.parameters() * mask.transformed(channels);
    let inputs = [mask.kept(channels), height, width];
    let net =
        GatedConditioner::new(&place / "net", inputs, config.width, config.blocks, config.heads, outputs);
    parts.push(Box::new(Coupling::new(mask, mixture, Box::new(net))));
}
