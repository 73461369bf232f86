//! Switches of the whole process.

use std::ffi::CStr;

use tch::{TchError, Tensor};

use crate::ffi::{
    answer_of, check, gn_flush_denormal, gn_keep_freed_memory, gn_matmul_precision, gn_without_numbers, tensor_of,
};

/// The internal precision of products of `f32` matrices, and of convolutions on a GPU. Inputs and outputs stay `f32`.
/// libtorch's defaults are exact products, and TensorFloat-32 for convolutions on GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatmulPrecision {
    /// `f32` throughout.
    Highest,
    /// TensorFloat-32 on GPUs that have it.
    High,
    /// bfloat16 on GPUs and CPUs that have it.
    Medium,
}

/// Sets the precision for the whole process.
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

/// Sets whether subnormal numbers count as 0, in this thread and in threads that start later. Subnormal numbers are
/// slow, and no model needs them. Returns false if the processor cannot do it.
///
/// # Errors
/// When libtorch refuses.
pub fn set_flush_denormal(on: bool) -> Result<bool, TchError> {
    // SAFETY: the argument is a plain value.
    unsafe { answer_of(|possible| gn_flush_denormal(on, possible)) }
}

/// Whether this thread records operations for gradients: false inside [`tch::no_grad`] and its guard.
///
/// ```
/// assert!(gen_native::gradients_enabled());
/// assert!(!tch::no_grad(gen_native::gradients_enabled));
/// ```
pub fn gradients_enabled() -> bool {
    // SAFETY: arguments and results are plain numbers, and the switch belongs to this thread.
    unsafe {
        let was = torch_sys::at_grad_set_enabled(0);
        let _ = torch_sys::at_grad_set_enabled(was);
        was != 0
    }
}

/// A tensor of the shape and the kind of `x` without values or memory, on libtorch's device `meta`, which `tch` does
/// not name. Operations on such tensors compute the shapes of their results or fail. The operations of this crate
/// refuse it beside tensors of other devices.
///
/// # Errors
/// When libtorch fails.
pub fn without_numbers(x: &Tensor) -> Result<Tensor, TchError> {
    // SAFETY: the tensor is live.
    unsafe { tensor_of(|out| gn_without_numbers(x.as_ptr(), out)) }
}

/// Makes the allocator keep freed memory in the process for later allocations, instead of returning it to the system.
///
/// libtorch frees feature maps of megabytes at every operation and allocates them again at the next. If the allocator
/// returns this memory, the system clears every page of it again, which took a fifth of a training step of Glow. The
/// process then keeps its peak of memory, and fragmentation raises the peak (by 5 % for the same step).
///
/// It configures glibc's allocator, and mimalloc in programs that use it, unless the environment variable
/// `MIMALLOC_PURGE_DELAY` is set. With other allocators it does nothing. A program calls it at its start; a library
/// leaves it to the program.
///
/// ```
/// gen_native::keep_freed_memory();
/// ```
pub fn keep_freed_memory() {
    // SAFETY: the function has no arguments, and allocators may be configured at any time.
    unsafe { gn_keep_freed_memory() }
}
