//! Normalisations of feature maps.

use std::ffi::c_int;
use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{gn_batch_norm, gn_group_norm, tensor_of};

/// The activation after a normalisation, in the same pass over memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x
    None,
    /// max(0, x)
    Relu,
    /// x where positive, 0.2 x elsewhere
    LeakyRelu,
    /// x σ(x)
    Silu,
}

impl Activation {
    fn code(self) -> c_int {
        match self {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::LeakyRelu => 2,
            Activation::Silu => 3,
        }
    }
}

/// The means and variances by which [`batch_norm`] normalises.
#[derive(Debug, Clone, Copy)]
pub enum Statistics<'a> {
    /// The statistics of the batch.
    Batch,
    /// The statistics of the batch. These running statistics move a tenth of the way towards them.
    BatchMoving {
        /// `[channels]`
        mean: &'a Tensor,
        /// `[channels]`, the unbiased estimate.
        var: &'a Tensor,
    },
    /// These statistics.
    Running {
        /// `[channels]`
        mean: &'a Tensor,
        /// `[channels]`
        var: &'a Tensor,
    },
}

/// `activation(normalised x * weight + bias)` of `x: [batch, channels, ...]`, with `weight, bias: [channels]`. ε is
/// 1e-5.
///
/// The loops of this crate compute it in single precision, on a processor with AVX2 or AVX-512, for a batch of feature
/// maps that fills a vector (8 or 16 images). Their result is batch-innermost
/// ([`is_batch_innermost`](crate::is_batch_innermost)). libtorch computes all other cases, and gradients of gradients.
/// Running statistics get no gradient.
///
/// Tensors hold floating-point numbers on one device and have any strides. Moving statistics share no memory with other
/// tensors, and autograd sees them change in place. Any thread may call it, but two threads must not move the same
/// statistics at once. Several threads may run backward passes through one retained graph.
///
/// # Errors
/// When shapes, kinds or devices do not fit, a tensor is undefined or sparse, moving statistics share memory, or
/// running statistics require a gradient while gradients are recorded.
pub fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    statistics: Statistics<'_>,
    activation: Activation,
) -> Result<Tensor, TchError> {
    let (which, mean, var) = match statistics {
        Statistics::Batch => (0, ptr::null(), ptr::null()),
        Statistics::BatchMoving { mean, var } => (1, mean.as_ptr(), var.as_ptr()),
        Statistics::Running { mean, var } => (2, mean.as_ptr(), var.as_ptr()),
    };
    let (x, weight, bias) = (x.as_ptr(), weight.as_ptr(), bias.as_ptr());
    // SAFETY: the tensors are live.
    unsafe { tensor_of(|out| gn_batch_norm(x, weight, bias, mean, var, which, activation.code(), out)) }
}

/// `activation((normalised x * weight + bias) * (1 + scale) + shift)` of `x: [batch, channels, ...]`, with `weight,
/// bias: [channels]`, normalised over `groups` groups of channels of each image; ε is 1e-5.
///
/// `modulation: [batch, 2 * channels]` has the scales and after them the shifts; without it they are 0. The notes on
/// [`batch_norm`] about loops, strides, threads and gradients hold here too.
///
/// # Errors
/// When shapes, kinds or devices do not fit, or a tensor is undefined or sparse.
pub fn group_norm(
    x: &Tensor,
    groups: i64,
    weight: &Tensor,
    bias: &Tensor,
    modulation: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TchError> {
    let modulation = modulation.map_or(ptr::null(), Tensor::as_ptr);
    let (x, weight, bias) = (x.as_ptr(), weight.as_ptr(), bias.as_ptr());
    // SAFETY: the tensors are live.
    unsafe { tensor_of(|out| gn_group_norm(x, groups, weight, bias, modulation, activation.code(), out)) }
}
