//! How feature maps lie in memory.

use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_batch_innermost, gn_is_batch_innermost};

/// Whether `x: [batch, channels, height, width]` is *batch-innermost*: it lies as `[height][width][channels][batch]`.
///
/// The shape says nothing of it, as with libtorch's channels-last. What [`conv2d`](crate::conv2d) gives lies so where
/// it did the work itself, and operations on single values keep it.
///
/// # Panics
/// Never: a tensor of another number of dimensions is not batch-innermost.
pub fn is_batch_innermost(x: &Tensor) -> bool {
    let mut is = false;
    // SAFETY: the tensor is live and the place outlives the call.
    let answer = unsafe { check(gn_is_batch_innermost(x.as_ptr(), &raw mut is)) };
    answer.is_ok() && is
}

/// `x: [batch, channels, height, width]` itself if it is [batch-innermost](is_batch_innermost), otherwise a copy that
/// is. Differentiable.
///
/// # Errors
/// When it has not four dimensions.
pub fn batch_innermost(x: &Tensor) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the tensor is live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_batch_innermost(x.as_ptr(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}
