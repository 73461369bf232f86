//! Increasing maps of single numbers, with parameters that a network gives: what couplings and autoregressive
//! flows apply to each value.

mod additive;
mod affine;
mod logistic_mixture;
mod spline;

use std::fmt::Debug;

use gen_core::native::{self, Way};
use tch::Tensor;

pub use additive::Additive;
pub use affine::Affine;
pub use logistic_mixture::LogisticMixture;
pub use spline::RationalQuadratic;

use crate::bijection::{Halves, sum_per_row};

/// An increasing map of the real line, applied to each value with parameters of its own.
///
/// The parameters of `x: [batch, n, ...]` come as `[batch, parameters · n, ...]`: a block of n for the first
/// parameter of each value, then a block for the second, and so on. Both directions return the image and the log of
/// the slope in that direction, each in the shape of `x`.
pub trait Univariate: Debug + Send {
    /// How many numbers describe the map of one value.
    fn parameters(&self) -> i64;

    /// y = τ(x; θ) and ln|dy/dx|.
    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor);

    /// x = τ⁻¹(y; θ) and ln|dx/dy|.
    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor);

    /// τ, or τ⁻¹, of the half that moves, joined with the other one, and the log-determinant of each row, `[batch]`.
    ///
    /// For maps that can do all of it in one pass over memory.
    fn couple(&self, halves: &Halves, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        couple_by_value(self, halves, parameters, way)
    }

    /// The same map in the native layer, if it has it: an autoregressive layer can then be inverted in one pass.
    fn native(&self) -> Option<native::Univariate<'_>> {
        None
    }
}

/// [`Univariate::couple`] of a map in two passes: the values, and the sums of their slopes.
fn couple_by_value(
    map: &(impl Univariate + ?Sized),
    halves: &Halves,
    parameters: &Tensor,
    way: Way,
) -> (Tensor, Tensor) {
    let (moved, log_slope) = match way {
        Way::Forward => map.forward(&halves.rest, parameters),
        Way::Inverse => map.inverse(&halves.rest, parameters),
    };
    (halves.join(&moved), sum_per_row(&log_slope))
}
