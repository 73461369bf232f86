//! Switches of the whole process.

use std::ffi::CStr;
use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_flush_denormal, gn_keep_freed_memory, gn_matmul_precision, gn_without_numbers};

/// What a product of `f32` matrices, or a convolution on a GPU, may round to inside. What goes in and comes out stays
/// `f32`. libtorch starts with exact products, and with convolutions on GPUs in TensorFloat-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatmulPrecision {
    /// `f32` throughout.
    Highest,
    /// TensorFloat-32 on GPUs that have it.
    High,
    /// bfloat16 where the hardware has it, processors included.
    Medium,
}

/// Chooses it for the whole process.
///
/// # Errors
/// When libtorch refuses.
pub fn set_matmul_precision(precision: MatmulPrecision) -> Result<(), TchError> {
    let name: &CStr = match precision {
        MatmulPrecision::Highest => c"highest",
        MatmulPrecision::High => c"high",
        MatmulPrecision::Medium => c"medium",
    };
    // SAFETY: the name ends with a zero and is static.
    unsafe { check(gn_matmul_precision(name.as_ptr())) }
}

/// Whether subnormal numbers count as 0, for threads that start from now on and this one; they are slow, and no model
/// needs them. Returns false where the processor cannot do it.
///
/// # Errors
/// When libtorch refuses.
pub fn set_flush_denormal(on: bool) -> Result<bool, TchError> {
    let mut possible = false;
    // SAFETY: the place outlives the call.
    unsafe { check(gn_flush_denormal(on, &raw mut possible))? };
    Ok(possible)
}

/// Whether operations are recorded for gradients in this thread: false inside of [`tch::no_grad`] and its guard.
///
/// ```
/// assert!(gen_native::gradients_enabled());
/// assert!(!tch::no_grad(gen_native::gradients_enabled));
/// ```
pub fn gradients_enabled() -> bool {
    // SAFETY: it takes and returns a number, and the switch is the thread's own.
    unsafe {
        let was = torch_sys::at_grad_set_enabled(0);
        let _ = torch_sys::at_grad_set_enabled(was);
        was != 0
    }
}

/// A tensor of the shape and the kind of `x` that has no numbers and no memory, on libtorch's device `meta`, for which
/// `tch` has no name. Operations on such tensors say what shape their results would have, or refuse; those of this crate
/// refuse it beside tensors of other devices.
///
/// # Errors
/// When libtorch fails.
pub fn without_numbers(x: &Tensor) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the tensor is live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_without_numbers(x.as_ptr(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// From now on, memory that is freed waits in the process for the next allocation, instead of going back to the system.
///
/// libtorch frees feature maps of megabytes at every operation and asks for them again at the next. An allocator that
/// hands them back gets them with every page cleared anew, which took a fifth of the time of a training step of
/// Glow. The process keeps the most memory that it ever needed at once; the peak grows by what lies between blocks (5 %
/// for the same step).
///
/// It tells glibc's allocator, and mimalloc where a program has put it in its place, unless the environment variable
/// `MIMALLOC_PURGE_DELAY` says otherwise. With others it does nothing. A program calls it when it starts; a library
/// leaves it to the program.
///
/// ```
/// gen_native::keep_freed_memory();
/// ```
pub fn keep_freed_memory() {
    // SAFETY: it takes nothing, and allocators may be told at any time.
    unsafe { gn_keep_freed_memory() }
}
