/// A noise level: x_t = α x_0 + σ ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The factor on the data.
    pub alpha: f64,
    /// The standard deviation of the noise.
    pub sigma: f64,
    /// The number that tells the network the level. Most processes have thousandths of their time.
    pub time: f64,
}

impl Level {
    /// Data without noise, where every sampler ends. No network is evaluated here.
    pub const CLEAN: Level = Level { alpha: 1.0, sigma: 0.0, time: 0.0 };

    /// The signal-to-noise ratio α² / σ².
    pub fn snr(&self) -> f64 {
        (self.alpha / self.sigma).powi(2)
    }

    /// Its logarithm, λ.
    pub fn log_snr(&self) -> f64 {
        2.0 * (self.alpha / self.sigma).ln()
    }

    /// The standard deviation of x_t where that of the data is 1. Sampling starts from noise of this deviation.
    pub fn spread(&self) -> f64 {
        self.alpha.hypot(self.sigma)
    }

    /// The pair (α, σ) with α² + σ² = 1 of this logarithm of the signal-to-noise ratio.
    pub(super) fn normalised(log_snr: f64, time: f64) -> Self {
        // α² is the sigmoid of the logarithm of α²/σ², σ² that of its negative.
        let root = |x: f64| (1.0 + (-x).exp()).recip().sqrt();
        Level { alpha: root(log_snr), sigma: root(-log_snr), time }
    }
}
