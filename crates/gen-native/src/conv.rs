//! Convolutions.

use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_conv_stack, gn_conv2d};

/// Whether a convolution goes from the large feature map to the small one, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A convolution; its weights are `[outputs, inputs, height, width]`.
    Down,
    /// A transposed convolution; its weights are `[inputs, outputs, height, width]`.
    Up,
}

/// What the two sides of a product are rounded to. Products are added in single precision, and tensors stay `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Nothing.
    Exact,
    /// bfloat16, in the forward pass and in the backward one. Only loops of this crate do it, and only if the processor
    /// multiplies it ([`has_bfloat16`](crate::has_bfloat16)): what is left to libtorch, such as a batch of less than 16, stays exact.
    Rounded,
}

/// A 2-D convolution of `x: [batch, inputs, height, width]`, without groups or dilation.
///
/// In single precision, on a processor with AVX2 or AVX-512, and with a batch that fills a vector (8 or 16 images), it
/// is done by loops that keep the batch innermost, and so is the result ([`is_batch_innermost`](crate::is_batch_innermost));
/// they are several times as fast as libtorch's for strided and for small feature maps. Anything else is done by
/// libtorch. Gradients of any order are those of libtorch.
///
/// Tensors have floating-point numbers, lie in any way (expanded ones too) and are on one device; the gradient of a weight
/// lies as the weight does, or contiguous where entries of the weight share memory. Nothing is changed in place. Any thread
/// may call it, and several may go back through one graph that is kept.
///
/// # Errors
/// When shapes, kinds or devices do not fit, or a tensor is undefined or sparse.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: i64,
    direction: Direction,
    operands: Operands,
) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    let bias = bias.map_or(ptr::null(), Tensor::as_ptr);
    let (transposed, rounded) = (direction == Direction::Up, operands == Operands::Rounded);
    // SAFETY: the tensors are live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_conv2d(
            x.as_ptr(),
            weight.as_ptr(),
            bias,
            stride,
            padding,
            transposed,
            rounded,
            &raw mut out,
        ))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// Convolutions with max(0, x) between them; `layers` has a weight `[outputs, inputs, side, side]` and a bias
/// `[outputs]` for each. Sides are odd, and maps keep their size: the stride is 1, the padding half of the side.
///
/// What is said of [`conv2d`] holds for this, also of layouts, threads and gradients. A hidden map is read and written only by the convolutions beside it, in
/// the backward pass too: max(0, x) is done while they write.
///
/// # Errors
/// As [`conv2d`], and when a side is even, or there is no layer.
pub fn conv_stack(x: &Tensor, layers: &[&Tensor], operands: Operands) -> Result<Tensor, TchError> {
    let list: Vec<_> = layers.iter().map(|layer| layer.as_ptr()).collect();
    let mut out = ptr::null_mut();
    // SAFETY: the list has as many pointers to live tensors as it says; without an error `out` is a new tensor, which
    // is ours.
    unsafe {
        check(gn_conv_stack(
            x.as_ptr(),
            list.as_ptr(),
            list.len(),
            operands == Operands::Rounded,
            &raw mut out,
        ))?;
        Ok(Tensor::from_ptr(out))
    }
}
