//! From data to rows of numbers, for flows that do not use the arrangement of pixels.

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Scope;

use crate::bijection::{ActNorm, Flatten, Layer, Logit, Standardise};
use crate::dequantise::{Dequantiser, Interval};

/// The margin of the logit of pixels.
const ALPHA: f64 = 1e-6;

/// The noise and the first layers: tabular data are standardised; images go through the logit and an actnorm of their
/// channels, and are flattened.
pub(crate) fn layers(data: &DataSpec, root: &Scope<'_>) -> Result<(Dequantiser, Vec<Box<dyn Layer>>)> {
    Ok(match data.shape {
        Shape::Points { .. } => {
            let standardise = Standardise::new(root / "standardise", &data.mean, &data.std)?;
            (Dequantiser::none(), vec![Box::new(standardise)])
        }
        Shape::Image { channels, height, width } => (
            Dequantiser::uniform(data.values, Interval::Unit)?,
            vec![
                Box::new(Logit::new(ALPHA)),
                Box::new(ActNorm::new(root / "pixels", channels)),
                Box::new(Flatten::new([channels, height, width])),
            ],
        ),
    })
}
