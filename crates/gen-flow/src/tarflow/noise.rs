use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::rng::Generator;
use tch::Tensor;

use super::config::{Noise, TarFlowConfig};
use crate::dequantise::Dequantise;

/// How data become what the flow has a density of, and back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Corruption {
    /// Points as they are.
    None,
    /// Grey levels spread over their cells and scaled to [-1, 1).
    Uniform(Dequantise),
    /// Noise of this standard deviation.
    Gaussian(f64),
}

impl Corruption {
    /// # Errors
    /// When values that are not grey levels should be dequantised.
    pub(super) fn of(config: &TarFlowConfig, data: &DataSpec) -> Result<Self> {
        Ok(match config.noise {
            Noise::None => Corruption::None,
            Noise::Uniform => Corruption::Uniform(Dequantise::of(data.values)?),
            Noise::Gaussian => Corruption::Gaussian(config.sigma),
        })
    }

    /// What the flow sees of data `x`; the noise is drawn from `rng`.
    pub(super) fn add(self, x: &Tensor, rng: &Generator) -> Tensor {
        match self {
            Corruption::None => x.shallow_clone(),
            Corruption::Uniform(dequantise) => dequantise.to_unit(x, rng) * 2.0 - 1.0,
            Corruption::Gaussian(sigma) => x + rng.randn_like(x) * sigma,
        }
    }

    /// The flow's values as data: images in [-1, 1], bytes rounded where the noise was that of bytes.
    pub(super) fn to_data(self, y: &Tensor) -> Tensor {
        match self {
            Corruption::None => y.shallow_clone(),
            Corruption::Uniform(dequantise) => dequantise.from_unit(&((y + 1.0) / 2.0)),
            Corruption::Gaussian(_) => y.clamp(-1.0, 1.0),
        }
    }

    /// [`Corruption::to_data`] without rounding.
    pub(super) fn to_data_smooth(self, y: &Tensor) -> Tensor {
        match self {
            Corruption::Uniform(dequantise) => dequantise.from_unit_smooth(&((y + 1.0) / 2.0)),
            Corruption::None | Corruption::Gaussian(_) => self.to_data(y),
        }
    }

    /// What is added to the flow's log-density of an element of `dimensions` values to give the likelihood of data; `None`
    /// where it says nothing about them.
    pub(super) fn log_volume(self, dimensions: i64) -> Option<f64> {
        match self {
            Corruption::None => Some(0.0),
            // A density on [-1, 1) is one on [0, 1) with half of it at each value.
            Corruption::Uniform(dequantise) => {
                Some(dimensions as f64 * std::f64::consts::LN_2 + dequantise.log_volume(dimensions))
            }
            Corruption::Gaussian(_) => None,
        }
    }
}
