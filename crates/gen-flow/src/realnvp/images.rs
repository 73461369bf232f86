use gen_core::params::Params;

use super::ImageConfig;
use crate::bijection::Chain;
use crate::images::{ImageShape, multi_scale};

/// Pixels on the real line, then the scales, from fine to coarse: convolutional steps at each, at the last one dense
/// steps after them.
pub(super) fn architecture(params: &Params, config: &ImageConfig, shape: ImageShape) -> Chain {
    let root = params.root();
    let steps = config.steps();
    let mut parts = config.pixels.bijections(&root, config.alpha, shape);
    parts.push(Box::new(multi_scale(&root, shape, config.scales, &mut |place, scale| {
        steps.of(&place, &scale)
    })));
    Chain::new(parts)
}
