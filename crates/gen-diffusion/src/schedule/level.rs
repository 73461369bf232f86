/// A noise level: x_t = α x_0 + σ ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The factor on the data.
    pub alpha: f64,
    /// The standard deviation of the noise.
    pub sigma: f64,
    /// The time that conditions the network, in thousandths of the process.
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
}
