//! RealNVP: affine couplings, multi-scale for images.

mod config;
mod masked;

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::model::OnePass;
use gen_core::params::Params;
use gen_core::registry::{Origin, Preset};
use gen_core::train::TrainConfig;

pub use config::{ImageConfig, RealNvpConfig, TabularConfig};
pub use masked::MaskedConfig;

use crate::bijection::Chain;
use crate::conditions::Conditions;
use crate::dequantise::Dequantiser;
use crate::model::{Architecture, CONDITIONAL, Design, FlowModel, FlowSampling};
use crate::settings::{check_layers, other_data, tabular_training, training};
use crate::univariate::Affine;
use crate::{images, tabular};

/// RealNVP (Dinh et al. 2017): a chain of affine couplings, trained by maximum likelihood.
///
/// Tabular data are standardised and go through couplings of alternating halves. Images are dequantised, taken to the
/// real line by a logit, squeezed, and go through couplings at each scale, half of the rest being factored out after
/// each but the last.
///
/// Its likelihood is exact and its samples cost one pass.
pub type RealNvp = FlowModel<AffineCouplings>;

/// Affine couplings with actnorm and 1x1 convolutions, tuned for minutes on a processor without a GPU.
pub static QUICK_FLOW: Preset<RealNvp> = Preset {
    name: "quick-flow",
    summary: "affine couplings, multi-scale for images; exact likelihood, samples in one pass",
    origin: Origin::House,
    citation: "Dinh, Sohl-Dickstein & Bengio 2017, Density estimation using Real NVP; Kingma & Dhariwal 2018, Glow: \
        Generative Flow with Invertible 1x1 Convolutions",
    departures: &[],
    capabilities: CONDITIONAL,
    config: RealNvpConfig::of,
    training: |data| training(data, 32, 50),
    sampling: FlowSampling::of,
};

/// The model of Dinh et al. (2017).
pub static REALNVP: Preset<RealNvp> = Preset {
    name: "realnvp",
    summary: "affine couplings by chessboards and channels, with batch normalisation; exact likelihood",
    origin: Origin::Paper,
    citation: "Dinh, Sohl-Dickstein & Bengio 2017, Density estimation using Real NVP",
    departures: &[
        "Networks of couplings have 32 channels and 2 residual blocks at the finest scale, for a processor without a \
         GPU; the paper has 32 to 64 channels and 4 to 8 blocks.",
        "They have no normalisation of their own and no penalty on weights, and each position adds a learned vector.",
        "Batch normalisation takes the moments of the batch in training; the paper takes running means.",
        "As many scales as the image can be halved, up to 3; the paper goes down to 4 x 4.",
        "Tabular data, which the paper does not have, take couplings of halves by perceptrons, trained as quick-flow \
         is.",
    ],
    capabilities: CONDITIONAL,
    config: RealNvpConfig::of_paper,
    training: |data| match data.shape {
        Shape::Points { .. } => tabular_training(),
        Shape::Image { .. } => TrainConfig { batch_size: 64, validation_rows: 256, ..TrainConfig::default() },
    },
    sampling: FlowSampling::of,
};

/// The architecture of [`RealNvp`].
#[derive(Debug)]
pub enum AffineCouplings {}

impl Architecture for AffineCouplings {
    type Config = RealNvpConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "realnvp";

    fn design(config: &RealNvpConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        match (config, data.shape) {
            (RealNvpConfig::Tabular(config), Shape::Points { .. }) => {
                check_layers("couplings", config.couplings, &config.hidden)?;
                let dimension = tabular::dimension(Self::NAME, data, 2)?;
                let conditions = Conditions::shown(params, data, config.condition)?;
                let sizes = [dimension, Conditions::width(&conditions)];
                let chain = tabular::layers(params, data, "couplings", config.couplings, |place, i| {
                    let affine = Affine::bounded(&place / "affine");
                    tabular::coupling(&place, affine, i, &config.hidden, sizes)
                })?;
                Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data).given(conditions))
            }
            (RealNvpConfig::Images(config), Shape::Image { .. }) => {
                let shape = images::shape(Self::NAME, data)?;
                config.multi_scale.check(Self::NAME, shape)?;
                config.steps.check()?;
                let (dequantiser, layers) = config
                    .multi_scale
                    .build(params, data, shape, &mut |place, scale| config.steps.of(&place, &scale))?;
                Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data))
            }
            (RealNvpConfig::Masked(config), Shape::Image { .. }) => config.design(Self::NAME, params, data),
            (config, _) => Err(other_data(config.kind(), data)),
        }
    }
}
