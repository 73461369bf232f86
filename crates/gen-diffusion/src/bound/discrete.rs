//! The bound of a process of T steps, term by term (Ho et al. 2020, equation 5).

use gen_core::rng::Generator;
use tch::{Device, Kind, Tensor};

use super::decoder::Decoder;
use super::terms::{prior, squared_error};
use crate::samplers::Variance;
use crate::scales::{Scales, numbers};
use crate::schedule::{Level, Posterior};

/// The bound of one process: -log p(x_0) ≤ L_T + Σ_{t>0} L_t + L_0, in expectation over the noise.
///
/// Timesteps count from 0: L_0 of the paper belongs to timestep 0 and its L_t to timestep t.
/// All results are `f64 [batch]`.
#[derive(Debug)]
pub struct VariationalBound {
    decoder: Decoder,
    decoder_std: f64,
    levels: Vec<Level>,
    /// L_t is `spread` for each value of a row and `weight` times the squared error of x_0.
    spread: Tensor,
    weight: Tensor,
}

impl VariationalBound {
    /// The bound of a process of these levels, from the least noise to the most, with reverse steps of this variance.
    ///
    /// Timestep 0 has the variance β̃ of timestep 1, its own being 0 (Nichol & Dhariwal 2021, section 3.1).
    ///
    /// # Panics
    /// When there is no level.
    pub fn new(levels: &[Level], variance: Variance, decoder: Decoder) -> Self {
        let (mut spread, mut weight) = (vec![0.0], vec![0.0]);
        for pair in levels.windows(2) {
            let posterior = Posterior::between(&pair[1], &pair[0]);
            let model = variance.of(&posterior);
            let ratio = posterior.variance / model;
            // The two means differ by coef_x0 times the error of x_0: only x_0 is uncertain in them.
            spread.push(0.5 * (ratio - 1.0 - ratio.ln()));
            weight.push(0.5 * posterior.coef_x0.powi(2) / model);
        }
        let first = match levels {
            [first, second, ..] => Posterior::between(second, first).variance,
            _ => Posterior::between(&levels[0], &Level::CLEAN).beta,
        };
        VariationalBound {
            decoder,
            decoder_std: first.sqrt(),
            levels: levels.to_vec(),
            spread: Tensor::from_slice(&spread),
            weight: Tensor::from_slice(&weight),
        }
    }

    /// L_T: the KL divergence of x_T given `x0: [batch, ...]` from the noise that sampling starts with. No network has
    /// a part in it.
    pub fn prior(&self, x0: &Tensor) -> Tensor {
        prior(x0, &self.levels[self.timesteps() - 1])
    }

    /// L_0: -log p(x_0 | x_1), where the network's estimate of x_0 is `estimate`.
    pub fn reconstruction(&self, x0: &Tensor, estimate: &Tensor) -> Tensor {
        self.decoder.nats(x0, estimate, self.decoder_std)
    }

    /// L_t: KL(q(x_{t-1} | x_t, x_0) ‖ p(x_{t-1} | x_t)) at timesteps `t: i64 [batch]`, all above 0.
    pub fn transition(&self, t: &Tensor, x0: &Tensor, estimate: &Tensor) -> Tensor {
        let values = (x0.numel() as i64 / x0.size()[0]) as f64;
        let pick = |table: &Tensor| table.index_select(0, &t.to_device(Device::Cpu)).to_device(x0.device());
        pick(&self.spread) * values + pick(&self.weight) * squared_error(x0, estimate)
    }

    /// An unbiased estimate of the lower bound on log p of each row of `x0: [batch, ...]` from `evaluations` calls of
    /// the network, at least 2: one for L_0, the others for a sample of the L_t; T calls give each L_t once.
    ///
    /// Noise and timesteps are drawn from `rng`. `denoise` estimates x_0 from x_t and its scales. The timesteps from 1
    /// to T - 1 are cut into parts that grow with t, as the terms shrink with it, and one is drawn from each.
    pub fn estimate(
        &self,
        mut denoise: impl FnMut(&Tensor, &Scales) -> Tensor,
        x0: &Tensor,
        evaluations: usize,
        rng: &Generator,
    ) -> Tensor {
        let mut estimate_at = |t: &Tensor| {
            let levels: Vec<Level> = numbers(t).into_iter().map(|t| self.levels[t as usize]).collect();
            let scales = Scales::of_rows(&levels, x0);
            denoise(&scales.diffuse(x0, &rng.randn_like(x0)), &scales)
        };
        let batch = x0.size()[0];
        let options = (Kind::Int64, x0.device());
        let first = Tensor::zeros([batch], options);
        let mut bound = self.prior(x0) + self.reconstruction(x0, &estimate_at(&first));
        for (start, end) in strata(self.timesteps(), evaluations.saturating_sub(1)) {
            let t = rng.randint(start, end, [batch], options);
            bound += self.transition(&t, x0, &estimate_at(&t)) * (end - start) as f64;
        }
        -bound
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.levels.len()
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
