//! The way of data to rows of numbers, for flows that see no more in an image.

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Scope;

use crate::bijection::{ActNorm, Bijection, Flatten, Logit, Standardise};
use crate::dequantise::Dequantiser;

/// The margin of the logit of pixels.
const ALPHA: f64 = 1e-6;

/// Points are standardised; images go through the logit and an actnorm of their channels, and are flattened.
pub(crate) fn rows(
    root: &Scope<'_>,
    data: &DataSpec,
) -> Result<(Vec<Box<dyn Bijection>>, Option<Dequantiser>)> {
    Ok(match data.shape {
        Shape::Points { .. } => {
            let standardise = Standardise::new(root / "standardise", &data.mean, &data.std)?;
            (vec![Box::new(standardise)], None)
        }
        Shape::Image { channels, height, width } => {
            let parts: Vec<Box<dyn Bijection>> = vec![
                Box::new(Logit::new(ALPHA)),
                Box::new(ActNorm::new(root / "pixels", channels)),
                Box::new(Flatten::new([channels, height, width])),
            ];
            (parts, Some(Dequantiser::uniform(data.values)?))
        }
    })
}
