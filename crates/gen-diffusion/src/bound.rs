//! Variational bounds on the log-likelihood, in nats: that of a process without steps, [`ContinuousBound`], and that of
//! its T steps, [`VariationalBound`].

mod continuous;
mod discrete;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

pub use continuous::ContinuousBound;
pub use discrete::VariationalBound;

use crate::schedule::Level;

/// Which bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// [`ContinuousBound`], the tighter one.
    #[default]
    Continuous,
    /// [`VariationalBound`]: that of the process which ancestral sampling in T steps draws from.
    Discrete,
}

/// KL(N(mean1, e^log_var1) ‖ N(mean2, e^log_var2)) of each entry.
pub fn normal_kl(mean1: &Tensor, log_var1: &Tensor, mean2: &Tensor, log_var2: &Tensor) -> Tensor {
    let spread = (log_var1 - log_var2).exp() + log_var2 - log_var1 - 1.0;
    (spread + (mean1 - mean2).square() * (-log_var2).exp()) * 0.5
}

/// The log-density of each entry of `x` under N(mean, std²).
pub fn gaussian_log_prob(x: &Tensor, mean: &Tensor, std: f64) -> Tensor {
    let log_normaliser = std.ln() + 0.5 * (2.0 * std::f64::consts::PI).ln();
    ((x - mean) / std).square() * -0.5 - log_normaliser
}

/// The log-probability of each entry of `x`, one of `levels` equally spaced values from -1 to 1, under N(mean, std²)
/// cut into cells around these values, the two outermost open (Ho et al. 2020, equation 13).
///
/// Computed from log Φ, so that it holds far out in the tails. (improved-diffusion has a tanh in place of Φ, and a floor
/// of 1e-12 that makes a bound with bad outliers look better than it is.)
pub fn discretised_gaussian_log_prob(x: &Tensor, mean: &Tensor, std: f64, levels: u32) -> Tensor {
    let half = 1.0 / (f64::from(levels) - 1.0);
    let log_cdf = |z: Tensor| (z / std).special_log_ndtr();
    let centred = x - mean;
    // Φ(b) - Φ(a) = Φ(-a) - Φ(-b): on the side where both are small no digits are lost.
    let distance = centred.abs();
    let (inner, outer) = (log_cdf(half - &distance), log_cdf(-half - &distance));
    let within = &inner + log1mexp(&(outer - &inner));
    let (lowest, highest) = (log_cdf(&centred + half), log_cdf(half - &centred));
    let edge = 1.0 - half;
    lowest.where_self(&x.lt(-edge), &highest.where_self(&x.gt(edge), &within))
}

/// log(1 - e^x) for x < 0 (Mächler 2012, equation 7).
fn log1mexp(x: &Tensor) -> Tensor {
    let (near, far) = ((-x.expm1()).log(), (-x.exp()).log1p());
    near.where_self(&x.gt(-std::f64::consts::LN_2), &far)
}

/// What the last step of a process makes of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// The probability of a value on a grid of this many from -1 to 1: [`discretised_gaussian_log_prob`].
    Discretised(u32),
    /// The density of a real number: [`gaussian_log_prob`].
    Gaussian,
}

impl Decoder {
    /// -log p of each row of `x0: [batch, ...]` around `mean`: `f64 [batch]`.
    fn nats(self, x0: &Tensor, mean: &Tensor, std: f64) -> Tensor {
        let (x0, mean) = (x0.to_kind(Kind::Double), mean.to_kind(Kind::Double));
        -sum(&match self {
            Decoder::Discretised(levels) => discretised_gaussian_log_prob(&x0, &mean, std, levels),
            Decoder::Gaussian => gaussian_log_prob(&x0, &mean, std),
        })
    }
}

/// The KL divergence from N(0, I) of what is left of `x0: [batch, ...]` at the level `last`: `f64 [batch]`.
fn prior(x0: &Tensor, last: &Level) -> Tensor {
    let mean = x0.to_kind(Kind::Double) * last.alpha;
    let log_var = mean.full_like(last.sigma.powi(2).ln());
    sum(&normal_kl(&mean, &log_var, &mean.zeros_like(), &mean.zeros_like()))
}

/// Over the values of each row: `f64 [batch]`.
fn sum(x: &Tensor) -> Tensor {
    x.flatten(1, -1).sum_dim_intlist(1, false, Kind::Double)
}
