//! RealNVP: affine couplings, multi-scale for images.

mod config;
mod images;
mod points;

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Params;
use gen_core::train::TrainConfig;

pub use config::{ImageConfig, PointConfig, RealNvpConfig};

use crate::model::{Architecture, Design, FlowModel, other_data};

/// RealNVP (Dinh et al. 2017): a chain of affine couplings, trained by maximum likelihood.
///
/// Points are standardised and go through couplings of alternating halves. Images are dequantised, taken to the real
/// line by a logit, squeezed, and go through couplings at each scale, half of what is left being factored out after
/// each but the last.
///
/// Its likelihood is exact and its samples cost one pass.
pub type RealNvp = FlowModel<AffineCouplings>;

/// The architecture of [`RealNvp`].
#[derive(Debug)]
pub enum AffineCouplings {}

impl Architecture for AffineCouplings {
    type Config = RealNvpConfig;

    const NAME: &'static str = "realnvp";
    const SUMMARY: &'static str =
        "affine couplings, multi-scale for images; exact likelihood, samples in one pass";
    const CITATION: &'static str = "Dinh, Sohl-Dickstein & Bengio 2017, Density estimation using Real NVP";

    fn default_config(data: &DataSpec) -> RealNvpConfig {
        RealNvpConfig::of(data)
    }

    fn default_training(data: &DataSpec) -> TrainConfig {
        config::training(data)
    }

    fn design(config: &RealNvpConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        match (config, data.shape) {
            (RealNvpConfig::Points(config), Shape::Points { .. }) => {
                config.check()?;
                crate::points::dimension(Self::NAME, data, 2)?;
                let chain = points::architecture(params, config, data)?;
                Ok(Design::new(chain, None, config.optimizer, params, data))
            }
            (RealNvpConfig::Images(config), Shape::Image { channels, height, width }) => {
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
