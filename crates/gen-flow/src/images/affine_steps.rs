use gen_core::Result;
use gen_core::config::at_least_one;
use gen_core::params::Scope;
use serde::{Deserialize, Serialize};

use super::scales::Scale;
use crate::bijection::{Coupling, Layer, Mask, NormalisedConv1x1};
use crate::conditioner::{Conditioner, ConvConditioner, DenseConditioner};
use crate::univariate::Affine;

/// Affine couplings at every scale: with convolutional networks, and at the last one with networks that see all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AffineSteps {
    /// Affine couplings at each scale, with convolutional networks.
    pub couplings: usize,
    /// Channels of these networks at the finest scale; each coarser one has twice as many.
    pub width: i64,
    /// Residual blocks in each of these networks.
    pub blocks: usize,
    /// Affine couplings after these at the last scale, with networks that see the whole of it at once.
    pub dense_couplings: usize,
    /// Hidden units of these networks.
    pub dense_width: i64,
}

impl Default for AffineSteps {
    /// For images of 28 x 28 and 8 x 8.
    fn default() -> Self {
        AffineSteps { couplings: 6, width: 32, blocks: 0, dense_couplings: 4, dense_width: 256 }
    }
}

impl AffineSteps {
    /// # Errors
    /// When there is no coupling, or a network has no width.
    pub(crate) fn check(&self) -> Result<()> {
        at_least_one("couplings", self.couplings as i64)?;
        at_least_one("width", self.width)?;
        at_least_one("dense_width", self.dense_width)
    }

    /// Those of one scale.
    pub(crate) fn of(&self, place: &Scope<'_>, scale: &Scale) -> Vec<Box<dyn Layer>> {
        let [channels, height, width] = scale.shape;
        let mut layers = Vec::new();
        for i in 0..self.couplings {
            step(&mut layers, place / format!("couplings.{i}"), channels, i, |place, inputs, outputs| {
                let (inputs, network) = ([inputs, height, width], self.width << scale.index);
                Box::new(ConvConditioner::new(place, inputs, 0, network, self.blocks, outputs))
            });
        }
        for i in 0..if scale.is_last { self.dense_couplings } else { 0 } {
            step(&mut layers, place / format!("dense.{i}"), channels, i, |place, inputs, outputs| {
                let image = |channels| [channels, height, width];
                Box::new(DenseConditioner::new(place, image(inputs), 0, self.dense_width, image(outputs)))
            });
        }
        layers
    }
}

/// Activation normalisation, a mixing of the channels, and a coupling that keeps their first or last half in turn.
/// `net` builds a conditioner from so many channels to so many.
fn step(
    layers: &mut Vec<Box<dyn Layer>>,
    place: Scope<'_>,
    channels: i64,
    layer: usize,
    net: impl FnOnce(Scope<'_>, i64, i64) -> Box<dyn Conditioner>,
) {
    let affine = Affine::bounded(&place / "affine");
    let net = |inputs, outputs| net(&place / "net", inputs, outputs);
    let coupling = Coupling::of_size(Mask::alternating(channels, layer), channels, affine, net);
    layers.push(Box::new(NormalisedConv1x1::new(&place, channels)));
    layers.push(Box::new(coupling));
}
