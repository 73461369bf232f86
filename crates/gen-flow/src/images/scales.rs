use gen_core::data::{DataSpec, Shape};
use gen_core::params::{Params, Scope};
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::dequantisation::Dequantisation;
use super::pixels::Pixels;
use crate::bijection::{Chain, FactorOut, Flatten, Layer, Squeeze};
use crate::dequantise::Dequantiser;

/// Hyperparameters of all flows of images: the way of bytes to the real line, and scales.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MultiScale {
    /// L: how often the image is squeezed to half its side. Half of the values are factored out after each scale but
    /// the last.
    pub scales: usize,
    /// How pixels get to the real line.
    pub pixels: Pixels,
    /// The margin α at the ends of the interval, in (0, 0.5), see [`Logit`](crate::bijection::Logit).
    pub alpha: f64,
    /// How bytes become real numbers.
    pub dequantisation: Dequantisation,
}

/// One of several scales, as its steps are asked for.
pub(crate) struct Scale {
    /// 0 is the finest.
    pub(crate) index: usize,
    /// Whether it is the coarsest.
    pub(crate) is_last: bool,
    /// `[channels, height, width]` of the squeezed image.
    pub(crate) shape: [i64; 3],
    /// Of its channels, how many go on to the next scale.
    pub(crate) kept: i64,
}

/// Gives the steps of a scale, registered in the place that it gets.
pub(crate) type Steps<'a> = &'a mut dyn FnMut(Scope<'_>, Scale) -> Vec<Box<dyn Layer>>;

impl MultiScale {
    /// Two scales, uniform noise, and a margin of 10⁻⁶.
    pub(crate) fn new(pixels: Pixels) -> Self {
        MultiScale { scales: 2, pixels, alpha: 1e-6, dequantisation: Dequantisation::Uniform }
    }

    /// The same with as many scales as images of this data allow, up to three.
    pub(crate) fn fitted(self, data: &DataSpec) -> Self {
        match data.shape {
            Shape::Image { height, width, .. } => MultiScale { scales: halvings(height, width).clamp(1, 3), ..self },
            Shape::Points { .. } => self,
        }
    }

    /// # Errors
    /// When images of this shape cannot have that many scales, or the margin is none.
    pub(crate) fn check(&self, model: &str, [_, height, width]: [i64; 3]) -> Result<()> {
        let (scales, possible) = (self.scales, halvings(height, width));
        if possible == 0 {
            return Err(Error::invalid(format!(
                "`{model}` squeezes images to half their side, which needs an even height and width of at least 4, \
                 found {height}x{width}: pad or resize them"
            )));
        }
        if scales == 0 || scales > possible {
            return Err(Error::invalid(format!(
                "images of {height}x{width} can have 1 to {possible} `scales`, found {scales}"
            )));
        }
        if !(self.alpha > 0.0 && self.alpha < 0.5) {
            return Err(Error::invalid(format!("`alpha` must be in (0, 0.5), found {}", self.alpha)));
        }
        Ok(())
    }

    /// The noise and the layers: pixels on the real line, then scales from fine to coarse, to `[batch, dimension]`.
    /// At each scale there are a squeeze and its `steps`, then half of the channels are factored out, of the last one
    /// nothing.
    ///
    /// Dinh et al. 2017 (RealNVP), section 3.6.
    ///
    /// # Errors
    /// As [`Dequantisation::build`].
    pub(crate) fn build(
        &self,
        params: &Params,
        data: &DataSpec,
        shape: [i64; 3],
        steps: Steps<'_>,
    ) -> Result<(Dequantiser, Vec<Box<dyn Layer>>)> {
        let dequantiser = self.dequantisation.build(params, data)?;
        let root = params.root();
        let mut layers = self.pixels.layers(&root, self.alpha, shape);
        layers.push(Box::new(scale(&root, shape, 0, self.scales, steps)));
        Ok((dequantiser, layers))
    }
}

fn scale(
    root: &Scope<'_>,
    [channels, height, width]: [i64; 3],
    index: usize,
    scales: usize,
    steps: Steps<'_>,
) -> Chain {
    let shape @ [channels, height, width] = [4 * channels, height / 2, width / 2];
    let kept = channels / 2;
    let is_last = index + 1 == scales;
    let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(Squeeze)];
    layers.extend(steps(root / format!("scales.{index}"), Scale { index, is_last, shape, kept }));
    if is_last {
        layers.push(Box::new(Flatten::new(shape)));
    } else {
        let rest = scale(root, [kept, height, width], index + 1, scales, steps);
        layers.push(Box::new(FactorOut::new(shape, kept, rest)));
    }
    Chain::new(layers)
}

/// `[channels, height, width]` of images.
///
/// # Errors
/// When the data are tabular.
pub(crate) fn shape(model: &str, data: &DataSpec) -> Result<[i64; 3]> {
    match data.shape {
        Shape::Image { channels, height, width } => Ok([channels, height, width]),
        Shape::Points { .. } => Err(Error::invalid(format!(
            "`{model}` is a model of images, `{}` is tabular: take `quick-flow`, `nsf` or `maf`",
            data.name
        ))),
    }
}

/// How often a height and a width can be halved evenly, down to 2 at the smallest.
fn halvings(height: i64, width: i64) -> usize {
    let halves = |side: i64| (1..).take_while(|n| side % (1 << n) == 0 && side >> n >= 2).count();
    halves(height).min(halves(width))
}
