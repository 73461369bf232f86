use serde::{Deserialize, Serialize};

/// How the variance of the noise grows over the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseSchedule {
    /// β from 1e-4 to 0.02 in equal steps (Ho et al. 2020, section 4), times 1000 / T for another number of
    /// timesteps than 1000.
    Linear,
    /// ᾱ(t) = cos²((t/T + s) / (1 + s) · π/2) with s = 0.008 (Nichol & Dhariwal 2021, equation 17).
    Cosine,
}

/// No β is larger: the last step must leave some signal, or x_T would not depend on x_0.
const MAX_BETA: f64 = 0.999;

impl NoiseSchedule {
    /// β of each of `timesteps` timesteps, each at most 0.999.
    ///
    /// ```
    /// use gen_diffusion::schedule::NoiseSchedule;
    /// let betas = NoiseSchedule::Linear.betas(1000);
    /// assert_eq!(betas[0], 1e-4);
    /// assert!((betas[999] - 0.02).abs() < 1e-15);
    /// ```
    pub fn betas(self, timesteps: usize) -> Vec<f64> {
        let n = timesteps as f64;
        let beta = |t: usize| match self {
            NoiseSchedule::Linear => {
                let (first, last) = (1e-4 * 1000.0 / n, 0.02 * 1000.0 / n);
                first + (last - first) * t as f64 / (n - 1.0).max(1.0)
            }
            NoiseSchedule::Cosine => {
                let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                1.0 - alpha_bar((t + 1) as f64 / n) / alpha_bar(t as f64 / n)
            }
        };
        (0..timesteps).map(|t| beta(t).min(MAX_BETA)).collect()
    }
}
