//! The functions of `native/native.cpp`, and the conversion of their errors.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

/// A list of tensors as C++ takes it.
pub(crate) type List = *const *const C_tensor;

/// Computes the gradients of the inputs (second list) from those of the results (first list). Returns false on failure,
/// with a message of at most the given number of bytes.
pub(crate) type Backward =
    extern "C" fn(*mut c_void, *const *mut C_tensor, usize, *mut *mut C_tensor, usize, *mut c_char, usize) -> bool;

/// Frees the data of a [`Backward`].
pub(crate) type Drop = extern "C" fn(*mut c_void);

/// A generator as C++ keeps it.
#[repr(C)]
pub(crate) struct GeneratorPtr {
    opaque: [u8; 0],
}

/// A spline as C++ takes it: `SplineShape` of `native/flow/flow.h`.
#[repr(C)]
pub(crate) struct SplineShape {
    pub(crate) bins: i64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) soft: bool,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) slope: f64,
    pub(crate) free: bool,
}

unsafe extern "C" {
    fn gn_free(message: *mut c_char);
    pub(crate) fn gn_adam(
        parameters: List,
        gradients: List,
        first: List,
        second: List,
        n: usize,
        step: *const C_tensor,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        weight_decay: f64,
        scale: *const C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_global_norm(list: List, n: usize, norm: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_lerp(start: List, end: List, n: usize, weight: f64) -> *mut c_char;
    pub(crate) fn gn_autocast_begin(device: c_int, was_enabled: *mut bool, was_kind: *mut c_int) -> *mut c_char;
    pub(crate) fn gn_autocast_end(device: c_int, was_enabled: bool, was_kind: c_int) -> *mut c_char;
    pub(crate) fn gn_matmul_precision(name: *const c_char) -> *mut c_char;
    pub(crate) fn gn_flush_denormal(on: bool, possible: *mut bool) -> *mut c_char;
    pub(crate) fn gn_keep_freed_memory();
    pub(crate) fn gn_without_numbers(x: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_is_batch_innermost(x: *const C_tensor, is: *mut bool) -> *mut c_char;
    pub(crate) fn gn_batch_innermost(x: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_prefers_batch_innermost(x: *const C_tensor, does: *mut bool) -> *mut c_char;
    pub(crate) fn gn_conv2d(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        stride: i64,
        padding: i64,
        transposed: bool,
        rounded: bool,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_conv_stack(
        x: *const C_tensor,
        layers: List,
        n: usize,
        rounded: bool,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_split_channels(
        x: *const C_tensor,
        at: i64,
        first: *mut *mut C_tensor,
        second: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_join_channels(a: *const C_tensor, b: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_affine_coupling(
        same: *const C_tensor,
        rest: *const C_tensor,
        parameters: *const C_tensor,
        bound: *const C_tensor,
        same_first: bool,
        inverse: bool,
        out: *mut *mut C_tensor,
        log_det: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_spline(
        same: *const C_tensor,
        rest: *const C_tensor,
        parameters: *const C_tensor,
        shape: *const SplineShape,
        same_first: bool,
        inverse: bool,
        summed: bool,
        out: *mut *mut C_tensor,
        log_slope: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_mixing(factors: List, inverse: bool, results: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_perceptron(x: *const C_tensor, layers: List, n: usize, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_masked_perceptron(
        x: *const C_tensor,
        layers: List,
        n: usize,
        masks: List,
        n_masks: usize,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_autoregressive_inverse(
        y: *const C_tensor,
        context: *const C_tensor,
        layers: List,
        n: usize,
        degrees: *const *const i64,
        widths: *const usize,
        n_hidden: usize,
        bound: *const C_tensor,
        shape: *const SplineShape,
        out: *mut *mut C_tensor,
        log_det: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_with_gradient(
        inputs: List,
        n: usize,
        results: List,
        m: usize,
        backward: Backward,
        drop: Drop,
        data: *mut c_void,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_discretised_logistic(
        mean: *const C_tensor,
        log_scale: *const C_tensor,
        x: *const C_tensor,
        half: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_batch_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        statistics: c_int,
        activation: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_group_norm(
        x: *const C_tensor,
        groups: i64,
        weight: *const C_tensor,
        bias: *const C_tensor,
        modulation: *const C_tensor,
        activation: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_enter_level(level: *mut u64) -> *mut c_char;
    pub(crate) fn gn_leave_level(level: u64) -> *mut c_char;
    pub(crate) fn gn_with_tangent(
        value: *const C_tensor,
        tangent: *const C_tensor,
        level: u64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_value_and_tangent(
        x: *const C_tensor,
        level: u64,
        value: *mut *mut C_tensor,
        tangent: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn gn_use_instructions(which: c_int, possible: *mut bool) -> *mut c_char;
    pub(crate) fn gn_has_bfloat16() -> bool;
    pub(crate) fn gn_generator_new(seed: u64, out: *mut *mut GeneratorPtr) -> *mut c_char;
    pub(crate) fn gn_generator_clone(generator: *const GeneratorPtr, out: *mut *mut GeneratorPtr) -> *mut c_char;
    pub(crate) fn gn_generator_free(generator: *mut GeneratorPtr);
    pub(crate) fn gn_generator_fill(
        generator: *mut GeneratorPtr,
        x: *const C_tensor,
        distribution: c_int,
        a: f64,
        b: f64,
    ) -> *mut c_char;
    pub(crate) fn gn_generator_state(generator: *mut GeneratorPtr, state: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn gn_generator_set_state(generator: *mut GeneratorPtr, state: *const C_tensor) -> *mut c_char;
}

/// The pointers of a list of tensors, valid as long as the tensors are.
pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

/// Calls a function of `native.cpp` that writes one new tensor to the given place.
///
/// # Safety
/// Without an error, `call` writes null or a new tensor that we own, and the other arguments of the C++ function are
/// valid.
pub(crate) unsafe fn tensor_or_none(
    call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<Option<Tensor>, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the place outlives the call; the caller vouches for the tensor.
    unsafe {
        check(call(&raw mut out))?;
        Ok((!out.is_null()).then(|| Tensor::from_ptr(out)))
    }
}

/// As [`tensor_or_none`], for a function that always writes a tensor.
///
/// # Safety
/// As for [`tensor_or_none`].
pub(crate) unsafe fn tensor_of(call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor, TchError> {
    // SAFETY: the caller vouches for it.
    let tensor = unsafe { tensor_or_none(call)? };
    tensor.ok_or_else(|| TchError::Torch("no tensor was returned".to_owned()))
}

/// Calls a function of `native.cpp` that answers yes or no at the given place.
///
/// # Safety
/// The other arguments of the C++ function are valid.
pub(crate) unsafe fn answer_of(call: impl FnOnce(*mut bool) -> *mut c_char) -> Result<bool, TchError> {
    let mut answer = false;
    // SAFETY: the place outlives the call; the caller vouches for the other arguments.
    unsafe { check(call(&raw mut answer))? };
    Ok(answer)
}

/// Turns the return value of a function of `native.cpp` into a result: null, or the message of an exception.
///
/// # Safety
/// `message` is null or comes from a function of `native.cpp`, and is not used afterwards.
pub(crate) unsafe fn check(message: *mut c_char) -> Result<(), TchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: `native.cpp` returns strings that end with a zero, and the caller owns them.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        gn_free(message);
        text
    };
    Err(TchError::Torch(text))
}
