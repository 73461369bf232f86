//! Neural spline flows: couplings and autoregressive layers of rational-quadratic splines.

mod config;
mod images;

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Params;
use gen_core::train::TrainConfig;

pub use config::{NsfConfig, SplineConfig, SplineImageConfig};

use crate::bijection::Autoregressive;
use crate::conditioner::Made;
use crate::model::{Architecture, Design, FlowModel, other_data};
use crate::points;
use crate::univariate::Univariate;

/// RQ-NSF (C) (Durkan et al. 2019): couplings whose maps are rational-quadratic splines. As fast to sample as to train.
///
/// Points are standardised and go through couplings of alternating halves. Images are dequantised and their pixels made
/// Gaussian; splines transform one half of the pixels given the other, by a chessboard and by rows; affine couplings at
/// several scales, as in [`RealNvp`](crate::RealNvp), remove what is left, which is nearly Gaussian.
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

const CITATION: &str = "Durkan, Bekasov, Murray & Papamakarios 2019, Neural Spline Flows";

impl Architecture for SplineCouplings {
    type Config = NsfConfig;

    const NAME: &'static str = "nsf";
    const SUMMARY: &'static str = "couplings of rational-quadratic splines, multi-scale for images; exact likelihood, samples in one pass";
    const CITATION: &'static str = CITATION;

    fn default_config(data: &DataSpec) -> NsfConfig {
        NsfConfig::of(data)
    }

    fn default_training(data: &DataSpec) -> TrainConfig {
        config::training(data)
    }

    fn design(config: &NsfConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        match (config, data.shape) {
            (NsfConfig::Points(config), Shape::Points { .. }) => {
                config.check()?;
                let dimension = points::dimension(Self::NAME, data, 2)?;
                let chain = points::layers(params, data, "couplings", config.transforms, |place, i| {
                    points::coupling(&place, config.spline(), i, &config.hidden, dimension)
                })?;
                Ok(Design::new(chain, None, config.optimizer, params, data))
            }
            (NsfConfig::Images(config), Shape::Image { channels, height, width }) => {
                let shape = [channels, height, width];
                config.check(shape)?;
                let dequantiser = config.dequantisation.build(params, data)?;
                let chain = images::architecture(params, config, shape);
                Ok(Design::new(chain, Some(dequantiser), config.optimizer, params, data))
            }
            (config, _) => Err(other_data(config.kind(), data)),
        }
    }
}

impl Architecture for SplineAutoregressive {
    type Config = SplineConfig;

    const NAME: &'static str = "nsf-ar";
    const SUMMARY: &'static str = "points: autoregressive rational-quadratic splines; exact likelihood";
    const CITATION: &'static str = CITATION;

    fn default_config(_data: &DataSpec) -> SplineConfig {
        SplineConfig::default()
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        points::training()
    }

    fn design(config: &SplineConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let dimension = points::dimension(Self::NAME, data, 1)?;
        let chain = points::layers(params, data, "transforms", config.transforms, |place, i| {
            let order = points::order(dimension, i);
            let spline = config.spline();
            let made = Made::new(&place / "made", order, 0, &config.hidden, spline.parameters());
            vec![Box::new(Autoregressive::new(made, spline))]
        })?;
        Ok(Design::new(chain, None, config.optimizer, params, data))
    }
}
