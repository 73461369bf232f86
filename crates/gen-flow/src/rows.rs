//! The way of data to rows of numbers, for flows that see no more in an image.

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Scope;

use crate::bijection::{ActNorm, Bijection, Flatten, Logit, Standardise};
use crate::dequantise::Dequantiser;

/// The margin of the logit of pixels.
const ALPHA: f64 = 1e-6;

/// What makes rows of data.
pub(crate) struct Rows {
    /// The bijections, in the order from data to latent.
    pub(crate) parts: Vec<Box<dyn Bijection>>,
    /// For images.
    pub(crate) dequantiser: Option<Dequantiser>,
}

impl Rows {
    /// Points are standardised; images go through the logit and an actnorm of their channels, and are flattened.
    pub(crate) fn of(data: &DataSpec, root: &Scope<'_>) -> Result<Self> {
        Ok(match data.shape {
            Shape::Points { .. } => {
                let standardise = Standardise::new(root / "standardise", &data.mean, &data.std)?;
                Rows { parts: vec![Box::new(standardise)], dequantiser: None }
            }
            Shape::Image { channels, height, width } => Rows {
                parts: vec![
                    Box::new(Logit::new(ALPHA)),
                    Box::new(ActNorm::new(root / "pixels", channels)),
                    Box::new(Flatten::new([channels, height, width])),
                ],
                dequantiser: Some(Dequantiser::uniform(data.values)?),
            },
        })
    }
}
