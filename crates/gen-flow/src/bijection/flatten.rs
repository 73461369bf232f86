use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::volume_preserving;

/// Rows of any shape as vectors, in row-major order; log|det| = 0.
///
/// `[batch, ...]` to `[batch, values]`.
#[derive(Debug, Clone)]
pub struct Flatten {
    /// Of a batch; -1 for the number of rows.
    shape: Vec<i64>,
}

impl Flatten {
    /// For rows of this shape: `[channels, height, width]`, `[length, values]`.
    pub fn new(shape: impl IntoIterator<Item = i64>) -> Self {
        Flatten { shape: std::iter::once(-1).chain(shape).collect() }
    }
}

impl Bijection for Flatten {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (x.flatten(1, -1), volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (y.reshape(self.shape.as_slice()), volume_preserving(y))
    }
}

impl Layer for Flatten {}
