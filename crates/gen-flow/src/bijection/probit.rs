use std::f64::consts::TAU;

use gen_core::distributions::sum_rows;
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// From [0, 1] to the real line by the quantiles of the normal distribution,
///
/// > p = α + (1 - 2α) x, y = Φ⁻¹(p), log|dy/dx| = ln(1 - 2α) + (y² + ln 2π) / 2
///
/// for each value: uniform values become Gaussian. The margin α > 0 keeps the ends of the interval finite. The
/// inverse maps latents far out to values slightly outside [0, 1], down to -α / (1 - 2α).
#[derive(Debug, Clone, Copy)]
pub struct Probit {
    alpha: f64,
}

impl Probit {
    /// The margin α, in (0, 0.5).
    ///
    /// # Panics
    /// When α lies outside.
    pub fn new(alpha: f64) -> Self {
        assert!(alpha > 0.0 && alpha < 0.5, "alpha must be in (0, 0.5), found {alpha}");
        Probit { alpha }
    }

    fn log_slope(&self, y: &Tensor) -> Tensor {
        y.square() * 0.5 + ((1.0 - 2.0 * self.alpha).ln() + 0.5 * TAU.ln())
    }
}

impl Bijection for Probit {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let y = (x * (1.0 - 2.0 * self.alpha) + self.alpha).special_ndtri();
        let log_slope = self.log_slope(&y);
        (y, sum_rows(&log_slope))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let x = (y.special_ndtr() - self.alpha) / (1.0 - 2.0 * self.alpha);
        (x, -sum_rows(&self.log_slope(y)))
    }
}

impl Layer for Probit {}
