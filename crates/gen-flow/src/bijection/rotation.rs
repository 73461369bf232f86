use gen_core::params::{Init, Scope};
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::volume_preserving;

/// A learned rotation of the coordinates, or of the channels at every position:
///
/// > y = exp(A - Aᵀ) x, log|det| = 0
///
/// `x: [batch, size, ...]`. It starts as the rotation that initial parameters make it, near the identity.
#[derive(Debug)]
pub struct Rotation {
    generator: Tensor,
}

impl Rotation {
    /// Of this many coordinates or channels.
    pub fn new(scope: Scope<'_>, size: i64) -> Self {
        let init = Init::Normal { mean: 0.0, std: 0.5 / (size as f64).sqrt() };
        Rotation { generator: scope.parameter("generator", &[size, size], init) }
    }

    fn turn(&self, x: &Tensor, back: bool) -> (Tensor, Tensor) {
        let skew = &self.generator - self.generator.tr();
        let rotation = if back { -skew } else { skew }.matrix_exp();
        // Over dimension 1, whatever comes after it.
        let y = x.transpose(1, -1).matmul(&rotation.tr()).transpose(1, -1);
        (y, volume_preserving(x))
    }
}

impl Bijection for Rotation {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        self.turn(x, false)
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        self.turn(y, true)
    }
}

impl Layer for Rotation {
    fn is_step(&self) -> bool {
        true
    }
}
