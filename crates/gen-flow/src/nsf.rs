//! Neural spline flows: couplings and autoregressive layers of rational-quadratic splines.

mod config;
mod images;

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::model::OnePass;
use gen_core::params::Params;
use gen_core::registry::{Capabilities, Origin, Preset};

pub use config::{NsfConfig, SplineConfig, SplineImageConfig};

use self::images::splines;
use crate::bijection::{Autoregressive, Chain};
use crate::conditioner::Made;
use crate::dequantise::Dequantiser;
use crate::model::{Architecture, Design, FLOW, FlowModel, FlowSampling};
use crate::settings::{other_data, tabular_training, training};
use crate::tabular;
use crate::univariate::Univariate;

/// RQ-NSF (C) (Durkan et al. 2019): couplings whose maps are rational-quadratic splines. As fast to sample as to train.
///
/// Tabular data are standardised and go through couplings of alternating halves. Images are dequantised and their
/// pixels made Gaussian; splines transform one half of the pixels given the other, by a chessboard and by rows;
/// affine couplings at several scales, as in [`RealNvp`](crate::RealNvp), remove the rest, which is nearly Gaussian.
pub type Nsf = FlowModel<SplineCouplings>;

/// RQ-NSF (AR) (Durkan et al. 2019): masked autoregressive layers of rational-quadratic splines. The most flexible of
/// the flows of tabular data.
pub type NsfAr = FlowModel<SplineAutoregressive>;

/// The preset of [`Nsf`].
pub static NSF: Preset<Nsf> = Preset {
    name: "nsf",
    summary: "couplings of rational-quadratic splines, multi-scale for images; \
        exact likelihood, samples in one pass",
    origin: Origin::Paper,
    citation: CITATION,
    departures: &[],
    capabilities: FLOW,
    config: NsfConfig::of,
    training: |data| training(data, 32, 100),
    sampling: FlowSampling::of,
};

/// The architecture of [`Nsf`].
#[derive(Debug)]
pub enum SplineCouplings {}

/// The preset of [`NsfAr`].
pub static NSF_AR: Preset<NsfAr> = Preset {
    name: "nsf-ar",
    summary: "tabular data: autoregressive rational-quadratic splines; exact likelihood",
    origin: Origin::Paper,
    citation: CITATION,
    departures: &[],
    capabilities: Capabilities { images: false, ..FLOW },
    config: |_data| SplineConfig::default(),
    training: |_data| tabular_training(),
    sampling: FlowSampling::of,
};

/// The architecture of [`NsfAr`].
#[derive(Debug)]
pub enum SplineAutoregressive {}

const CITATION: &str = "Durkan, Bekasov, Murray & Papamakarios 2019, Neural Spline Flows";

impl Architecture for SplineCouplings {
    type Config = NsfConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "nsf";

    fn design(config: &NsfConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        match (config, data.shape) {
            (NsfConfig::Tabular(config), Shape::Points { .. }) => {
                let spline = config.spline()?;
                let dimension = tabular::dimension(Self::NAME, data, 2)?;
                let chain = tabular::layers(params, data, "couplings", config.transforms, |place, i| {
                    tabular::coupling(&place, spline, i, &config.hidden, dimension)
                })?;
                Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data))
            }
            (NsfConfig::Images(config), Shape::Image { .. }) => {
                let shape = crate::images::shape(Self::NAME, data)?;
                config.multi_scale.check(Self::NAME, shape)?;
                config.steps.check()?;
                let spline = config.spline()?;
                let (dequantiser, layers) = config.multi_scale.build(params, data, shape, &mut |place, scale| {
                    let splines = (scale.index == 0).then(|| splines(&place, config, spline, &scale));
                    splines.into_iter().flatten().chain(config.steps.of(&place, &scale)).collect()
                })?;
                Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data))
            }
            (config, _) => Err(other_data(config.kind(), data)),
        }
    }
}

impl Architecture for SplineAutoregressive {
    type Config = SplineConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "nsf-ar";

    fn design(config: &SplineConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        let spline = config.spline()?;
        let dimension = tabular::dimension(Self::NAME, data, 1)?;
        let chain = tabular::layers(params, data, "transforms", config.transforms, |place, i| {
            let order = tabular::order(dimension, i);
            let made = Made::new(&place / "made", order, 0, &config.hidden, spline.parameters());
            vec![Box::new(Autoregressive::new(made, spline))]
        })?;
        Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data))
    }
}
