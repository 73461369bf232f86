use gen_core::params::{Params, Scope};

use super::SplineImageConfig;
use crate::bijection::{Bijection, Chain, Coupling, Mask, Permutation};
use crate::conditioner::ConvConditioner;
use crate::images::{ImageShape, Scale, multi_scale};
use crate::univariate::Univariate;

/// Pixels on the real line, couplings of the two colours of a chessboard by splines, then affine steps at each scale.
pub(super) fn architecture(params: &Params, config: &SplineImageConfig, shape: ImageShape) -> Chain {
    let root = params.root();
    let steps = config.steps();
    let mut parts = config.pixels.bijections(&root, config.alpha, shape);
    parts.push(Box::new(multi_scale(&root, shape, config.scales, &mut |place, scale| {
        let mut parts = if scale.index == 0 { chessboard(&place, config, &scale) } else { Vec::new() };
        parts.extend(steps.of(&place, &scale));
        parts
    })));
    Chain::new(parts)
}

/// Couplings of a squeezed image by splines: the even pixels of the chessboard, whose rows and columns are both even or
/// both odd, are first and stay first.
fn chessboard(place: &Scope<'_>, config: &SplineImageConfig, scale: &Scale) -> Vec<Box<dyn Bijection>> {
    let [channels, height, width] = scale.shape;
    let of_colour = |in_block: [i64; 2]| (0..channels).filter(move |c| in_block.contains(&(c % 4)));
    let order: Vec<i64> = of_colour([0, 3]).chain(of_colour([1, 2])).collect();
    let mut parts: Vec<Box<dyn Bijection>> = vec![Box::new(Permutation::new(place / "colours", &order))];
    for i in 0..config.spline_couplings {
        let place = place / format!("splines.{i}");
        let mask = Mask::alternating(channels, i);
        let spline = config.spline();
        let inputs = [mask.kept(channels), height, width];
        let outputs = spline.parameters() * mask.transformed(channels);
        let net = ConvConditioner::new(place, inputs, 0, config.spline_width, config.spline_blocks, outputs);
        parts.push(Box::new(Coupling::new(mask, spline, Box::new(net))));
    }
    parts
}
