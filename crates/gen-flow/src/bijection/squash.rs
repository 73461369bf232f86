use std::f64::consts::LN_2;

use gen_core::distributions::sum_rows;
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// From the real line to (0, 1),
///
/// > y = σ(x) = 1 / (1 + e⁻ˣ), log|dy/dx| = ln σ(x) + ln σ(-x)
///
/// for each value. The inverse is defined on (0, 1); values at or beyond its ends are taken for the nearest number
/// inside, so that its results stay finite.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sigmoid;

impl Bijection for Sigmoid {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (x.sigmoid(), sum_rows(&(x.log_sigmoid() + (-x).log_sigmoid())))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let y = y.clamp(smallest(y), 1.0 - epsilon(y));
        let (log_p, log_q) = (y.log(), (-&y).log1p());
        let log_slope = -(&log_p + &log_q);
        (log_p - log_q, sum_rows(&log_slope))
    }
}

impl Layer for Sigmoid {}

/// From the real line to (-1, 1),
///
/// > y = tanh x, log|dy/dx| = 2 (ln 2 - x - ln(1 + e⁻²ˣ))
///
/// for each value. The inverse is defined on (-1, 1); values at or beyond its ends are taken for the nearest number
/// inside, so that its results stay finite.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tanh;

/// ln(1 - tanh² x).
fn log_slope(x: &Tensor) -> Tensor {
    (-x - (x * -2.0).softplus() + LN_2) * 2.0
}

impl Bijection for Tanh {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (x.tanh(), sum_rows(&log_slope(x)))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let end = 1.0 - epsilon(y);
        let x = y.clamp(-end, end).atanh();
        let log_slope = -log_slope(&x);
        (x, sum_rows(&log_slope))
    }
}

impl Layer for Tanh {}

/// Half of the distance from 1 to the next number above it: that to the next below.
fn epsilon(x: &Tensor) -> f64 {
    if x.kind() == tch::Kind::Double { f64::EPSILON / 2.0 } else { f64::from(f32::EPSILON) / 2.0 }
}

/// The smallest number with all digits.
fn smallest(x: &Tensor) -> f64 {
    if x.kind() == tch::Kind::Double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) }
}
