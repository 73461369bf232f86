//! Likelihoods in one pass over the values.

use tch::{TchError, Tensor};

use crate::ffi::{gn_discretised_logistic, tensor_or_none};

/// Log-mass of the bins of `x` under logistic distributions, summed over all dimensions but the first: `[batch]`, nats.
///
/// A bin extends by `half` to both sides of its value; the lowest and the highest bin in [-1, 1] extend to infinity.
/// `mean` and `x` are `[batch, ...]`, and `log_scale` is a single number. Differentiable in `mean` and `log_scale`.
///
/// Gradients of any order equal those of libtorch's operations. No tensor is changed in place. Any thread may call it,
/// and several threads may run backward passes through one retained graph.
///
/// Returns `None`, and leaves the computation to the caller, unless all three tensors are `f32` on a CPU, `x` needs no
/// gradient, `mean` and `x` are both contiguous or both [batch-innermost](crate::is_batch_innermost), and none has a
/// tangent of [`jvp`](crate::jvp).
///
/// # Errors
/// When libtorch fails.
pub fn discretised_logistic(
    mean: &Tensor,
    log_scale: &Tensor,
    x: &Tensor,
    half: f64,
) -> Result<Option<Tensor>, TchError> {
    let (m, s, y) = (mean.as_ptr(), log_scale.as_ptr(), x.as_ptr());
    // SAFETY: the tensors are live.
    unsafe { tensor_or_none(|out| gn_discretised_logistic(m, s, y, half, out)) }
}
