//! Increasing maps of single numbers, with parameters that a network gives: what couplings and autoregressive
//! flows apply to each value.

use std::fmt::Debug;

use gen_core::native::{Coupled, Way, affine_coupling};
use gen_core::params::{Init, Scope};
use tch::Tensor;

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
        let (moved, log_slope) = match way {
            Way::Forward => self.forward(&halves.rest, parameters),
            Way::Inverse => self.inverse(&halves.rest, parameters),
        };
        (halves.join(&moved), sum_per_row(&log_slope))
    }
}

/// y = exp(s) x + t, with parameters (a, t) where s = a, or s = c tanh a with a learned bound c.
///
/// With zero parameters it is the identity.
///
/// Dinh et al. 2017, equation 8; the bound as in their section 3.2 and code.
#[derive(Debug)]
pub struct Affine {
    bound: Option<Tensor>,
}

impl Affine {
    /// s = a: the equation as it stands. A network that is wrong once can overflow the exponential.
    pub fn unbounded() -> Self {
        Affine { bound: None }
    }

    /// s = c tanh a with one learned number c, which starts at 1.
    pub fn bounded(scope: Scope<'_>) -> Self {
        Affine { bound: Some(scope.parameter("log_scale_bound", &[1], Init::ONES)) }
    }

    /// s and t.
    fn scale_and_shift(&self, parameters: &Tensor) -> (Tensor, Tensor) {
        let mut parts = parameters.chunk(2, 1).into_iter();
        let [raw, shift] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        match &self.bound {
            Some(bound) => (raw.tanh() * bound, shift),
            None => (raw, shift),
        }
    }
}

impl Univariate for Affine {
    fn parameters(&self) -> i64 {
        2
    }

    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        let (log_scale, shift) = self.scale_and_shift(parameters);
        (shift.addcmul(x, &log_scale.exp()), log_scale)
    }

    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        let (log_scale, shift) = self.scale_and_shift(parameters);
        let log_slope = -log_scale;
        ((y - shift) * log_slope.exp(), log_slope)
    }
    fn couple(&self, halves: &Halves, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        let Halves { same, rest, order } = halves;
        let Coupled { values, log_det } =
            affine_coupling(Some(same), rest, parameters, self.bound.as_ref(), *order, way)
                .unwrap_or_else(|error| panic!("{error}"));
        (values, log_det)
    }
}
