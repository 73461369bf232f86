//! Flow++: couplings by mixtures of logistics whose networks attend to the whole image, and learned dequantisation.

use gen_core::config::at_least_one;
use gen_core::data::{DataSpec, Values};
use gen_core::model::OnePass;
use gen_core::optim::AdamConfig;
use gen_core::params::{Params, Scope};
use gen_core::registry::{Capabilities, Origin, Preset};
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bijection::{Chain, Coupling, Layer, Mask, NormalisedConv1x1};
use crate::conditioner::{Conditioner, GatedConditioner};
use crate::images::{self, Dequantisation, MultiScale, Pixels};
use crate::model::{Architecture, Design, FLOW, FlowModel, FlowSampling, RowsPerPass};
use crate::settings::training;
use crate::univariate::LogisticMixture;

/// Flow++ (Ho et al. 2019): a flow of images whose couplings are mixtures of logistics, with gated convolutions and
/// self-attention in their networks, trained with learned noise.
///
/// The scales are those of RealNVP and Glow: at each a squeeze and couplings of channels, with a mixing of the channels
/// before each one, where the paper has couplings on a checkerboard too.
pub type FlowPlusPlus = FlowModel<MixtureCouplings>;

/// The preset of [`FlowPlusPlus`].
pub static FLOW_PLUS_PLUS: Preset<FlowPlusPlus> = Preset {
    name: "flow++",
    summary: "images: couplings by mixtures of logistics with attention, learned \
        dequantisation; a bound on the likelihood",
    origin: Origin::Paper,
    citation: "Ho, Chen, Srinivas, Duan & Abbeel 2019, Flow++: Improving Flow-Based \
        Generative Models with Variational Dequantization and Architecture Design",
    departures: &[
        "4 couplings of 32 channels at each scale and 4 couplings of 16 channels for the noise; the paper has some \
         ten times as many, with dropout.",
        "Pixels go through a logit and an actnorm for each place of the image first.",
        "Sizes, learning rates and batch sizes are for minutes on a processor without a GPU, and an average of the \
         weights makes the samples of images.",
    ],
    capabilities: Capabilities { points: false, ..FLOW },
    config: |data| {
        let config = FlowPlusPlusConfig::default();
        let mut multi_scale = config.multi_scale.fitted(data);
        if data.values == Values::Dequantised {
            // Values that are spread already need no noise, and leave none to learn.
            multi_scale.dequantisation = Dequantisation::Uniform;
        }
        FlowPlusPlusConfig { multi_scale, ..config }
    },
    training: |data| training(data, 64, 100),
    sampling: FlowSampling::of,
};

/// The architecture of [`FlowPlusPlus`].
#[derive(Debug)]
pub enum MixtureCouplings {}

/// Hyperparameters of [`FlowPlusPlus`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowPlusPlusConfig {
    /// The way of bytes to the real line, and scales.
    #[serde(flatten)]
    pub multi_scale: MultiScale,
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
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for FlowPlusPlusConfig {
    fn default() -> Self {
        FlowPlusPlusConfig {
            multi_scale: MultiScale { dequantisation: Dequantisation::Variational, ..MultiScale::new(Pixels::Logit) },
            couplings: 4,
            components: 4,
            width: 32,
            blocks: 2,
            heads: 4,
            optimizer: AdamConfig { learning_rate: 2e-3, clip_norm: 10.0, ..AdamConfig::default() },
        }
    }
}

impl FlowPlusPlusConfig {
    fn check(&self, shape: [i64; 3]) -> Result<()> {
        self.multi_scale.check(MixtureCouplings::NAME, shape)?;
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
    type Sampling = OnePass;

    const NAME: &'static str = "flow++";

    /// Attention gains more from many images at once than from a cache.
    const ROWS: RowsPerPass = RowsPerPass { images_in_cache: 500, ..RowsPerPass::DEFAULT };

    fn design(config: &FlowPlusPlusConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        let shape = images::shape(Self::NAME, data)?;
        config.check(shape)?;
        let (dequantiser, layers) = config.multi_scale.build(params, data, shape, &mut |place, scale| {
            let mut layers: Vec<Box<dyn Layer>> = Vec::new();
            for i in 0..config.couplings {
                step(&mut layers, &place / format!("couplings.{i}"), config, scale.shape, i);
            }
            layers
        })?;
        Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data))
    }
}

/// Activation normalisation and a mixing of the channels in one, then a coupling that keeps their first or last half in
/// turn.
fn step(
    layers: &mut Vec<Box<dyn Layer>>,
    place: Scope<'_>,
    config: &FlowPlusPlusConfig,
    [channels, height, width]: [i64; 3],
    layer: usize,
) {
    layers.push(Box::new(NormalisedConv1x1::new(&place, channels)));
    let net = |inputs, outputs| -> Box<dyn Conditioner> {
        let inputs = [inputs, height, width];
        let place = &place / "net";
        Box::new(GatedConditioner::new(place, inputs, config.width, config.blocks, config.heads, outputs))
    };
    let mixture = LogisticMixture::new(config.components);
    layers.push(Box::new(Coupling::of_size(Mask::alternating(channels, layer), channels, mixture, net)));
}
