use gen_core::params::{Params, Scope};

use super::ImageConfig;
use crate::bijection::{
    ActNorm, Bijection, Chain, Conv1x1, Coupling, FactorOut, Flatten, Inverse, Logit, Mask,
    NormalisedConv1x1, Squeeze,
};
use crate::conditioner::{Conditioner, ConvConditioner, DenseConditioner};
use crate::univariate::{Affine, Univariate};

/// Logit and standardisation of each pixel, then the scales, from fine to coarse.
pub(super) fn architecture(params: &Params, config: &ImageConfig, shape: [i64; 3]) -> Chain {
    let root = params.root();
    Chain::new(vec![
        Box::new(Logit::new(config.alpha)),
        Box::new(Flatten::new(shape)),
        Box::new(ActNorm::new(&root / "pixels", shape.iter().product())),
        Box::new(Inverse(Flatten::new(shape))),
        Box::new(scale(&root, config, shape, 0)),
    ])
}

/// The scale `index` and all coarser ones, for what is left of the image: a squeeze and convolutional steps; then
/// half of the channels are factored out, or at the last scale dense steps follow.
fn scale(root: &Scope<'_>, config: &ImageConfig, [channels, height, width]: [i64; 3], index: usize) -> Chain {
    let place = root / format!("scales.{index}");
    let shape @ [channels, height, width] = [4 * channels, height / 2, width / 2];
    let mut parts: Vec<Box<dyn Bijection>> = vec![Box::new(Squeeze)];
    for i in 0..config.couplings {
        step(&mut parts, &place / format!("couplings.{i}"), channels, i, |place, inputs, outputs| {
            let inputs = [inputs, height, width];
            Box::new(ConvConditioner::new(place, inputs, 0, config.width << index, config.blocks, outputs))
        });
    }
    if index + 1 < config.scales {
        let kept = channels / 2;
        let rest = scale(root, config, [kept, height, width], index + 1);
        parts.push(Box::new(FactorOut::new(shape, kept, rest)));
    } else {
        for i in 0..config.dense_couplings {
            step(&mut parts, &place / format!("dense.{i}"), channels, i, |place, inputs, outputs| {
                let image = |channels| [channels, height, width];
                Box::new(DenseConditioner::new(place, image(inputs), 0, config.dense_width, image(outputs)))
            });
        }
        parts.push(Box::new(Flatten::new(shape)));
    }
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
