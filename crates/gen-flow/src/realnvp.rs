//! RealNVP: affine couplings, multi-scale for images.

mod config;

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::model::OnePass;
use gen_core::params::Params;
use gen_core::registry::{Origin, Preset};

pub use config::{ImageConfig, RealNvpConfig, TabularConfig};

use crate::bijection::Chain;
use crate::dequantise::Dequantiser;
use crate::model::{Architecture, Design, FLOW, FlowModel, FlowSampling};
use crate::settings::{check_layers, other_data, training};
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

/// The preset of [`RealNvp`].
pub static QUICK_FLOW: Preset<RealNvp> = Preset {
    name: "quick-flow",
    summary: "affine couplings, multi-scale for images; exact likelihood, samples in one pass",
    origin: Origin::House,
    citation: "Dinh, Sohl-Dickstein & Bengio 2017, Density estimation using Real NVP",
    departures: &[],
    capabilities: FLOW,
    config: RealNvpConfig::of,
    training: |data| training(data, 32, 50),
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
                let chain = tabular::layers(params, data, "couplings", config.couplings, |place, i| {
                    let affine = Affine::bounded(&place / "affine");
                    tabular::coupling(&place, affine, i, &config.hidden, dimension)
                })?;
                Ok(Design::new(chain, Dequantiser::none(), config.optimizer, params, data))
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
            (config, _) => Err(other_data(config.kind(), data)),
        }
    }
}
