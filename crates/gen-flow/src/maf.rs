//! Affine autoregressive flows, in both directions.

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::{Conditioning, OnePass};
use gen_core::optim::AdamConfig;
use gen_core::params::Params;
use gen_core::registry::{Capabilities, Origin, Preset};
use serde::{Deserialize, Serialize};

use crate::bijection::{Autoregressive, Inverse, Layer};
use crate::conditioner::Made;
use crate::conditions::Conditions;
use crate::dequantise::Dequantiser;
use crate::model::{Architecture, CONDITIONAL, Design, FlowModel, FlowSampling};
use crate::settings::{check_layers, tabular_training};
use crate::tabular;
use crate::univariate::{Affine, Univariate};

/// A masked autoregressive flow (Papamakarios et al. 2017): a likelihood costs one pass, a sample goes through the
/// coordinates one by one.
pub type Maf = FlowModel<AffineAutoregressive>;

/// An inverse autoregressive flow (Kingma et al. 2016): a sample costs one pass, a likelihood, and so a training step,
/// goes through the coordinates one by one. For few coordinates.
pub type Iaf = FlowModel<InverseAutoregressive>;

/// The preset of [`Maf`].
pub static MAF: Preset<Maf> = Preset {
    name: "maf",
    summary: "tabular data: affine autoregressive layers; exact likelihood in one pass",
    origin: Origin::Paper,
    citation: "Papamakarios, Pavlakou & Murray 2017, Masked Autoregressive Flow for Density Estimation",
    departures: &[
        "Layers have no batch normalisation between them, and a tanh with a learned factor bounds the log of each \
         scale.",
    ],
    capabilities: Capabilities { images: false, ..CONDITIONAL },
    config: MafConfig::of,
    training: |_data| tabular_training(),
    sampling: FlowSampling::of,
};

/// The architecture of [`Maf`].
#[derive(Debug)]
pub enum AffineAutoregressive {}

/// The preset of [`Iaf`].
pub static IAF: Preset<Iaf> = Preset {
    name: "iaf",
    summary: "tabular data: inverse autoregressive layers; samples in \
        one pass, an exact likelihood value by value",
    origin: Origin::Paper,
    citation: "Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling 2016, \
        Improved Variational Inference with Inverse Autoregressive Flow",
    departures: &[
        "A model of data by itself; the paper takes such layers as the posterior of a variational autoencoder.",
        "A tanh with a learned factor bounds the log of each scale; the paper's layers have gates.",
    ],
    capabilities: Capabilities { images: false, ..CONDITIONAL },
    config: MafConfig::of,
    training: |_data| tabular_training(),
    sampling: FlowSampling::of,
};

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
    /// What the flow is given.
    pub condition: Conditioning,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for MafConfig {
    fn default() -> Self {
        MafConfig {
            transforms: 8,
            hidden: vec![64, 64],
            condition: Conditioning::NONE,
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl MafConfig {
    /// The defaults for this data.
    fn of(data: &DataSpec) -> Self {
        MafConfig { condition: Conditioning::needed_by(data), ..Self::default() }
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
    let conditions = Conditions::shown(params, data, config.condition)?;
    let context = Conditions::width(&conditions);
    let chain = tabular::layers(params, data, "transforms", config.transforms, |place, i| {
        let order = tabular::order(dimension, i);
        let affine = Affine::bounded(&place / "affine");
        let made = Made::new(&place / "made", order, context, &config.hidden, affine.parameters());
        vec![wrap(Autoregressive::new(made, affine))]
    })?;
    Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data).given(conditions))
}

impl Architecture for AffineAutoregressive {
    type Config = MafConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "maf";

    fn design(config: &MafConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        design(config, params, data, Self::NAME, |layer| Box::new(layer))
    }
}

impl Architecture for InverseAutoregressive {
    type Config = MafConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "iaf";

    fn design(config: &MafConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        design(config, params, data, Self::NAME, |layer| Box::new(Inverse(layer)))
    }
}
