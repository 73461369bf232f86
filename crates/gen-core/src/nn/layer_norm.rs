use tch::Tensor;

use crate::params::{Init, Scope};

/// Normalisation over the last dimension, with a scale and a shift (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    /// For vectors of `width` values.
    pub fn new(scope: Scope<'_>, width: i64) -> Self {
        LayerNorm {
            weight: scope.parameter("weight", &[width], Init::ONES),
            bias: scope.parameter("bias", &[width], Init::ZEROS),
        }
    }

    /// `x: [..., width]`, to the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), 1e-5, true)
    }
}
