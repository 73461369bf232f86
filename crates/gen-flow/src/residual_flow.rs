//! Residual flows: invertible residual blocks of points.

mod config;

use gen_core::data::{DataSpec, Shape};
use gen_core::params::Params;
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};

pub use config::{Determinant, ResidualFlowConfig};

use crate::bijection::{ActNorm, Bijection, Chain, Contraction, Residual, Standardise};
use crate::model::{Architecture, Design, FlowModel};

/// A residual flow (Chen et al. 2019): residual blocks of perceptrons whose Lipschitz constant is below 1, with actnorm
/// before each, trained by maximum likelihood. For points.
///
/// Its likelihood is exact, and every output of a block may depend on every input. Samples are found by iteration.
pub type ResidualFlow = FlowModel<ResidualBlocks>;

/// The architecture of [`ResidualFlow`].
#[derive(Debug)]
pub enum ResidualBlocks {}

impl Architecture for ResidualBlocks {
    type Config = ResidualFlowConfig;

    const NAME: &'static str = "residual-flow";
    const SUMMARY: &'static str =
        "invertible residual blocks, for points; exact likelihood, samples by iteration";
    const CITATION: &'static str =
        "Chen, Behrmann, Duvenaud & Jacobsen 2019, Residual Flows for Invertible Generative Modeling";

    fn default_config(data: &DataSpec) -> ResidualFlowConfig {
        ResidualFlowConfig::of(data)
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        config::training()
    }

    fn design(config: &ResidualFlowConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let Shape::Points { dimension } = data.shape else {
            return Err(Error::invalid(format!(
                "`residual-flow` takes points, `{}` has {:?}: `realnvp` and `ffjord` take images",
                data.name, data.shape
            )));
        };
        let root = params.root();
        let mut parts: Vec<Box<dyn Bijection>> =
            vec![Box::new(Standardise::new(&root / "standardise", &data.mean, &data.std)?)];
        for i in 0..config.blocks {
            let place = &root / format!("blocks.{i}");
            parts.push(Box::new(ActNorm::new(&place / "norm", dimension)));
            let contraction = Contraction::new(place, dimension, 0, &config.hidden, config.lipschitz);
            parts.push(Box::new(Residual::new(contraction, config.log_det())));
        }
        // The blocks can only stretch so far; what is left of the scale is learned here.
        parts.push(Box::new(ActNorm::new(&root / "norm", dimension)));
        Ok(Design::new(Chain::new(parts), None, config.optimizer, params, data))
    }
}
