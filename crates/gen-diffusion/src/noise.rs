//! The distribution of noise levels in training.

use gen_core::Result;
use gen_core::config::positive;
use gen_core::rng::Generator;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::scales::numbers;
use crate::schedule::{Level, Process};

/// The distribution from which training draws a noise level for each row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NoiseDistribution {
    /// Times uniform in [0, 1], one from each of as many equal parts as there are rows.
    ///
    /// Each is uniform as in Ho et al. (2020), algorithm 1, when rows are in random order; together they cover the
    /// process evenly, which takes variance out of the loss at no cost (Kingma et al. 2021, appendix I.1).
    Stratified,
    /// Times uniform in [0, 1], each by itself.
    Uniform,
    /// ln(σ/α) from a normal distribution (Karras et al. 2022, table 1).
    Lognormal(Lognormal),
    /// Times whose logit ln(t / (1 - t)) is from a normal distribution (Esser et al. 2024, section 3.1).
    LogitNormal(LogitNormal),
}

/// The normal distribution of ln(σ/α).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lognormal {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, above 0.
    pub std: f64,
}

impl Default for Lognormal {
    /// P_mean and P_std of Karras et al. (2022).
    fn default() -> Self {
        Lognormal { mean: -1.2, std: 1.2 }
    }
}

/// The normal distribution of the logit of the time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogitNormal {
    /// The mean: above 0 for more noise.
    pub mean: f64,
    /// The standard deviation, above 0.
    pub std: f64,
}

impl Default for LogitNormal {
    fn default() -> Self {
        LogitNormal { mean: 0.0, std: 1.0 }
    }
}

impl NoiseDistribution {
    /// A level of `process` for each of `rows` rows, from the least noise to the most.
    pub fn draw(self, rows: i64, process: &dyn Process, rng: &Generator, device: Device) -> Vec<Level> {
        let options = (Kind::Double, device);
        let at = |times: Tensor| -> Vec<Level> { numbers(&times).into_iter().map(|time| process.at(time)).collect() };
        let mut levels = match self {
            NoiseDistribution::Stratified => {
                let part = Tensor::arange(rows, options);
                at((&part + rng.rand_like(&part)) / rows as f64)
            }
            NoiseDistribution::Uniform => at(rng.rand([rows], options)),
            NoiseDistribution::Lognormal(Lognormal { mean, std }) => {
                let log_ratio = rng.randn([rows], options) * std + mean;
                numbers(&log_ratio).into_iter().map(|log_ratio| process.at_log_snr(-2.0 * log_ratio)).collect()
            }
            NoiseDistribution::LogitNormal(LogitNormal { mean, std }) => {
                at((rng.randn([rows], options) * std + mean).sigmoid())
            }
        };
        levels.sort_by(|a, b| b.snr().total_cmp(&a.snr()));
        levels
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            NoiseDistribution::Stratified | NoiseDistribution::Uniform => Ok(()),
            NoiseDistribution::Lognormal(Lognormal { std, .. })
            | NoiseDistribution::LogitNormal(LogitNormal { std, .. }) => positive("noise.std", std),
        }
    }
}
