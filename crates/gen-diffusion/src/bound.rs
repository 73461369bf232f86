//! The variational bound on the log-likelihood, term by term (Ho et al. 2020, equation 5), in nats.

use gen_core::rng::Generator;
use tch::{Device, Kind, Tensor};

use crate::prediction::rows;
use crate::samplers::Variance;
use crate::schedule::{DiscreteVp, Level, Posterior};

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

/// p(x_0 | x_1): what the last step of the process makes of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// The probability of a value on a grid of this many from -1 to 1: [`discretised_gaussian_log_prob`].
    Discretised(u32),
    /// The density of a real number: [`gaussian_log_prob`].
    Gaussian,
}

/// The bound of one process: -log p(x_0) ≤ L_T + Σ_{t>0} L_t + L_0, in expectation over the noise.
///
/// Timesteps count from 0, so that what the paper calls L_0 belongs to timestep 0 and its L_{t} to timestep t.
/// All results are `f64 [batch]`.
#[derive(Debug)]
pub struct VariationalBound {
    decoder: Decoder,
    decoder_std: f64,
    last: Level,
    alpha: Tensor,
    sigma: Tensor,
    /// L_t is `spread` for each value of a row and `weight` times the squared error of x_0.
    spread: Tensor,
    weight: Tensor,
}

impl VariationalBound {
    /// The bound of `process` with reverse steps of this variance.
    ///
    /// Timestep 0 has the variance β̃ of timestep 1, its own being 0 (Nichol & Dhariwal 2021, section 3.1).
    pub fn new(process: &DiscreteVp, variance: Variance, decoder: Decoder) -> Self {
        let timesteps = process.timesteps();
        let levels: Vec<Level> = (0..timesteps).map(|t| process.level(t)).collect();
        let (mut spread, mut weight) = (vec![0.0], vec![0.0]);
        for pair in levels.windows(2) {
            let posterior = Posterior::between(&pair[1], &pair[0]);
            let model = variance.of(&posterior);
            let ratio = posterior.variance / model;
            // The two means differ by coef_x0 times the error of x_0: only x_0 is uncertain in them.
            spread.push(0.5 * (ratio - 1.0 - ratio.ln()));
            weight.push(0.5 * posterior.coef_x0.powi(2) / model);
        }
        let first = match levels.get(1) {
            Some(second) => Posterior::between(second, &levels[0]).variance,
            None => process.betas()[0],
        };
        let table = |f: &dyn Fn(&Level) -> f64| Tensor::from_slice(&levels.iter().map(f).collect::<Vec<_>>());
        VariationalBound {
            decoder,
            decoder_std: first.sqrt(),
            last: levels[timesteps - 1],
            alpha: table(&|level| level.alpha),
            sigma: table(&|level| level.sigma),
            spread: Tensor::from_slice(&spread),
            weight: Tensor::from_slice(&weight),
        }
    }

    /// L_T: the KL divergence from N(0, I) of what is left of `x0: [batch, ...]` at the end. No network has a part in
    /// it.
    pub fn prior(&self, x0: &Tensor) -> Tensor {
        let mean = x0.to_kind(Kind::Double) * self.last.alpha;
        let log_var = mean.full_like(self.last.sigma.powi(2).ln());
        sum(&normal_kl(&mean, &log_var, &mean.zeros_like(), &mean.zeros_like()))
    }

    /// L_0: -log p(x_0 | x_1), where the network's estimate of x_0 is `estimate`.
    pub fn reconstruction(&self, x0: &Tensor, estimate: &Tensor) -> Tensor {
        let (x0, mean) = (x0.to_kind(Kind::Double), estimate.to_kind(Kind::Double));
        -sum(&match self.decoder {
            Decoder::Discretised(levels) => {
                discretised_gaussian_log_prob(&x0, &mean, self.decoder_std, levels)
            }
            Decoder::Gaussian => gaussian_log_prob(&x0, &mean, self.decoder_std),
        })
    }

    /// L_t: KL(q(x_{t-1} | x_t, x_0) ‖ p(x_{t-1} | x_t)) at timesteps `t: i64 [batch]`, all above 0.
    pub fn transition(&self, t: &Tensor, x0: &Tensor, estimate: &Tensor) -> Tensor {
        let error = (x0.to_kind(Kind::Double) - estimate.to_kind(Kind::Double)).square();
        let values = (x0.numel() as i64 / x0.size()[0]) as f64;
        let pick = |table: &Tensor| table.index_select(0, &t.to_device(Device::Cpu)).to_device(x0.device());
        pick(&self.spread) * values + pick(&self.weight) * sum(&error)
    }

    /// An unbiased estimate of the lower bound on log p of each row of `x0: [batch, ...]` from `evaluations` calls of the
    /// network, at least 2: one for L_0, the others for a sample of the L_t; T calls give each L_t once.
    ///
    /// Noise and timesteps are drawn from `rng`. `denoise` estimates x_0 from x_t and `t: i64 [batch]`. The timesteps from 1 to T - 1 are cut into parts that
    /// grow with t, as the terms shrink with it, and one is drawn from each.
    pub fn estimate(
        &self,
        mut denoise: impl FnMut(&Tensor, &Tensor) -> Tensor,
        x0: &Tensor,
        evaluations: usize,
        rng: &Generator,
    ) -> Tensor {
        let mut guess = |t: &Tensor| {
            let (alpha, sigma) = (rows(&self.alpha, t, x0), rows(&self.sigma, t, x0));
            denoise(&(alpha * x0 + sigma * rng.randn_like(x0)), t)
        };
        let batch = x0.size()[0];
        let options = (Kind::Int64, x0.device());
        let first = Tensor::zeros([batch], options);
        let mut bound = self.prior(x0) + self.reconstruction(x0, &guess(&first));
        for (start, end) in strata(self.timesteps(), evaluations.saturating_sub(1)) {
            let t = rng.randint(start, end, [batch], options);
            bound += self.transition(&t, x0, &guess(&t)) * (end - start) as f64;
        }
        -bound
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.alpha.size()[0] as usize
    }
}

/// `1..timesteps` in at most `count` parts `start..end` whose lengths grow linearly.
fn strata(timesteps: usize, count: usize) -> Vec<(i64, i64)> {
    let count = count.min(timesteps - 1);
    let mut parts = Vec::with_capacity(count);
    let mut start = 1;
    for i in 1..=count {
        let place = (timesteps - 1) as f64 * (i as f64 / count as f64).powi(2);
        // At least one timestep here, and at least one left for each part to come.
        let end = (1 + place.round() as usize).max(start + 1).min(timesteps - (count - i));
        parts.push((start as i64, end as i64));
        start = end;
    }
    parts
}

fn sum(x: &Tensor) -> Tensor {
    x.flatten(1, -1).sum_dim_intlist(1, false, Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_cover_every_timestep_once() {
        for timesteps in [1, 2, 3, 10, 50, 1000] {
            for count in [0, 1, 2, 7, 19, 49, 999, 5000] {
                let parts = strata(timesteps, count);
                assert_eq!(parts.len(), count.min(timesteps - 1));
                assert!(parts.iter().all(|(start, end)| start < end));
                assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0));
                if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
                    assert_eq!((first.0, last.1), (1, timesteps as i64));
                }
            }
        }
    }
}
