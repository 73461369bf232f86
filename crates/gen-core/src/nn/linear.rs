use tch::Tensor;

use crate::params::{Init, Scope};

/// y = x Wᵀ + b over the last dimension.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// A layer with PyTorch's initial weights, U(-1/√inputs, 1/√inputs).
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let init = Init::fan_in(inputs);
        Self::with_init(scope, inputs, outputs, init, init)
    }

    /// A layer that gives 0 until it is trained.
    pub fn zeros(scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        Self::with_init(scope, inputs, outputs, Init::ZEROS, Init::ZEROS)
    }

    /// A layer with chosen initial weights and biases.
    pub fn with_init(scope: Scope<'_>, inputs: i64, outputs: i64, weight: Init, bias: Init) -> Self {
        Linear {
            weight: scope.parameter("weight", &[outputs, inputs], weight),
            bias: scope.parameter("bias", &[outputs], bias),
        }
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}
