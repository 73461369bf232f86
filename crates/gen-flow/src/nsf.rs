//! Neural spline flows: couplings and autoregressive layers of rational-quadratic splines.

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::optim::AdamConfig;
use gen_core::params::Params;
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::bijection::Autoregressive;
use crate::conditioner::Made;
use crate::model::{Architecture, Design, FlowModel};
use crate::points;
use crate::univariate::{RationalQuadratic, Univariate};

/// RQ-NSF (C) (Durkan et al. 2019): couplings whose maps are rational-quadratic splines. As fast to sample as to train.
pub type Nsf = FlowModel<SplineCouplings>;

/// RQ-NSF (AR) (Durkan et al. 2019): masked autoregressive layers of rational-quadratic splines. The most flexible of the
/// flows of points.
pub type NsfAr = FlowModel<SplineAutoregressive>;

/// The architecture of [`Nsf`].
#[derive(Debug)]
pub enum SplineCouplings {}

/// The architecture of [`NsfAr`].
#[derive(Debug)]
pub enum SplineAutoregressive {}

/// Hyperparameters of [`Nsf`] and [`NsfAr`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NsfConfig {
    /// Layers.
    pub transforms: usize,
    /// Units in each hidden layer of a layer's network.
    pub hidden: Vec<i64>,
    /// K: bins of each spline.
    pub bins: i64,
    /// B: the splines map [-B, B] onto itself, in units of the data's standard deviations, and are the identity outside.
    pub bound: f64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for NsfConfig {
    fn default() -> Self {
        NsfConfig {
            transforms: 8,
            hidden: vec![64, 64],
            bins: 8,
            bound: 4.0,
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl NsfConfig {
    fn check(&self) -> Result<()> {
        points::check(("transforms", self.transforms), &self.hidden)?;
        points::check_spline(self.bins, self.bound)
    }
}

const CITATION: &str = "Durkan, Bekasov, Murray & Papamakarios 2019, Neural Spline Flows";

impl Architecture for SplineCouplings {
    type Config = NsfConfig;

    const NAME: &'static str = "nsf";
    const SUMMARY: &'static str =
        "points: couplings of rational-quadratic splines; exact likelihood, samples in one pass";
    const CITATION: &'static str = CITATION;

    fn default_config(_data: &DataSpec) -> NsfConfig {
        NsfConfig::default()
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        points::training()
    }

    fn design(config: &NsfConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let dimension = points::dimension(Self::NAME, data, 2)?;
        let chain = points::layers(params, data, "couplings", config.transforms, |place, i| {
            let spline = RationalQuadratic::new(config.bins, config.bound);
            points::coupling(&place, spline, i, &config.hidden, dimension)
        })?;
        Ok(Design::new(chain, None, config.optimizer, params, data))
    }
}

impl Architecture for SplineAutoregressive {
    type Config = NsfConfig;

    const NAME: &'static str = "nsf-ar";
    const SUMMARY: &'static str = "points: autoregressive rational-quadratic splines; exact likelihood";
    const CITATION: &'static str = CITATION;

    fn default_config(_data: &DataSpec) -> NsfConfig {
        NsfConfig::default()
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        points::training()
    }

    fn design(config: &NsfConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let dimension = points::dimension(Self::NAME, data, 1)?;
        let chain = points::layers(params, data, "transforms", config.transforms, |place, i| {
            let order = points::order(dimension, i);
            let spline = RationalQuadratic::new(config.bins, config.bound);
            let made = Made::new(&place / "made", order, 0, &config.hidden, spline.parameters());
            vec![Box::new(Autoregressive::new(made, spline))]
        })?;
        Ok(Design::new(chain, None, config.optimizer, params, data))
    }
}
