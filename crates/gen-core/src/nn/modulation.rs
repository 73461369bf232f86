use gen_native::Direction;
use tch::Tensor;

use super::convolve::{Geometry, convolve};
use super::resample::{BLUR, upfirdn2d};
use super::{Equalised, EqualisedLinear};
use crate::params::{Init, Scope};

/// The scale of the outputs of a modulated convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demodulation {
    /// Weights of each output channel are divided by their norm: StyleGAN2's convolutions.
    On,
    /// Weights stay as the styles make them: StyleGAN2's layers to colours.
    Off,
}

/// ε in the norm of weights (Karras et al. 2020, equation 3).
const EPSILON: f64 = 1e-8;

/// The weights of a modulated convolution for each image (Karras et al. 2020, section 2.2, equations 1 and 3): `weight:
/// [outputs, inputs, kernel height, kernel width]` and `styles: [batch, inputs]` to `[batch, outputs, inputs, ...]`,
/// for [`conv2d_each`](super::conv2d_each).
///
/// [`modulated_conv2d`] gives the result of the convolution without making them.
pub fn modulated_weights(weight: &Tensor, styles: &Tensor, demodulation: Demodulation) -> Tensor {
    let [batch, inputs] = styles.size()[..] else { panic!("styles are [batch, inputs], found {:?}", styles.size()) };
    let weights = weight.unsqueeze(0) * styles.view([batch, 1, inputs, 1, 1]);
    match demodulation {
        Demodulation::Off => weights,
        Demodulation::On => {
            let squares = weights.square().sum_dim_intlist([2, 3, 4].as_slice(), true, weights.kind());
            weights * (squares + EPSILON).rsqrt()
        }
    }
}

/// A convolution of `x: [batch, inputs, height, width]` with [`modulated_weights`] of `weight: [outputs, inputs, kernel
/// height, kernel width]` and `styles: [batch, inputs]` (Karras et al. 2020, section 2.2).
///
/// Inputs are multiplied by the styles and outputs divided by the norms, which equals other weights for each image, and
/// is one convolution with the same weight for all. Differentiable any number of times.
///
/// # Panics
/// When the shapes do not fit, or there are groups.
pub fn modulated_conv2d(
    x: &Tensor,
    weight: &Tensor,
    styles: &Tensor,
    demodulation: Demodulation,
    geometry: Geometry,
) -> Tensor {
    assert_eq!(geometry.output_padding, 0, "output padding belongs to transposed convolutions");
    modulated(x, weight, styles, demodulation, geometry, Direction::Down)
}

/// As [`modulated_conv2d`], by a transposed convolution. `weight` is `[outputs, inputs, ...]` here too.
///
/// # Panics
/// When the shapes do not fit, or there are groups.
pub fn modulated_conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    styles: &Tensor,
    demodulation: Demodulation,
    geometry: Geometry,
) -> Tensor {
    modulated(x, weight, styles, demodulation, geometry, Direction::Up)
}

fn modulated(
    x: &Tensor,
    weight: &Tensor,
    styles: &Tensor,
    demodulation: Demodulation,
    geometry: Geometry,
    direction: Direction,
) -> Tensor {
    assert_eq!(geometry.groups, 1, "a modulated convolution has no groups");
    let per_map = |channels: &Tensor| channels.unsqueeze(-1).unsqueeze(-1);
    let turned = match direction {
        Direction::Down => weight.shallow_clone(),
        Direction::Up => weight.transpose(0, 1),
    };
    let y = convolve(&(x * per_map(styles)), &turned, None, geometry, direction);
    match demodulation {
        Demodulation::Off => y,
        Demodulation::On => {
            let squares = weight.square().sum_dim_intlist([2, 3].as_slice(), false, weight.kind());
            let norms = styles.square().matmul(&squares.tr()) + EPSILON;
            y * per_map(&norms.rsqrt())
        }
    }
}

/// The size of the result of a [`ModulatedConv2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputSize {
    /// That of the input.
    Same,
    /// Twice that of the input: a transposed convolution of stride 2, blurred by `[1, 3, 3, 1]`.
    Double,
}

/// StyleGAN2's convolution: a style from a latent vector modulates the weights (Karras et al. 2020, figure 2c).
///
/// The names are those of StyleGAN2's code in PyTorch: `weight` from N(0, 1), `bias` from 0, and `affine`, the
/// equalised layer that makes styles, whose bias starts at 1. Without demodulation the weight is used times 1/√fan_in.
/// Noise and activation are the caller's.
///
/// ```
/// use gen_core::nn::{Demodulation, ModulatedConv2d, OutputSize};
/// use gen_core::params::Params;
/// use tch::{Device, Kind, Tensor};
///
/// let options = (Kind::Float, Device::Cpu);
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let layer = ModulatedConv2d::new(params.root(), [8, 4], 16, 3, OutputSize::Double, Demodulation::On);
/// let y = layer.forward(&Tensor::randn([2, 8, 5, 5], options), &Tensor::randn([2, 16], options));
/// assert_eq!(y.size(), [2, 4, 10, 10]);
/// ```
#[derive(Debug)]
pub struct ModulatedConv2d {
    affine: EqualisedLinear,
    weight: Tensor,
    bias: Tensor,
    size: OutputSize,
    demodulation: Demodulation,
}

impl ModulatedConv2d {
    /// `inputs` to `outputs` channels with a kernel of odd side `kernel`, by latent vectors of `latent` values.
    ///
    /// # Panics
    /// When the side of the kernel is even.
    pub fn new(
        scope: Scope<'_>,
        [inputs, outputs]: [i64; 2],
        latent: i64,
        kernel: i64,
        size: OutputSize,
        demodulation: Demodulation,
    ) -> Self {
        assert_eq!(kernel % 2, 1, "the kernel should have an odd side, found {kernel}");
        let styles = Equalised { bias: Some(1.0), ..Equalised::default() };
        let normal = Init::Normal { mean: 0.0, std: 1.0 };
        ModulatedConv2d {
            affine: EqualisedLinear::new(&scope / "affine", latent, inputs, styles),
            weight: scope.parameter("weight", &[outputs, inputs, kernel, kernel], normal),
            bias: scope.parameter("bias", &[outputs], Init::ZEROS),
            size,
            demodulation,
        }
    }

    /// `x: [batch, inputs, height, width]` and `latents: [batch, latent]` to `[batch, outputs, height, width]`, or
    /// twice the sides.
    pub fn forward(&self, x: &Tensor, latents: &Tensor) -> Tensor {
        let styles = self.affine.forward(latents);
        let [inputs, kernel] = [self.weight.size()[1], self.weight.size()[2]];
        let styles = match self.demodulation {
            Demodulation::On => styles,
            Demodulation::Off => styles / ((inputs * kernel * kernel) as f64).sqrt(),
        };
        let y = match self.size {
            OutputSize::Same => modulated_conv2d(x, &self.weight, &styles, self.demodulation, Geometry::same(kernel)),
            OutputSize::Double => {
                let doubled = Geometry { stride: 2, ..Geometry::default() };
                let y = modulated_conv_transpose2d(x, &self.weight, &styles, self.demodulation, doubled);
                // The result is 2 side + kernel - 2 long, and the blur takes 3 off.
                upfirdn2d(&y, &BLUR.map(|tap| 2.0 * tap), 1, 1, [(5 - kernel) / 2; 2])
            }
        };
        y + self.bias.unsqueeze(-1).unsqueeze(-1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, doubles, leaf, leaves};
    use crate::nn::{conv_transpose2d_each, conv2d_each};
    use crate::testing::assert_close;

    #[test]
    fn styles_make_other_weights_for_each_image() {
        let [x, weight, styles] = [leaf(1, &[3, 4, 5, 5]), leaf(2, &[2, 4, 3, 3]), leaf(3, &[3, 4])];
        let doubled = Geometry { stride: 2, padding: 1, output_padding: 1, ..Geometry::default() };
        for demodulation in [Demodulation::On, Demodulation::Off] {
            let weights = modulated_weights(&weight, &styles, demodulation);
            let expected = conv2d_each(&x, &weights, Geometry::same(3));
            let y = modulated_conv2d(&x, &weight, &styles, demodulation, Geometry::same(3));
            assert_close(&y, &expected, 1e-9, 1e-9);
            let expected = conv_transpose2d_each(&x, &weights.transpose(1, 2), doubled);
            let y = modulated_conv_transpose2d(&x, &weight, &styles, demodulation, doubled);
            assert_close(&y, &expected, 1e-9, 1e-9);
        }
    }

    #[test]
    fn layers_are_those_of_stylegan2() {
        let cases = [
            ("modulated same", 3, OutputSize::Same, Demodulation::On),
            ("modulated double", 3, OutputSize::Double, Demodulation::On),
            ("modulated colours", 1, OutputSize::Same, Demodulation::Off),
        ];
        for (case, kernel, size, demodulation) in cases {
            let (golden, params) = (Golden::of(case), doubles());
            let layer = ModulatedConv2d::new(params.root(), [4, 3], 5, kernel, size, demodulation);
            golden.load(&params);
            golden.check("y", &layer.forward(&golden.get("x"), &golden.get("latents")));
        }
    }

    /// The path-length penalty of Karras et al. (2020) differentiates by the latents.
    #[test]
    fn gradients_have_gradients() {
        for size in [OutputSize::Same, OutputSize::Double] {
            let (params, x) = (doubles(), leaf(1, &[2, 2, 3, 3]).detach());
            let layer = ModulatedConv2d::new(params.root(), [2, 2], 3, 3, size, Demodulation::On);
            let latents = leaf(2, &[2, 3]);
            assert_derivatives(&leaves(&latents, &params), || layer.forward(&x, &latents));
        }
    }
}
