use tch::Tensor;

use super::{Bijection, Given, volume_preserving};

/// Images as vectors, in row-major order; log|det| = 0.
///
/// `[batch, channels, height, width]` to `[batch, channels · height · width]`.
#[derive(Debug, Clone, Copy)]
pub struct Flatten {
    shape: [i64; 3],
}

impl Flatten {
    /// For images of `[channels, height, width]`.
    pub fn new(shape: [i64; 3]) -> Self {
        Flatten { shape }
    }
}

impl Bijection for Flatten {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (x.flatten(1, -1), volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let [channels, height, width] = self.shape;
        (y.reshape([-1, channels, height, width]), volume_preserving(y))
    }
}
