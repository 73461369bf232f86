use super::level::Level;
use super::process::Process;

/// The straight way from data to noise, x_t = (1 - t) x_0 + t ε (Liu et al. 2023; Lipman et al. 2023 with σ_min = 0).
///
/// The papers count t from noise to data. It begins at t = 1e-3, as in the code of Liu et al.
#[derive(Debug, Clone, Copy)]
pub struct RectifiedFlow;

const BEGIN: f64 = 1e-3;

impl RectifiedFlow {
    fn level(t: f64) -> Level {
        Level { alpha: 1.0 - t, sigma: t, time: 1000.0 * t }
    }
}

impl Process for RectifiedFlow {
    fn at(&self, time: f64) -> Level {
        RectifiedFlow::level(BEGIN + (1.0 - BEGIN) * time)
    }

    fn at_log_snr(&self, log_snr: f64) -> Level {
        // (1 - t) / t = e^(λ/2)
        let sigma = (1.0 + (0.5 * log_snr).exp()).recip();
        Level { alpha: (1.0 + (-0.5 * log_snr).exp()).recip(), ..RectifiedFlow::level(sigma) }
    }
}
