use tch::Tensor;

use super::Linear;
use crate::params::Scope;

/// The function of the gate of a [`GatedLinear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The logistic function (GLU, Dauphin et al. 2017).
    Sigmoid,
    /// The Gaussian error linear unit (GEGLU, Shazeer 2020).
    Gelu,
    /// x σ(x) (SwiGLU, Shazeer 2020).
    Silu,
}

/// A linear layer whose outputs a second one gates: (x W + b) g(x V + c).
#[derive(Debug)]
pub struct GatedLinear {
    project: Linear,
    gate: Gate,
}

impl GatedLinear {
    /// `inputs` to `outputs`. Both layers are one, `project`, the gate in its second half.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, gate: Gate) -> Self {
        GatedLinear { project: Linear::new(scope / "project", inputs, 2 * outputs), gate }
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let halves = self.project.forward(x).chunk(2, -1);
        let gate = match self.gate {
            Gate::Sigmoid => halves[1].sigmoid(),
            Gate::Gelu => halves[1].gelu("none"),
            Gate::Silu => halves[1].silu(),
        };
        &halves[0] * gate
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_gradient};

    #[test]
    fn the_second_half_gates_the_first() {
        tch::manual_seed(0);
        for (name, gate) in [("sigmoid", Gate::Sigmoid), ("gelu", Gate::Gelu), ("silu", Gate::Silu)] {
            let params = Params::new(Kind::Double, Device::Cpu);
            let layer = GatedLinear::new(params.root() / name, 2, 1, gate);
            for (name, parameter) in params.trainable() {
                let values = if name.ends_with("bias") { vec![0.0, 0.0] } else { vec![1.0, 1.0, 1.0, -1.0] };
                let values = Tensor::from_slice(&values).view(parameter.size().as_slice());
                tch::no_grad(|| parameter.shallow_clone().copy_(&values));
            }
            // (3 + 1) g(3 - 1), with g(2) of torch.sigmoid, torch.nn.functional.gelu and silu.
            let expected = match gate {
                Gate::Sigmoid => 0.8807970779778823,
                Gate::Gelu => 1.9544997361036416,
                Gate::Silu => 1.7615941559557646,
            };
            let y = layer.forward(&Tensor::from_slice(&[3.0, 1.0]).unsqueeze(0));
            assert_close(&y, &Tensor::from_slice(&[4.0 * expected]).unsqueeze(0), 1e-12, 1e-12);
            let x = Tensor::randn([3, 2], (Kind::Double, Device::Cpu));
            assert_gradient(|x| layer.forward(x).sin().sum(Kind::Double), &x, 1e-7);
        }
    }
}
