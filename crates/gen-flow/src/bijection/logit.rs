use gen_core::distributions::sum_rows;
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// From [0, 1] to the real line,
///
/// > p = α + (1 - 2α) x, y = ln p - ln(1 - p), log|dy/dx| = ln(1 - 2α) - ln p - ln(1 - p)
///
/// for each value. α > 0 keeps the ends of the interval finite. The smaller it is, the wider the range that the
/// values near 0 are drawn out to: with 10⁻⁶ it is [-13.8, 13.8], with 0.05 it is [-2.9, 2.9].
///
/// The inverse maps latents far out to values slightly outside [0, 1], down to -α / (1 - 2α).
///
/// Dinh et al. 2017, section 4.1, where α is 0.05; Papamakarios et al. 2017, section E.2, have 10⁻⁶ for MNIST.
#[derive(Debug, Clone, Copy)]
pub struct Logit {
    alpha: f64,
}

impl Logit {
    /// The margin α, in (0, 0.5).
    ///
    /// # Panics
    /// When α lies outside.
    pub fn new(alpha: f64) -> Self {
        assert!(alpha > 0.0 && alpha < 0.5, "alpha must be in (0, 0.5), found {alpha}");
        Logit { alpha }
    }
}

impl Bijection for Logit {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let inner = 1.0 - 2.0 * self.alpha;
        let log_p = (x * inner + self.alpha).log();
        // 1 - p from 1 - x, not from p: near x = 1 the difference would lose all its digits.
        let log_q = ((1f64 - x) * inner + self.alpha).log();
        let log_slope = -(&log_p + &log_q) + inner.ln();
        (log_p - log_q, sum_rows(&log_slope))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let inner = 1.0 - 2.0 * self.alpha;
        let x = (y.sigmoid() - self.alpha) / inner;
        let log_slope = y.log_sigmoid() + (-y).log_sigmoid() - inner.ln();
        (x, sum_rows(&log_slope))
    }
}

impl Layer for Logit {}
