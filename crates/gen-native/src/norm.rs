//! Normalisations of feature maps.

use std::ffi::c_int;
use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_batch_norm, gn_group_norm};

/// What follows a normalisation in the same pass over memory.
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
    /// Those of the batch.
    Batch,
    /// Those of the batch, towards which these running ones move by a tenth.
    BatchMoving {
        /// `[channels]`
        mean: &'a Tensor,
        /// `[channels]`, the unbiased estimate.
        var: &'a Tensor,
    },
    /// These.
    Running {
        /// `[channels]`
        mean: &'a Tensor,
        /// `[channels]`
        var: &'a Tensor,
    },
}

/// `activation(normalised x * weight + bias)` of `x: [batch, channels, ...]`, with `weight, bias: [channels]`; ε is 1e-5.
///
/// In single precision, on a processor with AVX2 or AVX-512, and with a batch of feature maps that fills a vector (8 or
/// 16 images), it is done by loops that keep the batch innermost, and so is the result
/// ([`is_batch_innermost`](crate::is_batch_innermost)). Anything else is done by libtorch. Gradients of gradients are
/// those of libtorch. Statistics that are given have no gradient.
///
/// Tensors have floating-point numbers, lie in any way and are on one device. Running statistics that are moved share no
/// memory with anything else, and to autograd they are changed in place. Any thread may call it, two at once with the same
/// statistics only if these are not moved; several may go back through one graph that is kept.
///
/// # Errors
/// When shapes, kinds or devices do not fit, a tensor is undefined or sparse, statistics that are moved share memory, or
/// running ones require a gradient while gradients are recorded.
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
    let mut out = ptr::null_mut();
    // SAFETY: the tensors are live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_batch_norm(x, weight, bias, mean, var, which, activation.code(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// `activation((normalised x * weight + bias) * (1 + scale) + shift)` of `x: [batch, channels, ...]`, with `weight,
/// bias: [channels]`, normalised over `groups` groups of channels of each image; ε is 1e-5.
///
/// `modulation: [batch, 2 * channels]` has the scales and after them the shifts; without it they are 0. By whom it is
/// done is as with [`batch_norm`], and so are layouts, threads and gradients.
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
    let mut out = ptr::null_mut();
    // SAFETY: the tensors are live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_group_norm(x, groups, weight, bias, modulation, activation.code(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}
