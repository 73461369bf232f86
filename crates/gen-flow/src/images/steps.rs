use gen_core::Result;
use gen_core::params::Scope;

use super::{ImageShape, Scale, at_least_one, check_scales};
use crate::bijection::{ActNorm, Bijection, Conv1x1, Coupling, Mask, NormalisedConv1x1};
use crate::conditioner::{Conditioner, ConvConditioner, DenseConditioner};
use crate::univariate::{Affine, Univariate};

/// Affine couplings at every scale: with convolutional networks, and at the last one with networks that see all of it.
pub(crate) struct AffineSteps {
    /// Couplings at each scale, with convolutional networks.
    pub(crate) couplings: usize,
    /// Channels of these networks at the finest scale; each coarser one has twice as many.
    pub(crate) width: i64,
    /// Residual blocks in each of these networks.
    pub(crate) blocks: usize,
    /// Couplings after these at the last scale.
    pub(crate) dense_couplings: usize,
    /// Hidden units of their networks.
    pub(crate) dense_width: i64,
}

impl AffineSteps {
    /// # Errors
    /// When images of this shape cannot have that many scales, or something that must be there is not.
    pub(crate) fn check(&self, model: &str, scales: usize, shape: ImageShape) -> Result<()> {
        check_scales(model, scales, shape)?;
        at_least_one("couplings", self.couplings as i64)?;
        at_least_one("width", self.width)?;
        at_least_one("dense_width", self.dense_width)
    }

    /// Those of one scale.
    pub(crate) fn of(&self, place: &Scope<'_>, scale: &Scale) -> Vec<Box<dyn Bijection>> {
        let [channels, height, width] = scale.shape;
        let mut parts = Vec::new();
        for i in 0..self.couplings {
            step(&mut parts, place / format!("couplings.{i}"), channels, i, |place, inputs, outputs| {
                let (inputs, network) = ([inputs, height, width], self.width << scale.index);
                Box::new(ConvConditioner::new(place, inputs, 0, network, self.blocks, outputs))
            });
        }
        for i in 0..if scale.is_last { self.dense_couplings } else { 0 } {
            step(&mut parts, place / format!("dense.{i}"), channels, i, |place, inputs, outputs| {
                let image = |channels| [channels, height, width];
                Box::new(DenseConditioner::new(place, image(inputs), 0, self.dense_width, image(outputs)))
            });
        }
        parts
    }
}

/// Activation normalisation, a mixing of the channels, and a coupling that keeps their first or last half in turn.
/// `net` builds a conditioner from so many channels to so many.
fn step(
    parts: &mut Vec<Box<dyn Bijection>>,
    place: Scope<'_>,
    channels: i64,
    layer: usize,
    net: impl FnOnce(Scope<'_>, i64, i64) -> Box<dyn Conditioner>,
) {
    let mask = Mask::alternating(channels, layer);
    let affine = Affine::bounded(&place / "affine");
    let outputs = affine.parameters() * mask.transformed(channels);
    let net = net(&place / "net", mask.kept(channels), outputs);
    let norm = ActNorm::new(&place / "actnorm", channels);
    parts.push(Box::new(NormalisedConv1x1::new(norm, Conv1x1::new(&place / "mixing", channels))));
    parts.push(Box::new(Coupling::new(mask, affine, net)));
}
