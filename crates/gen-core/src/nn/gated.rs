use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::Linear;
use crate::params::Scope;

/// The nonlinearity of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// σ: the gated linear unit, GLU (Dauphin et al. 2017).
    Sigmoid,
    /// x Φ(x): GEGLU (Shazeer 2020).
    Gelu,
    /// x σ(x): SwiGLU with β = 1 (Shazeer 2020).
    Silu,
}

impl Gate {
    /// The value of the gate.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Gate::Sigmoid => x.sigmoid(),
            Gate::Gelu => x.gelu("none"),
            Gate::Silu => x.silu(),
        }
    }
}

/// The first half of `x` along `dimension` times the gate of the second half: `torch.nn.functional.glu` for
/// [`Gate::Sigmoid`]. The dimension may count from the end.
///
/// # Panics
/// When the dimension has an odd length.
pub fn gated(x: &Tensor, dimension: i64, gate: Gate) -> Tensor {
    let length = x.size()[dimension.rem_euclid(x.dim() as i64) as usize];
    assert_eq!(length % 2, 0, "the halves of dimension {dimension} of {:?}", x.size());
    let half = |start| x.narrow(dimension, start, length / 2);
    half(0) * gate.apply(&half(length / 2))
}

/// A gated linear unit, (x V + c) ⊗ gate(x W + b): one linear layer whose first outputs are the values and whose second
/// ones the gates (Shazeer 2020, equations 5 and 6).
#[derive(Debug)]
pub struct GatedLinear {
    linear: Linear,
    gate: Gate,
}

impl GatedLinear {
    /// `inputs` to `outputs` values. The layer has twice the weights of a [`Linear`].
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, gate: Gate) -> Self {
        GatedLinear { linear: Linear::new(scope, inputs, 2 * outputs), gate }
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        gated(&self.linear.forward(x), -1, self.gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, doubles, leaf, leaves};

    const GATES: [(&str, Gate); 3] = [("glu", Gate::Sigmoid), ("geglu", Gate::Gelu), ("swiglu", Gate::Silu)];

    #[test]
    fn gates_are_pytorchs() {
        for (name, gate) in GATES {
            let (golden, params) = (Golden::of("gated"), doubles());
            let layer = GatedLinear::new(params.root(), 3, 2, gate);
            golden.load(&params);
            golden.check(name, &layer.forward(&golden.get("x")));
        }
    }

    #[test]
    fn channels_are_gated_too() {
        let x = leaf(1, &[2, 4, 3, 3]);
        assert_eq!(gated(&x, 1, Gate::Sigmoid), gated(&x.transpose(1, 3), 3, Gate::Sigmoid).transpose(1, 3));
        crate::testing::assert_close(&gated(&x, -3, Gate::Sigmoid), &x.glu(1), 1e-12, 1e-12);
    }

    #[test]
    fn gradients_have_gradients() {
        for (_, gate) in GATES {
            let (params, x) = (doubles(), leaf(1, &[2, 3]));
            let layer = GatedLinear::new(params.root(), 3, 2, gate);
            assert_derivatives(&leaves(&x, &params), || layer.forward(&x));
        }
    }
}
