//! Kernels over many tensors at once.

use std::ptr;

use tch::{Kind, TchError, Tensor};

use crate::ffi::{check, gn_adam, gn_global_norm, gn_lerp, pointers, tensor_of};

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
    /// Decoupled weight decay; 0 for plain Adam.
    pub weight_decay: f64,
}

/// One step of Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) on all parameters in one call.
///
/// Parameters with an undefined gradient do not change. `step` is a scalar `f32`: the number of this step, from 1. The
/// scalar `f32` `scale` divides the gradients and stays on its device. The gradients may be changed.
///
/// Parameters are `f32`, `f64`, `f16` or `bf16`. A parameter, its gradient and its moments have one shape and kind, and
/// all tensors are on one device. Strides are arbitrary: the fused kernel takes dense tensors with the strides of their
/// parameter, and other tensors are copied and copied back. No entry of parameters and moments shares memory with
/// another. The step records no gradient and is not differentiable.
///
/// # Errors
/// When the lists differ in length, shapes, kinds or devices differ, or changed tensors share memory. Nothing is
/// changed then.
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
    let fits = |a: &Tensor, b: &Tensor| a.size() == b.size() && a.kind() == b.kind() && a.device() == b.device();
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
        return Err(TchError::Torch("the step and the scale of gradients are scalars of kind Float".to_owned()));
    }
    let AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay } = settings;
    let (p, g) = (pointers(parameters), pointers(gradients));
    let (m, v) = (pointers(first_moments), pointers(second_moments));
    // SAFETY: the four lists have `n` pointers to live tensors, of the same size and kind for each parameter. C++
    // refuses shared memory, and gives the kernel only dense tensors of equal strides.
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
/// The tensors have one kind and device, and any strides. It records no gradient.
///
/// # Errors
/// When no tensor is defined, one is sparse or has no floating-point numbers, devices differ, or libtorch fails.
pub fn global_norm(tensors: &[Tensor]) -> Result<Tensor, TchError> {
    let list = pointers(tensors);
    // SAFETY: the list has `list.len()` pointers to live tensors.
    unsafe { tensor_of(|norm| gn_global_norm(list.as_ptr(), list.len(), norm)) }
}

/// Moves each tensor of `start` by `weight` of the way to that of `end`.
///
/// Both have one shape, kind and device, and any strides. The tensors of `start` share no memory with others. It
/// records no gradient.
///
/// # Errors
/// When the lists differ in length, shapes, kinds or devices differ, or changed tensors share memory. Nothing is
/// changed then.
pub fn lerp(start: &[Tensor], end: &[Tensor], weight: f64) -> Result<(), TchError> {
    let (a, b) = (pointers(start), pointers(end));
    if a.len() != b.len() {
        return Err(TchError::Torch(format!("{} tensors cannot move to {}", a.len(), b.len())));
    }
    if a.is_empty() {
        return Ok(());
    }
    // SAFETY: both lists have `a.len()` pointers to live tensors.
    unsafe { check(gn_lerp(a.as_ptr(), b.as_ptr(), a.len(), weight)) }
}
