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
use crate::conditions::Conditions;
use crate::dequantise::Dequantiser;
use crate::model::{Architecture, CONDITIONAL, Design, FlowModel, FlowSampling};
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
    departures: &[
        "Tables go through couplings by perceptrons of two hidden layers, with fixed permutations instead of learned \
         linear layers; splines reach to 4 standard deviations, the paper's to 3.",
        "Images take splines on the whole image, which a histogram of each pixel has made Gaussian, then affine \
         couplings at several scales; the paper has splines at every scale.",
        "Sizes, learning rates and batch sizes are for minutes on a processor without a GPU, and an average of the \
         weights makes the samples of images.",
    ],
    capabilities: CONDITIONAL,
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
    departures: &[
        "Networks are masked perceptrons without residual blocks or dropout, and orders alternate instead of learned \
         linear layers; splines reach to 4 standard deviations, the paper's to 3.",
    ],
    capabilities: Capabilities { images: false, ..CONDITIONAL },
    config: SplineConfig::of,
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
                let conditions = Conditions::shown(params, data, config.condition)?;
                let sizes = [dimension, Conditions::width(&conditions)];
                let chain = tabular::layers(params, data, "couplings", config.transforms, |place, i| {
                    tabular::coupling(&place, spline, i, &config.hidden, sizes)
                })?;
                Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data).given(conditions))
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
        let conditions = Conditions::shown(params, data, config.condition)?;
        let context = Conditions::width(&conditions);
        let chain = tabular::layers(params, data, "transforms", config.transforms, |place, i| {
            let order = tabular::order(dimension, i);
            let made = Made::new(&place / "made", order, context, &config.hidden, spline.parameters());
            vec![Box::new(Autoregressive::new(made, spline))]
        })?;
        Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data).given(conditions))
    }
}
