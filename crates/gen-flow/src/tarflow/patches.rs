use std::f64::consts::PI;

use tch::{Device, Kind, Tensor};

use crate::bijection::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::volume_preserving;

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

    /// The frequencies of a patch as rows of an orthonormal matrix, `f32 [values, values]`: the discrete cosine
    /// transform of its channels, rows and columns.
    pub(super) fn cosines(&self, device: Device) -> Tensor {
        let [channels, side] = [self.shape[0], self.side].map(|n| cosines(n, device));
        channels.kron(&side).kron(&side).to_kind(Kind::Float)
    }
}

/// The orthonormal discrete cosine transform (type II) of `n` values, a row a frequency.
fn cosines(n: i64, device: Device) -> Tensor {
    let index = Tensor::arange(n, (Kind::Double, device));
    let rows = ((&index + 0.5) * index.unsqueeze(1) * (PI / n as f64)).cos() * (2.0 / n as f64).sqrt();
    let _ = rows.select(0, 0).g_mul_scalar_(0.5f64.sqrt());
    rows
}

impl Bijection for Patches {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let ([channels, height, width], side) = (self.shape, self.side);
        let [patches, values] = self.size();
        let batch = x.size()[0];
        let y = x
            .reshape([batch, channels, height / side, side, width / side, side])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, patches, values]);
        (y, volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let ([channels, height, width], side) = (self.shape, self.side);
        let batch = y.size()[0];
        let x = y
            .reshape([batch, height / side, width / side, channels, side, side])
            .permute([0, 3, 1, 4, 2, 5])
            .reshape([batch, channels, height, width]);
        (x, volume_preserving(y))
    }
}

impl Layer for Patches {}
