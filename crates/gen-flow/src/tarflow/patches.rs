use tch::Tensor;

use crate::bijection::{Bijection, Given, volume_preserving};

/// An image as a sequence of its patches, row by row: `[batch, channels, height, width]` to
/// `[batch, patches, channels side²]`.
#[derive(Debug)]
pub(super) struct Patches {
    side: i64,
    /// Channels, height and width of the images.
    shape: [i64; 3],
}

impl Patches {
    /// Squares of `side` pixels, which divides the height and the width.
    pub(super) fn new(side: i64, shape: [i64; 3]) -> Self {
        Patches { side, shape }
    }

    /// How many, and the values in each.
    pub(super) fn size(&self) -> [i64; 2] {
        let ([channels, height, width], side) = (self.shape, self.side);
        [height / side * (width / side), channels * side * side]
    }
}

impl Bijection for Patches {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let ([channels, height, width], side) = (self.shape, self.side);
        let [patches, values] = self.size();
        let y = x
            .reshape([-1, channels, height / side, side, width / side, side])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([-1, patches, values]);
        (y, volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let ([channels, height, width], side) = (self.shape, self.side);
        let x = y
            .reshape([-1, height / side, width / side, channels, side, side])
            .permute([0, 3, 1, 4, 2, 5])
            .reshape([-1, channels, height, width]);
        (x, volume_preserving(y))
    }
}

/// The coordinates of points as a sequence: `[batch, dimension]` to `[batch, dimension, 1]`.
#[derive(Debug)]
pub(super) struct Coordinates;

impl Bijection for Coordinates {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (x.unsqueeze(2), volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (y.squeeze_dim(2), volume_preserving(y))
    }
}
