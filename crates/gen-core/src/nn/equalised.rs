use tch::Tensor;

use super::conv::conv2d;
use crate::params::{Init, Scope};

/// A linear layer with an equalised learning rate (Karras et al. 2018, section 4.1): weights start at N(0, 1) and are
/// scaled by 1/√inputs in each pass, so that Adam moves all layers at the same speed.
#[derive(Debug)]
pub struct EqualisedLinear {
    weight: Tensor,
    bias: Tensor,
    rate: f64,
    scale: f64,
}

impl EqualisedLinear {
    /// `inputs` to `outputs`, with this initial bias. `rate` is a factor on the learning rate of the layer; that of
    /// StyleGAN's mapping network is 0.01.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, bias: f64, rate: f64) -> Self {
        let normal = Init::Normal { mean: 0.0, std: 1.0 / rate };
        EqualisedLinear {
            weight: scope.parameter("weight", &[outputs, inputs], normal),
            bias: scope.parameter("bias", &[outputs], Init::Const(bias / rate)),
            rate,
            scale: rate / (inputs as f64).sqrt(),
        }
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&(&self.weight * self.scale), Some(&self.bias * self.rate))
    }
}

/// A convolution with an equalised learning rate, which keeps the size; see [`EqualisedLinear`].
#[derive(Debug)]
pub struct EqualisedConv2d {
    weight: Tensor,
    bias: Tensor,
    scale: f64,
    padding: i64,
}

impl EqualisedConv2d {
    /// `inputs` to `outputs` channels by a kernel of odd side `kernel`.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, kernel: i64) -> Self {
        let normal = Init::Normal { mean: 0.0, std: 1.0 };
        EqualisedConv2d {
            weight: scope.parameter("weight", &[outputs, inputs, kernel, kernel], normal),
            bias: scope.parameter("bias", &[outputs], Init::ZEROS),
            scale: 1.0 / ((inputs * kernel * kernel) as f64).sqrt(),
            padding: kernel / 2,
        }
    }

    /// `x: [batch, inputs, height, width]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        conv2d(x, &(&self.weight * self.scale), Some(&self.bias), 1, self.padding)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient};

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn a_layer_is_the_plain_one_with_scaled_weights() {
        tch::manual_seed(0);
        let params = Params::new(Kind::Double, Device::Cpu);
        let root = params.root();
        let linear = EqualisedLinear::new(&root / "linear", 16, 3, 1.0, 0.01);
        let x = Tensor::randn([5, 16], F64);
        let expected = x.matmul(&(&linear.weight * (0.01 / 4.0)).tr()) + 1.0;
        assert_close(&linear.forward(&x), &expected, 1e-12, 1e-12);
        assert_gradient(|x| linear.forward(x).sin().sum(Kind::Double), &x, 1e-7);
        let conv = EqualisedConv2d::new(&root / "conv", 2, 3, 3);
        let x = Tensor::randn([2, 2, 4, 5], F64);
        let weight = &conv.weight / 18f64.sqrt();
        let expected = x.conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
        assert_close(&conv.forward(&x), &expected, 1e-12, 1e-12);
        assert_gradient(|x| conv.forward(x).sin().sum(Kind::Double), &x, 1e-7);
    }

    #[test]
    fn the_deviation_of_values_is_kept_whatever_the_rate() {
        tch::manual_seed(1);
        let params = Params::new(Kind::Double, Device::Cpu);
        for (name, rate) in [("one", 1.0), ("hundredth", 0.01)] {
            let layer = EqualisedLinear::new(params.root() / name, 200, 200, 0.0, rate);
            let y = layer.forward(&Tensor::randn([500, 200], F64));
            assert_close_f64(y.std(true).double_value(&[]), 1.0, 0.0, 0.02);
        }
    }
}
