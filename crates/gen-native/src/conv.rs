//! Convolutions.

use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{gn_conv_stack, gn_conv2d, tensor_of};

/// The direction of a convolution: from the large feature map to the small one, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A convolution; its weights are `[outputs, inputs, height, width]`.
    Down,
    /// A transposed convolution; its weights are `[inputs, outputs, height, width]`.
    Up,
}

/// The rounding of both factors of a product. Products are summed in single precision, and tensors stay `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// No rounding.
    Exact,
    /// Rounding to bfloat16, in the forward and the backward pass. Only the loops of this crate round, and only if the
    /// processor multiplies bfloat16 ([`has_bfloat16`](crate::has_bfloat16)). Convolutions that libtorch computes, such
    /// as those of fewer than 16 images, stay exact.
    Rounded,
}

/// A 2-D convolution of `x: [batch, inputs, height, width]`, without groups or dilation.
///
/// The loops of this crate compute it in single precision, on a processor with AVX2 or AVX-512, for a batch that fills
/// a vector (8 or 16 images). Their result is batch-innermost ([`is_batch_innermost`](crate::is_batch_innermost)). For
/// strided convolutions and small feature maps they are several times as fast as libtorch. libtorch computes all other
/// cases. Gradients of any order equal those of libtorch.
///
/// Tensors hold floating-point numbers on one device and have any strides, expanded ones too. The gradient of a weight
/// has the strides of the weight, or is contiguous if entries of the weight share memory. No tensor is changed in
/// place. Any thread may call it, and several threads may run backward passes through one retained graph.
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
    let (x, weight, bias) = (x.as_ptr(), weight.as_ptr(), bias.map_or(ptr::null(), Tensor::as_ptr));
    let (transposed, rounded) = (direction == Direction::Up, operands == Operands::Rounded);
    // SAFETY: the tensors are live.
    unsafe { tensor_of(|out| gn_conv2d(x, weight, bias, stride, padding, transposed, rounded, out)) }
}

/// Convolutions with max(0, x) between them; `layers` has a weight `[outputs, inputs, side, side]` and a bias
/// `[outputs]` for each. Sides are odd, and maps keep their size: the stride is 1, the padding half of the side.
///
/// The notes on [`conv2d`] about loops, strides, threads and gradients hold here too. Each convolution applies the
/// activation while it writes, in the backward pass too, so the activation needs no pass over memory.
///
/// # Errors
/// As [`conv2d`], and when a side is even, or there is no layer.
pub fn conv_stack(x: &Tensor, layers: &[&Tensor], operands: Operands) -> Result<Tensor, TchError> {
    let list: Vec<_> = layers.iter().map(|layer| layer.as_ptr()).collect();
    let rounded = operands == Operands::Rounded;
    // SAFETY: the list has `list.len()` pointers to live tensors.
    unsafe { tensor_of(|out| gn_conv_stack(x.as_ptr(), list.as_ptr(), list.len(), rounded, out)) }
}
