use gen_core::params::{Params, Scope};

use super::ImageConfig;
use crate::bijection::{ActNorm, Bijection, Chain, Conv1x1, Coupling, Mask, NormalisedConv1x1};
use crate::conditioner::{Conditioner, ConvConditioner, DenseConditioner};
use crate::images::{ImageShape, multi_scale, to_real_line};
use crate::univariate::{Affine, Univariate};

/// Logit and standardisation of each pixel, then the scales, from fine to coarse: convolutional steps at each, at the
/// last one dense steps after them.
pub(super) fn architecture(params: &Params, config: &ImageConfig, shape: ImageShape) -> Chain {
    let root = params.root();
    let mut parts = to_real_line(&root, config.alpha, shape);
    parts.push(Box::new(multi_scale(&root, shape, config.scales, &mut |place, scale| {
        let [channels, height, width] = scale.shape;
        let mut parts = Vec::new();
        for i in 0..config.couplings {
            step(&mut parts, &place / format!("couplings.{i}"), channels, i, |place, inputs, outputs| {
                let (inputs, network) = ([inputs, height, width], config.width << scale.index);
                Box::new(ConvConditioner::new(place, inputs, 0, network, config.blocks, outputs))
            });
        }
        for i in 0..if scale.is_last { config.dense_couplings } else { 0 } {
            step(&mut parts, &place / format!("dense.{i}"), channels, i, |place, inputs, outputs| {
                let image = |channels| [channels, height, width];
                Box::new(DenseConditioner::new(place, image(inputs), 0, config.dense_width, image(outputs)))
            });
        }
        parts
    })));
    Chain::new(parts)
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
