use gen_core::distributions::{Gaussian, sum_rows};
use tch::{Kind, Tensor};

use crate::schedule::Level;

/// The KL divergence of the state at the level `last` given `x0: [batch, ...]`, whose scale has no part in it, from the
/// noise that sampling starts with: `f64 [batch]`.
pub(super) fn prior(x0: &Tensor, last: &Level) -> Tensor {
    let mean = x0.to_kind(Kind::Double) * (last.alpha / last.spread());
    Gaussian::new(mean, Tensor::from((last.sigma / last.spread()).ln())).kl_standard_normal()
}

/// ‖x_0 - estimate‖² of each row: `f64 [batch]`.
pub(super) fn squared_error(x0: &Tensor, estimate: &Tensor) -> Tensor {
    sum_rows(&(x0.to_kind(Kind::Double) - estimate.to_kind(Kind::Double)).square())
}
