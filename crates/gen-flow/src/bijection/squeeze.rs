use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::{squeeze, unsqueeze, volume_preserving};

/// Trades space for channels: each 2 × 2 block becomes four channels,
///
/// > y\[b, 4c + 2i + j, h, w\] = x\[b, c, 2h + i, 2w + j\], log|det| = 0
///
/// `[batch, channels, height, width]` to `[batch, 4 channels, height / 2, width / 2]`; height and width are even.
///
/// Dinh et al. 2017, section 3.6.
#[derive(Debug, Clone, Copy)]
pub struct Squeeze;

impl Bijection for Squeeze {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (squeeze(x), volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (unsqueeze(y), volume_preserving(y))
    }
}

impl Layer for Squeeze {}
