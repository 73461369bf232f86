//! Kernels over many tensors at once.

use std::ptr;

use tch::{Kind, TchError, Tensor};

use crate::ffi::{check, gn_adam, gn_global_norm, gn_lerp, pointers};

/// The scalars of a step of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; 0 is Adam without.
    pub weight_decay: f64,
}

/// One step of Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) on all parameters in one call.
///
/// Parameters whose gradient is undefined stay as they are. `step` is a scalar `f32` that counts from 1 and is already
/// that of this step. With `scale`, another one, gradients count divided by it; it stays on its device. The gradients may
/// be changed.
///
/// Parameters are of `f32`, `f64`, `f16` or `bf16`; a parameter, its gradient and its moments have one shape and kind, and
/// all tensors are on one device. They may lie in any way: the fused kernel takes what is dense and lies as its parameter
/// does, and the rest is copied, and copied back. Parameters and moments share no memory with anything else: each of their
/// entries is a number of its own. It records no gradient, and is not differentiable.
///
/// # Errors
/// When the lists differ in length, shapes, kinds or devices differ, or what is changed shares memory; then nothing is
/// changed.
pub fn adam_step(
    parameters: &[Tensor],
    gradients: &[Tensor],
    first_moments: &[Tensor],
    second_moments: &[Tensor],
    step: &Tensor,
    scale: Option<&Tensor>,
    settings: AdamStep,
) -> Result<(), TchError> {
    let n = parameters.len();
    if [gradients.len(), first_moments.len(), second_moments.len()] != [n; 3] {
        return Err(TchError::Torch("a parameter needs one gradient and two moments".to_owned()));
    }
    let fits =
        |a: &Tensor, b: &Tensor| a.size() == b.size() && a.kind() == b.kind() && a.device() == b.device();
    let all = |list: &[Tensor]| list.iter().zip(parameters).all(|(a, b)| a.defined() && fits(a, b));
    let some = |list: &[Tensor]| list.iter().zip(parameters).all(|(a, b)| !a.defined() || fits(a, b));
    if parameters.iter().any(|parameter| !parameter.defined()) {
        return Err(TchError::Torch("a parameter is undefined".to_owned()));
    }
    if !(some(gradients) && all(first_moments) && all(second_moments)) {
        return Err(TchError::Torch(
            "gradients and moments need the shape, the kind and the device of their parameters".to_owned(),
        ));
    }
    let is_scalar = |x: &Tensor| x.defined() && x.numel() == 1 && x.kind() == Kind::Float;
    if !(is_scalar(step) && scale.is_none_or(is_scalar)) {
        return Err(TchError::Torch(
            "the step and the scale of gradients are scalars of kind Float".to_owned(),
        ));
    }
    let AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay } = settings;
    let (p, g) = (pointers(parameters), pointers(gradients));
    let (m, v) = (pointers(first_moments), pointers(second_moments));
    // SAFETY: the four lists have `n` pointers to live tensors, each with as many entries of the same kind; C++ refuses
    // what shares memory, and hands the kernel only what is dense and lies alike.
    unsafe {
        check(gn_adam(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            n,
            step.as_ptr(),
            learning_rate,
            beta1,
            beta2,
            epsilon,
            weight_decay,
            scale.map_or(ptr::null(), Tensor::as_ptr),
        ))
    }
}

/// The Euclidean norm of all entries of all tensors together, a scalar on their device. Undefined tensors count as 0.
///
/// They are of one kind, on one device, and lie in any way. It records no gradient.
///
/// # Errors
/// When no tensor is defined, one is sparse or has no floating-point numbers, devices differ, or libtorch fails.
pub fn global_norm(tensors: &[Tensor]) -> Result<Tensor, TchError> {
    let list = pointers(tensors);
    let mut norm = ptr::null_mut();
    // SAFETY: the list has as many pointers to live tensors as it says; without an error `norm` is a new tensor,
    // which is ours.
    unsafe {
        check(gn_global_norm(list.as_ptr(), list.len(), &raw mut norm))?;
        Ok(Tensor::from_ptr(norm))
    }
}

/// Moves each tensor of `start` by `weight` of the way to that of `end`.
///
/// Both have one shape, kind and device, and lie in any way; what is moved shares no memory with anything else. It records
/// no gradient.
///
/// # Errors
/// When the lists differ in length, shapes, kinds or devices differ, or what is changed shares memory; then nothing is
/// changed.
pub fn lerp(start: &[Tensor], end: &[Tensor], weight: f64) -> Result<(), TchError> {
    let (a, b) = (pointers(start), pointers(end));
    if a.len() != b.len() {
        return Err(TchError::Torch(format!("{} tensors cannot move to {}", a.len(), b.len())));
    }
    if a.is_empty() {
        return Ok(());
    }
    // SAFETY: both lists have as many pointers to live tensors as they say.
    unsafe { check(gn_lerp(a.as_ptr(), b.as_ptr(), a.len(), weight)) }
}
