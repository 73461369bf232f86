//! Affine autoregressive flows, in both directions.

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use gen_core::optim::AdamConfig;
use gen_core::params::Params;
use gen_core::registry::Capabilities;
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::bijection::{Autoregressive, Inverse, Layer};
use crate::conditioner::Made;
use crate::dequantise::Dequantiser;
use crate::model::{Architecture, Design, FLOW, FlowModel};
use crate::settings::{check_layers, tabular_training};
use crate::tabular;
use crate::univariate::{Affine, Univariate};

/// A masked autoregressive flow (Papamakarios et al. 2017): a likelihood costs one pass, a sample goes through the
/// coordinates one by one.
pub type Maf = FlowModel<AffineAutoregressive>;

/// An inverse autoregressive flow (Kingma et al. 2016): a sample costs one pass, a likelihood, and so a training step,
/// goes through the coordinates one by one. For few coordinates.
pub type Iaf = FlowModel<InverseAutoregressive>;

/// The architecture of [`Maf`].
#[derive(Debug)]
pub enum AffineAutoregressive {}

/// The architecture of [`Iaf`].
#[derive(Debug)]
pub enum InverseAutoregressive {}

/// Hyperparameters of [`Maf`] and [`Iaf`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MafConfig {
    /// Autoregressive layers.
    pub transforms: usize,
    /// Units in each hidden layer of a layer's network.
    pub hidden: Vec<i64>,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for MafConfig {
    fn default() -> Self {
        MafConfig {
            transforms: 8,
            hidden: vec![64, 64],
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

/// Standardised coordinates, then autoregressive layers, each as `wrap` makes it.
fn design(
    config: &MafConfig,
    params: &Params,
    data: &DataSpec,
    name: &str,
    wrap: impl Fn(Autoregressive<Affine>) -> Box<dyn Layer>,
) -> Result<Design> {
    check_layers("transforms", config.transforms, &config.hidden)?;
    let dimension = tabular::dimension(name, data, 1)?;
    let chain = tabular::layers(params, data, "transforms", config.transforms, |place, i| {
        let order = tabular::order(dimension, i);
        let affine = Affine::bounded(&place / "affine");
        let made = Made::new(&place / "made", order, 0, &config.hidden, affine.parameters());
        vec![wrap(Autoregressive::new(made, affine))]
    })?;
    Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data))
}

impl Architecture for AffineAutoregressive {
    type Config = MafConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "maf";
    const SUMMARY: &'static str = "tabular data: affine autoregressive layers; exact likelihood in one pass";
    const CITATION: &'static str =
        "Papamakarios, Pavlakou & Murray 2017, Masked Autoregressive Flow for Density Estimation";
    const CAPABILITIES: Capabilities = Capabilities { images: false, ..FLOW };

    fn default_config(_data: &DataSpec) -> MafConfig {
        MafConfig::default()
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        tabular_training()
    }

    fn design(config: &MafConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        design(config, params, data, Self::NAME, |layer| Box::new(layer))
    }
}

impl Architecture for InverseAutoregressive {
    type Config = MafConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "iaf";
    const SUMMARY: &'static str = "tabular data: inverse autoregressive layers; samples in \
        one pass, an exact likelihood value by value";
    const CITATION: &'static str = "Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling 2016, \
        Improved Variational Inference with Inverse Autoregressive Flow";
    const CAPABILITIES: Capabilities = Capabilities { images: false, ..FLOW };

    fn default_config(_data: &DataSpec) -> MafConfig {
        MafConfig::default()
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        tabular_training()
    }

    fn design(config: &MafConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        design(config, params, data, Self::NAME, |layer| Box::new(Inverse(layer)))
    }
}
