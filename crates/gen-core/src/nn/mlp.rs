use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::Linear;
use super::linear::perceptron;
use crate::params::Scope;
use crate::precision::Precision;

/// A pointwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(0, x)
    Relu,
    /// x σ(x)
    Silu,
    /// x Φ(x)
    Gelu,
    /// tanh x
    Tanh,
    /// x where positive, 0.2 x elsewhere
    LeakyRelu,
}

impl Activation {
    /// Applies it.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu(),
            Activation::Silu => x.silu(),
            Activation::Gelu => x.gelu("none"),
            Activation::Tanh => x.tanh(),
            // tch's `leaky_relu` has a fixed slope of 0.01. The backward kernel with x as the gradient is the function
            // itself, and far cheaper than a maximum and its backward pass.
            Activation::LeakyRelu => x.detach().leaky_relu_backward(x, 0.2, false),
        }
    }
}

/// Divides an activation after a normalisation into the part fused into its pass and the remainder.
pub(super) fn fused(activation: Option<Activation>) -> (gen_native::Activation, Option<Activation>) {
    match activation {
        None => (gen_native::Activation::None, None),
        Some(Activation::Relu) => (gen_native::Activation::Relu, None),
        Some(Activation::Silu) => (gen_native::Activation::Silu, None),
        Some(Activation::LeakyRelu) => (gen_native::Activation::LeakyRelu, None),
        Some(Activation::Gelu | Activation::Tanh) => (gen_native::Activation::None, activation),
    }
}

/// A multilayer perceptron: linear layers with a nonlinearity between them.
#[derive(Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
}

impl Mlp {
    /// `sizes` from input to output: `[2, 64, 64, 4]` has two hidden layers.
    pub fn new(scope: Scope<'_>, sizes: &[i64], activation: Activation) -> Self {
        Self::build(scope, sizes, activation, false)
    }

    /// As [`Mlp::new`], with a last layer that starts at 0.
    pub fn zero_output(scope: Scope<'_>, sizes: &[i64], activation: Activation) -> Self {
        Self::build(scope, sizes, activation, true)
    }

    fn build(scope: Scope<'_>, sizes: &[i64], activation: Activation, zero_output: bool) -> Self {
        let last = sizes.len().saturating_sub(2);
        let layers = sizes
            .windows(2)
            .enumerate()
            .map(|(i, pair)| match zero_output && i == last {
                true => Linear::zeros(&scope / i, pair[0], pair[1]),
                false => Linear::new(&scope / i, pair[0], pair[1]),
            })
            .collect();
        Mlp { layers, activation }
    }

    /// `x: [..., first size]` to `[..., last size]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let fused = self.activation == Activation::Relu && Precision::current() == Precision::F32;
        if fused && !self.layers.is_empty() {
            let layers: Vec<&Tensor> = self.layers.iter().flat_map(Linear::parameters).collect();
            return perceptron(x, &layers);
        }
        let mut x = x.shallow_clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = self.activation.apply(&x);
            }
            x = layer.forward(&x);
        }
        x
    }
}

/// A perceptron of residual blocks `x + W₂ f(W₁ f(x))` between two linear layers.
#[derive(Debug)]
pub struct ResidualMlp {
    input: Linear,
    blocks: Vec<(Linear, Linear)>,
    output: Linear,
    activation: Activation,
}

impl ResidualMlp {
    /// `blocks` residual blocks of `width` units between `inputs` and `outputs`.
    pub fn new(scope: Scope<'_>, inputs: i64, width: i64, blocks: usize, outputs: i64, activation: Activation) -> Self {
        let block = |i: usize| {
            let place = &scope / format!("blocks.{i}");
            (Linear::new(&place / "0", width, width), Linear::new(&place / "1", width, width))
        };
        ResidualMlp {
            input: Linear::new(&scope / "input", inputs, width),
            blocks: (0..blocks).map(block).collect(),
            output: Linear::new(&scope / "output", width, outputs),
            activation,
        }
    }

    /// `x: [batch, inputs]` to `[batch, outputs]`. `condition`, such as a time embedding, of `[batch, width]` or
    /// `[width]`, is added after the first layer.
    pub fn forward(&self, x: &Tensor, condition: Option<&Tensor>) -> Tensor {
        let f = |x: &Tensor| self.activation.apply(x);
        let mut h = self.input.forward(x);
        if let Some(condition) = condition {
            h += condition;
        }
        for (first, second) in &self.blocks {
            h = &h + second.forward(&f(&first.forward(&f(&h))));
        }
        self.output.forward(&f(&h))
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::testing::{assert_close, assert_gradient};

    #[test]
    fn leaky_relu_has_slope_a_fifth_below_zero() {
        let x = Tensor::from_slice(&[-2.0, -0.5, 0.5, 3.0]);
        let leaky = |x: &Tensor| Activation::LeakyRelu.apply(x);
        assert_close(&leaky(&x), &Tensor::from_slice(&[-0.4, -0.1, 0.5, 3.0]), 1e-12, 0.0);
        assert_gradient(|x| (leaky(x) * x).sum(Kind::Double), &x, 1e-8);
    }
}
