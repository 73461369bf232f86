//! How feature maps lie in memory.

use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_batch_innermost, gn_is_batch_innermost, gn_prefers_batch_innermost};

/// Whether `x: [batch, channels, height, width]` is *batch-innermost*: it lies as `[height][width][channels][batch]`.
///
/// The shape says nothing of it, as with libtorch's channels-last. What [`conv2d`](crate::conv2d) gives lies so where
/// it did the work itself, and operations on single values keep it.
pub fn is_batch_innermost(x: &Tensor) -> bool {
    let mut is = false;
    // SAFETY: the tensor is live and the place outlives the call.
    let answer = unsafe { check(gn_is_batch_innermost(x.as_ptr(), &raw mut is)) };
    answer.is_ok() && is
}

/// Whether [`conv2d`](crate::conv2d) does the work itself for `x: [batch, ...]`, so that a feature map is best made
/// [batch-innermost](is_batch_innermost) from the start.
pub fn prefers_batch_innermost(x: &Tensor) -> bool {
    let mut does = false;
    // SAFETY: the tensor is live and the place outlives the call.
    let answer = unsafe { check(gn_prefers_batch_innermost(x.as_ptr(), &raw mut does)) };
    answer.is_ok() && does
}

/// `x: [batch, channels, height, width]` itself if it is [batch-innermost](is_batch_innermost), otherwise a copy that
/// is. Differentiable, also twice. It may lie in any way, and be of any kind and on any device.
///
/// # Errors
/// When it has not four dimensions, or is undefined or sparse.
pub fn batch_innermost(x: &Tensor) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the tensor is live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_batch_innermost(x.as_ptr(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// `x` as [`conv2d`](crate::conv2d) takes it best: [`batch_innermost`] where it [prefers that](prefers_batch_innermost),
/// and as it is otherwise, which includes all that is no feature map.
///
/// For what meets the output of convolutions, such as the images that it is compared with: operations on two
/// tensors that lie otherwise are slow.
pub fn as_convolved(x: &Tensor) -> Tensor {
    if x.dim() == 4 && prefers_batch_innermost(x) {
        batch_innermost(x).unwrap_or_else(|_| x.shallow_clone())
    } else {
        x.shallow_clone()
    }
}
