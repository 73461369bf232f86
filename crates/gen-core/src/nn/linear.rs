use gen_native::{is_batch_innermost, prefers_batch_innermost};
use tch::{Kind, Tensor};

use crate::params::{Init, Scope};
use crate::precision::{Precision, rounded};

/// y = x Wᵀ + b over the last dimension.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

/// Below this number of products, `f32` is as fast as bfloat16 with its conversions.
const WORTH_ROUNDING: usize = 1 << 22;

impl Linear {
    /// A layer with PyTorch's initial weights, U(-1/√inputs, 1/√inputs).
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let init = Init::fan_in(inputs);
        Self::with_init(scope, inputs, outputs, init, init)
    }

    /// A layer whose weights and biases start at 0.
    pub fn zeros(scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        Self::with_init(scope, inputs, outputs, Init::ZEROS, Init::ZEROS)
    }

    /// A layer with the given initial weights and biases.
    pub fn with_init(scope: Scope<'_>, inputs: i64, outputs: i64, weight: Init, bias: Init) -> Self {
        Linear {
            weight: scope.parameter("weight", &[outputs, inputs], weight),
            bias: scope.parameter("bias", &[outputs], bias),
        }
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if is_rounded(x, &self.weight) {
            return linear(x, &self.weight, Some(&self.bias));
        }
        perceptron(x, &self.parameters())
    }

    /// The weight and the bias.
    pub(super) fn parameters(&self) -> [&Tensor; 2] {
        [&self.weight, &self.bias]
    }

    /// A feature map `x: [batch, channels, height, width]` to `[batch, outputs]`: the layer of `x.flatten(1, -1)`.
    pub fn of_map(&self, x: &Tensor) -> Tensor {
        if !is_batch_innermost(x) {
            return self.forward(&x.flatten(1, -1));
        }
        // In memory the map is [height, width, channels, batch]. Rearranging the weights moves fewer values.
        let [batch, channels, height, width] = sizes(x);
        let values = x.permute([2, 3, 1, 0]).reshape([-1, batch]);
        let weight = self.weight.view([-1, channels, height, width]).permute([0, 2, 3, 1]);
        let weight = weight.reshape([-1, values.size()[0]]);
        self.bias.unsqueeze(1).addmm(&weight, &values).tr()
    }

    /// `x: [batch, inputs]` to a feature map of `[channels, height, width]`, whose product is `outputs`: a view of the
    /// result.
    pub fn to_map(&self, x: &Tensor, [channels, height, width]: [i64; 3]) -> Tensor {
        if !prefers_batch_innermost(x) {
            return self.forward(x).view([-1, channels, height, width]);
        }
        let rearranged = |t: &Tensor, columns| {
            t.view([channels, height, width, columns]).permute([1, 2, 0, 3]).reshape([-1, columns])
        };
        let weight = rearranged(&self.weight, self.weight.size()[1]);
        let map = rearranged(&self.bias, 1).addmm(&weight, &x.tr());
        map.view([height, width, channels, -1]).permute([3, 2, 0, 1])
    }
}

/// Whether the product of `x: [..., inputs]` and `weight: [outputs, inputs]` has its operands rounded.
fn is_rounded(x: &Tensor, weight: &Tensor) -> bool {
    let products = x.numel() * weight.size()[0] as usize;
    Precision::current() == Precision::Bf16 && x.kind() == Kind::Float && products >= WORTH_ROUNDING
}

/// The layer of a given weight, `[outputs, inputs]`, in the current precision: `x: [..., inputs]` to `[..., outputs]`.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    if !is_rounded(x, weight) {
        return x.linear(weight, bias);
    }
    let y = rounded(x).linear(&rounded(weight), None::<&Tensor>).to_kind(Kind::Float);
    match bias {
        Some(bias) => y + bias,
        None => y,
    }
}

/// [`gen_native::perceptron`] of layers that fit each other. Panics if `x` does not fit, which is a bug of the caller.
#[track_caller]
pub(super) fn perceptron(x: &Tensor, layers: &[&Tensor]) -> Tensor {
    gen_native::perceptron(x, layers).unwrap_or_else(|error| panic!("rows of {:?} do not fit: {error}", x.size()))
}

fn sizes(x: &Tensor) -> [i64; 4] {
    x.size4().map_or_else(|_| panic!("a feature map has four dimensions, found {:?}", x.size()), Into::into)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::assert_close;

    /// Compares feature maps in both layouts with flattened vectors.
    #[test]
    fn feature_maps_are_flattened_vectors() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let (from, to) = (Linear::new(&params.root() / "from", 24, 5), Linear::new(&params.root() / "to", 5, 24));
        let x = Tensor::randn([32, 2, 3, 4], (Kind::Float, Device::Cpu));
        let y = from.forward(&x.flatten(1, -1));
        let map = to.forward(&y).view([32, 2, 3, 4]);
        for x in [x.shallow_clone(), gen_native::batch_innermost(&x).unwrap()] {
            assert_close(&from.of_map(&x), &y, 1e-5, 1e-5);
            assert_close(&to.to_map(&y, [2, 3, 4]), &map, 1e-5, 1e-5);
        }
        let few = to.to_map(&y.narrow(0, 0, 2), [2, 3, 4]);
        assert_close(&few, &map.narrow(0, 0, 2), 1e-5, 1e-5);
        assert_eq!(to.to_map(&y.narrow(0, 0, 0), [2, 3, 4]).size(), [0, 2, 3, 4]);
    }

    #[test]
    fn only_large_products_round_their_operands() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let layer = Linear::new(params.root(), 128, 128);
        let x = Tensor::randn([256, 128], (Kind::Float, Device::Cpu));
        let exact = layer.forward(&x);
        let _region = Precision::Bf16.region();
        let difference = |rows| {
            let y = layer.forward(&x.narrow(0, 0, rows));
            assert_eq!(y.kind(), Kind::Float);
            (y - exact.narrow(0, 0, rows)).abs().max().double_value(&[])
        };
        assert!((1e-4..0.1).contains(&difference(256)), "{}", difference(256));
        assert!(difference(1) < 1e-5, "{}", difference(1));
    }
}
