//! Residual flows: invertible residual blocks of perceptrons.

mod config;

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use gen_core::params::Params;
use gen_core::registry::{Origin, Preset};

pub use config::{Determinant, ResidualFlowConfig};

use crate::bijection::{ActNorm, Chain, Contraction, Residual};
use crate::conditions::Conditions;
use crate::model::{Architecture, CONDITIONAL, Design, FlowModel, FlowSampling};
use crate::rows;
use crate::settings::training;

/// A residual flow (Chen et al. 2019): residual blocks of perceptrons whose Lipschitz constant is below 1, with
/// actnorm before each, trained by maximum likelihood. Images are dequantised, taken to the real line by a logit,
/// normalised, and go through as rows of pixels.
///
/// Its likelihood is exact, and every output of a block may depend on every input. Samples are found by iteration.
pub type ResidualFlow = FlowModel<ResidualBlocks>;

/// The preset of [`ResidualFlow`].
pub static RESIDUAL_FLOW: Preset<ResidualFlow> = Preset {
    name: "residual-flow",
    summary: "invertible residual blocks of perceptrons; exact likelihood, samples by iteration",
    origin: Origin::Paper,
    citation: "Chen, Behrmann, Duvenaud & Jacobsen 2019, Residual Flows for Invertible Generative Modeling",
    departures: &[
        "Blocks are perceptrons with spectral norms, on images too; the paper has convolutions, and learned induced \
         norms.",
        "Likelihoods outside training are exact; with few columns those of training are too.",
        "Sizes, learning rates and batch sizes are for minutes on a processor without a GPU, and an average of the \
         weights makes the samples of images.",
    ],
    capabilities: CONDITIONAL,
    config: ResidualFlowConfig::of,
    training: |data| training(data, 64, 50),
    sampling: FlowSampling::of,
};

/// The architecture of [`ResidualFlow`].
#[derive(Debug)]
pub enum ResidualBlocks {}

impl Architecture for ResidualBlocks {
    type Config = ResidualFlowConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "residual-flow";

    fn design(config: &ResidualFlowConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let root = params.root();
        let dimension = data.shape.dimensions();
        let conditions = Conditions::shown(params, data, config.condition)?;
        let context = Conditions::width(&conditions);
        let (dequantiser, mut layers) = rows::layers(data, &root)?;
        for i in 0..config.blocks {
            let place = &root / format!("blocks.{i}");
            layers.push(Box::new(ActNorm::new(&place / "norm", dimension)));
            let contraction = Contraction::new(place, dimension, context, &config.hidden, config.lipschitz);
            layers.push(Box::new(Residual::new(contraction, config.log_det())));
        }
        // The blocks can only stretch so far; the rest of the scale is learned here.
        layers.push(Box::new(ActNorm::new(&root / "norm", dimension)));
        Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data).given(conditions))
    }
}
