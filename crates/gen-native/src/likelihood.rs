//! Likelihoods in one pass over the values.

use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_discretised_logistic};

/// ln of the logistic mass of the bins of `x`, summed over all dimensions but the first: `[batch]`, nats.
///
/// A bin reaches `half` to both sides of its value; the lowest and the highest in [-1, 1] reach to infinity. `mean`,
/// `x`: `[batch, ...]`, `log_scale` a single number. Differentiable in `mean` and `log_scale`.
///
/// Its gradients of any order are those of libtorch's operations. Nothing is changed in place. Any thread may call it, and
/// several may go back through one graph that is kept.
///
/// `None` unless all three are `f32` on a processor, and `mean` and `x` lie in one way, both contiguous or both
/// [batch-innermost](crate::is_batch_innermost), and `x` needs no gradient: then it is the caller's to compute.
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
    let mut out = ptr::null_mut();
    // SAFETY: the tensors are live; without an error `out` is null or a new tensor, which is ours.
    unsafe {
        check(gn_discretised_logistic(m, s, y, half, &raw mut out))?;
        Ok((!out.is_null()).then(|| Tensor::from_ptr(out)))
    }
}
