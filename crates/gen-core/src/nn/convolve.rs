use gen_native::{Direction, Operands};
use tch::{Device, Tensor};

use crate::precision::{Precision, rounded};

/// The geometry of a 2-D convolution, the same along both sides of the image.
///
/// ```
/// use gen_core::nn::Geometry;
///
/// assert_eq!(Geometry::same(3), Geometry { padding: 1, ..Geometry::default() });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The step between two positions of the kernel, at least 1.
    pub stride: i64,
    /// Zero padding on all sides.
    pub padding: i64,
    /// The distance of neighbouring points of the kernel, at least 1.
    pub dilation: i64,
    /// The number of equal parts of the channels that are convolved each on its own.
    pub groups: i64,
    /// Rows and columns more at the end of the result of a transposed convolution, fewer than the stride. Without them
    /// a transposed convolution gives the smallest of the sizes that the convolution maps to its input.
    pub output_padding: i64,
}

impl Default for Geometry {
    /// Stride 1, no padding.
    fn default() -> Self {
        Geometry { stride: 1, padding: 0, dilation: 1, groups: 1, output_padding: 0 }
    }
}

impl Geometry {
    /// A kernel of odd side `kernel` keeps the size: stride 1, padding `kernel / 2`.
    pub fn same(kernel: i64) -> Self {
        Geometry { padding: kernel / 2, ..Self::default() }
    }
}

/// The 2-D convolution of `x: [batch, inputs, height, width]` with a given weight `[outputs, inputs / groups, kernel
/// height, kernel width]` and, where there is one, a `bias: [outputs]`.
///
/// Differentiable any number of times, in all arguments. It has the loops of [`Conv2d`](super::Conv2d) where there are
/// neither groups nor dilation, and its precision.
///
/// # Panics
/// When the shapes do not fit, or there is output padding.
#[track_caller]
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, geometry: Geometry) -> Tensor {
    assert_eq!(geometry.output_padding, 0, "output padding belongs to transposed convolutions");
    convolve(x, weight, bias, geometry, Direction::Down)
}

/// The transposed 2-D convolution of `x: [batch, inputs, height, width]` with a given weight `[inputs, outputs /
/// groups, kernel height, kernel width]` and, where there is one, a `bias: [outputs]`. Sides become `(height - 1)
/// stride - 2 padding + dilation (kernel - 1) + output padding + 1`. The notes on [`conv2d`] hold here too.
///
/// # Panics
/// When the shapes do not fit.
#[track_caller]
pub fn conv_transpose2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, geometry: Geometry) -> Tensor {
    convolve(x, weight, bias, geometry, Direction::Up)
}

/// [`conv2d`] of each image with its own weights: `x: [batch, inputs, height, width]` and `weights: [batch, outputs,
/// inputs / groups, kernel height, kernel width]` to `[batch, outputs, ...]`.
///
/// It is one convolution with a group for each image (Karras et al. 2020, section 2.2). Where weights differ by factors
/// of channels only, [`modulated_conv2d`](super::modulated_conv2d) is faster.
///
/// # Panics
/// When the shapes do not fit, or there is output padding.
#[track_caller]
pub fn conv2d_each(x: &Tensor, weights: &Tensor, geometry: Geometry) -> Tensor {
    assert_eq!(geometry.output_padding, 0, "output padding belongs to transposed convolutions");
    convolve_each(x, weights, geometry, Direction::Down)
}

/// [`conv_transpose2d`] of each image with its own weights: `x: [batch, inputs, height, width]` and `weights: [batch,
/// inputs, outputs / groups, kernel height, kernel width]` to `[batch, outputs, ...]`.
///
/// # Panics
/// When the shapes do not fit.
#[track_caller]
pub fn conv_transpose2d_each(x: &Tensor, weights: &Tensor, geometry: Geometry) -> Tensor {
    convolve_each(x, weights, geometry, Direction::Up)
}

#[track_caller]
fn convolve_each(x: &Tensor, weights: &Tensor, geometry: Geometry, direction: Direction) -> Tensor {
    let [batch, channels, height, width] = x.size()[..] else {
        panic!("a convolution needs a feature map, found {:?}", x.size())
    };
    assert!(
        weights.dim() == 5 && weights.size()[0] == batch,
        "a batch of {batch} images needs as many weights, found {:?}",
        weights.size()
    );
    let side_by_side = x.reshape([1, batch * channels, height, width]);
    let each = Geometry { groups: batch * geometry.groups, ..geometry };
    let y = convolve(&side_by_side, &weights.flatten(0, 1), None, each, direction);
    let [_, outputs, height, width] = y.size()[..] else { unreachable!("a convolution keeps four dimensions") };
    y.view([batch, outputs / batch, height, width])
}

/// A convolution in the current precision. Panics if the shapes do not fit, which is a bug of the caller.
#[track_caller]
pub(super) fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: Geometry,
    direction: Direction,
) -> Tensor {
    let convolved = |x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, operands| {
        let Geometry { stride, padding, dilation, groups, output_padding } = geometry;
        let result = if (dilation, groups, output_padding) == (1, 1, 0) {
            gen_native::conv2d(x, weight, bias, stride, padding, direction, operands)
        } else {
            let (stride, padding, dilation) = ([stride, stride], [padding, padding], [dilation, dilation]);
            let up = direction == Direction::Up;
            x.f_convolution(weight, bias, stride, padding, dilation, up, [output_padding, output_padding], groups)
        };
        result.unwrap_or_else(|error| panic!("a feature map of {:?} does not fit: {error}", x.size()))
    };
    match Precision::current() {
        Precision::F32 => convolved(x, weight, bias, Operands::Exact),
        Precision::Bf16 if x.device() == Device::Cpu => convolved(x, weight, bias, Operands::Rounded),
        Precision::Bf16 => {
            let y = convolved(&rounded(x), &rounded(weight), None, Operands::Exact).to_kind(x.kind());
            match bias {
                Some(bias) => y + bias.unsqueeze(-1).unsqueeze(-1),
                None => y,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, leaf};

    const DILATED: Geometry = Geometry { stride: 1, padding: 2, dilation: 2, groups: 2, output_padding: 0 };
    const DOUBLED: Geometry = Geometry { stride: 2, padding: 1, dilation: 1, groups: 2, output_padding: 1 };

    #[test]
    fn groups_and_dilation_are_pytorchs() {
        let golden = Golden::of("convolve");
        let [x, weight, bias] = ["x", "weight", "bias"].map(|name| golden.get(name));
        golden.check("dilated", &conv2d(&x, &weight, Some(&bias), DILATED));
        golden.check("doubled", &conv_transpose2d(&x, &weight, Some(&bias), DOUBLED));
    }

    /// Weights of an image are those of a batch of one.
    #[test]
    fn each_image_has_its_own_weights() {
        let x = leaf(1, &[3, 4, 5, 5]);
        let weights = leaf(2, &[3, 4, 2, 3, 3]);
        let one = |function: fn(&Tensor, &Tensor, Option<&Tensor>, Geometry) -> Tensor, geometry| {
            let each: Vec<_> = (0..3).map(|i| function(&x.narrow(0, i, 1), &weights.get(i), None, geometry)).collect();
            Tensor::cat(&each, 0)
        };
        crate::testing::assert_close(&conv2d_each(&x, &weights, DILATED), &one(conv2d, DILATED), 1e-9, 1e-9);
        let up = conv_transpose2d_each(&x, &weights, DOUBLED);
        crate::testing::assert_close(&up, &one(conv_transpose2d, DOUBLED), 1e-9, 1e-9);
    }

    #[test]
    fn gradients_have_gradients() {
        let [x, weight, bias] = [leaf(1, &[2, 4, 3, 3]), leaf(2, &[4, 2, 3, 3]), leaf(3, &[4])];
        let all = [x.shallow_clone(), weight.shallow_clone(), bias.shallow_clone()];
        assert_derivatives(&all, || conv2d(&x, &weight, Some(&bias), DILATED));
        assert_derivatives(&all, || conv_transpose2d(&x, &weight, Some(&bias), DOUBLED));
        let weights = leaf(4, &[2, 2, 4, 2, 2]);
        assert_derivatives(&[x.shallow_clone(), weights.shallow_clone()], || {
            conv2d_each(&x, &weights, Geometry::default())
        });
    }

    /// A batch in f32 that fills a vector takes the loops of gen-native, and its penalty libtorch's operations.
    #[test]
    fn loops_have_the_penalty_of_single_images() {
        let [x, weight] = [leaf(1, &[32, 3, 6, 6]), leaf(2, &[4, 3, 3, 3])]
            .map(|leaf| leaf.detach().to_kind(tch::Kind::Float).set_requires_grad(true));
        let penalty_gradient = |x: &Tensor| {
            let sum = conv2d(x, &weight, None, Geometry::same(3)).sin().sum(tch::Kind::Float);
            let penalty = Tensor::run_backward(&[sum], &[x], true, true).remove(0).square().sum(tch::Kind::Float);
            Tensor::run_backward(&[penalty], &[&weight], false, false).remove(0)
        };
        let each = x.split(1, 0).into_iter().map(|x| penalty_gradient(&x.detach().set_requires_grad(true)));
        let each = each.reduce(|sum, gradient| sum + gradient).unwrap();
        crate::testing::assert_close(&penalty_gradient(&x), &each, 1e-4, 1e-3);
    }

    #[test]
    #[should_panic(expected = "output padding")]
    fn a_convolution_has_no_output_padding() {
        let _ = conv2d(&leaf(1, &[1, 4, 3, 3]), &leaf(2, &[4, 2, 3, 3]), None, DOUBLED);
    }
}
