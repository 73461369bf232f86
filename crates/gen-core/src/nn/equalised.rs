use gen_native::Direction;
use tch::Tensor;

use super::convolve::{Geometry, convolve};
use super::linear::linear;
use crate::params::{Init, Scope};

/// The scales of a layer with an equalised learning rate (Karras et al. 2018, section 4.1).
///
/// Its weights start at N(0, 1 / rate²) and are used times `gain · rate / √fan_in`, its biases times `rate`. Every
/// layer then has outputs of about the same size, and Adam moves each at the same relative speed.
///
/// The default is StyleGAN2's layer. Karras et al. (2018) have a gain of √2, and StyleGAN2's mapping network a rate of
/// 0.01.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equalised {
    /// The factor on the speed of training, above 0.
    pub rate: f64,
    /// The factor on the outputs.
    pub gain: f64,
    /// The effective initial bias; `None` leaves the bias out.
    pub bias: Option<f64>,
}

impl Default for Equalised {
    /// Rate 1, gain 1, a bias of 0.
    fn default() -> Self {
        Equalised { rate: 1.0, gain: 1.0, bias: Some(0.0) }
    }
}

/// A weight and a bias with the factors of their use.
#[derive(Debug)]
struct Weights {
    weight: Tensor,
    bias: Option<Tensor>,
    /// The factor on the weight.
    scale: f64,
    rate: f64,
}

impl Weights {
    fn new(scope: &Scope<'_>, shape: &[i64], config: Equalised) -> Self {
        let Equalised { rate, gain, bias } = config;
        assert!(rate > 0.0, "the rate should be above 0, found {rate}");
        let fan_in: i64 = shape[1..].iter().product();
        Weights {
            weight: scope.parameter("weight", shape, Init::Normal { mean: 0.0, std: 1.0 / rate }),
            bias: bias.map(|bias| scope.parameter("bias", &shape[..1], Init::Const(bias / rate))),
            scale: gain * rate / (fan_in as f64).sqrt(),
            rate,
        }
    }

    /// The weight and the bias as they are used.
    fn scaled(&self) -> (Tensor, Option<Tensor>) {
        (&self.weight * self.scale, self.bias.as_ref().map(|bias| bias * self.rate))
    }
}

/// A linear layer with an equalised learning rate.
#[derive(Debug)]
pub struct EqualisedLinear(Weights);

impl EqualisedLinear {
    /// `inputs` to `outputs` values.
    ///
    /// # Panics
    /// When the rate is not positive.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: Equalised) -> Self {
        EqualisedLinear(Weights::new(&scope, &[outputs, inputs], config))
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = self.0.scaled();
        linear(x, &weight, bias.as_ref())
    }
}

/// A convolution with an equalised learning rate.
#[derive(Debug)]
pub struct EqualisedConv2d {
    weights: Weights,
    geometry: Geometry,
}

impl EqualisedConv2d {
    /// `inputs` to `outputs` channels, with a kernel of side `kernel`.
    ///
    /// # Panics
    /// When the rate is not positive, or the groups do not divide the channels.
    pub fn new(
        scope: Scope<'_>,
        inputs: i64,
        outputs: i64,
        kernel: i64,
        geometry: Geometry,
        config: Equalised,
    ) -> Self {
        let groups = geometry.groups;
        assert!(inputs % groups == 0 && outputs % groups == 0, "{groups} groups of {inputs} and {outputs} channels");
        assert_eq!(geometry.output_padding, 0, "output padding belongs to transposed convolutions");
        let weights = Weights::new(&scope, &[outputs, inputs / groups, kernel, kernel], config);
        EqualisedConv2d { weights, geometry }
    }

    /// `x: [batch, inputs, height, width]` to `[batch, outputs, ...]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = self.weights.scaled();
        convolve(x, &weight, bias.as_ref(), self.geometry, Direction::Down)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, doubles, leaf, leaves};
    use crate::testing::assert_close_f64;

    const SLOW: Equalised = Equalised { rate: 0.01, gain: 1.5, bias: Some(1.0) };

    #[test]
    fn weights_and_biases_are_scaled_when_used() {
        let (golden, params) = (Golden::of("equalised linear"), doubles());
        let layer = EqualisedLinear::new(params.root(), 4, 3, SLOW);
        golden.load(&params);
        golden.check("y", &layer.forward(&golden.get("x")));
        let (golden, params) = (Golden::of("equalised conv"), doubles());
        let strided = Geometry { stride: 2, padding: 1, ..Geometry::default() };
        let layer = EqualisedConv2d::new(params.root(), 2, 3, 3, strided, Equalised { bias: None, ..SLOW });
        golden.load(&params);
        golden.check("y", &layer.forward(&golden.get("x")));
    }

    /// Four standard errors of the variance of 256 rows of 64 outputs.
    #[test]
    fn outputs_start_with_variance_gain_squared_around_the_bias() {
        let params = doubles();
        let layer = EqualisedLinear::new(params.root(), 256, 64, SLOW);
        let y = layer.forward(&leaf(1, &[256, 256]));
        let error = 4.0 * (2.0 / (256.0 * 64.0f64)).sqrt();
        assert_close_f64(y.var(true).double_value(&[]), 1.5 * 1.5, 2.0 * error, 0.0);
        assert_close_f64(y.mean(Kind::Double).double_value(&[]), 1.0, 0.0, 4.0 * 1.5 / 64.0);
    }

    #[test]
    fn gradients_have_gradients() {
        let params = doubles();
        let config = Equalised { rate: 0.5, ..Equalised::default() };
        let (linear, x) = (EqualisedLinear::new(params.root(), 3, 2, config), leaf(1, &[2, 3]));
        assert_derivatives(&leaves(&x, &params), || linear.forward(&x));
        let params = doubles();
        let conv = EqualisedConv2d::new(params.root(), 2, 2, 3, Geometry::same(3), config);
        let x = leaf(1, &[1, 2, 3, 3]);
        assert_derivatives(&leaves(&x, &params), || conv.forward(&x));
    }
}
