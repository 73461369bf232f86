use super::level::Level;
use super::process::Process;

/// The cosine process in continuous time, α = cos φ and σ = sin φ with an angle φ that grows evenly with time (Salimans
/// & Ho 2022, section 2), between the log signal-to-noise ratios 20 and -20 (Ho & Salimans 2022, section 4).
#[derive(Debug, Clone, Copy)]
pub struct CosineVp;

/// |λ| at both ends.
const LOG_SNR: f64 = 20.0;

fn angle(log_snr: f64) -> f64 {
    (-0.5 * log_snr).exp().atan()
}

impl Process for CosineVp {
    fn at(&self, time: f64) -> Level {
        let [first, last] = [angle(LOG_SNR), angle(-LOG_SNR)];
        let angle = first + time * (last - first);
        Level { alpha: angle.cos(), sigma: angle.sin(), time: 1000.0 * time }
    }

    fn at_log_snr(&self, log_snr: f64) -> Level {
        let [first, last] = [angle(LOG_SNR), angle(-LOG_SNR)];
        let time = (angle(log_snr) - first) / (last - first);
        Level::normalised(log_snr, 1000.0 * time.clamp(0.0, 1.0))
    }
}

/// The process whose β grows linearly with time from 0.1 to 20 (Song et al. 2021, Score-Based Generative Modeling,
/// equation 33): the limit of [`NoiseSchedule::Linear`](super::NoiseSchedule::Linear) for many timesteps.
///
/// > α = exp(-t² (20 - 0.1) / 4 - t 0.1 / 2)
///
/// It begins at t = 1e-5, as there for training and likelihoods.
#[derive(Debug, Clone, Copy)]
pub struct LinearVp;

const BETA_MIN: f64 = 0.1;
const BETA_RANGE: f64 = 19.9;
const BEGIN: f64 = 1e-5;

impl Process for LinearVp {
    fn at(&self, time: f64) -> Level {
        let t = BEGIN + (1.0 - BEGIN) * time;
        // -ln α²
        let exponent = 0.5 * BETA_RANGE * t * t + BETA_MIN * t;
        Level { alpha: (-0.5 * exponent).exp(), sigma: (-(-exponent).exp_m1()).sqrt(), time: 1000.0 * time }
    }

    fn at_log_snr(&self, log_snr: f64) -> Level {
        // -ln α² = ln(1 + e^-λ), a quadratic in t. The form of its root without a difference.
        let exponent = if log_snr > 0.0 { (-log_snr).exp().ln_1p() } else { log_snr.exp().ln_1p() - log_snr };
        let t = 2.0 * exponent / (BETA_MIN + (BETA_MIN.powi(2) + 2.0 * BETA_RANGE * exponent).sqrt());
        let time = (t - BEGIN) / (1.0 - BEGIN);
        Level::normalised(log_snr, 1000.0 * time.clamp(0.0, 1.0))
    }
}
