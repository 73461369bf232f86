//! The memory layout of feature maps.

use tch::{TchError, Tensor};

use crate::ffi::{answer_of, gn_batch_innermost, gn_is_batch_innermost, gn_prefers_batch_innermost, tensor_of};

/// Whether `x: [batch, channels, height, width]` is *batch-innermost*: its memory is
/// `[height][width][channels][batch]`.
///
/// The layout does not change the shape, as with libtorch's channels-last. The loops of [`conv2d`](crate::conv2d)
/// return this layout, and elementwise operations keep it.
pub fn is_batch_innermost(x: &Tensor) -> bool {
    // SAFETY: the tensor is live.
    unsafe { answer_of(|is| gn_is_batch_innermost(x.as_ptr(), is)) }.unwrap_or(false)
}

/// Whether the loops of [`conv2d`](crate::conv2d) take `x: [batch, ...]`, so that a feature map should be
/// [batch-innermost](is_batch_innermost) from the start.
pub fn prefers_batch_innermost(x: &Tensor) -> bool {
    // SAFETY: the tensor is live.
    unsafe { answer_of(|does| gn_prefers_batch_innermost(x.as_ptr(), does)) }.unwrap_or(false)
}

/// `x: [batch, channels, height, width]` itself if it is [batch-innermost](is_batch_innermost), otherwise a copy that
/// is. Differentiable, also twice. `x` has any strides, kind and device.
///
/// # Errors
/// When `x` does not have four dimensions, or is undefined or sparse.
pub fn batch_innermost(x: &Tensor) -> Result<Tensor, TchError> {
    // SAFETY: the tensor is live.
    unsafe { tensor_of(|out| gn_batch_innermost(x.as_ptr(), out)) }
}

/// `x` in the best layout for [`conv2d`](crate::conv2d): [`batch_innermost`] for a feature map that
/// [prefers it](prefers_batch_innermost), otherwise `x` itself.
///
/// Use it for tensors that meet the output of convolutions, such as the images of a reconstruction loss: operations on
/// two tensors of different layouts are slow.
pub fn as_convolved(x: &Tensor) -> Tensor {
    if x.dim() == 4 && prefers_batch_innermost(x) {
        batch_innermost(x).unwrap_or_else(|_| x.shallow_clone())
    } else {
        x.shallow_clone()
    }
}
