//! The target that a network predicts, and the conversions between the choices.

use gen_core::rng::Generator;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::schedule::{DiscreteVp, Level};
use crate::weighting::Weighting;

/// The target that a network of a variance-preserving process predicts from x_t = α x_0 + σ ε.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise ε (Ho et al. 2020).
    Epsilon,
    /// The data x_0.
    Sample,
    /// v = α ε - σ x_0 (Salimans & Ho 2022, section 4): like ε with little noise, like -x_0 where there
    /// is nothing else, and well conditioned at both ends.
    V,
}

/// α and σ as tensors that broadcast against a batch: scalars, or one of each a row.
#[derive(Debug)]
pub struct Scales {
    /// The factor on the data.
    pub alpha: Tensor,
    /// The standard deviation of the noise.
    pub sigma: Tensor,
}

impl Scales {
    /// The scales of one level, the same for a whole batch like `x`.
    pub fn of(level: &Level, x: &Tensor) -> Self {
        let scalar = |value: f64| Tensor::from(value).to_kind(x.kind()).to_device(x.device());
        Scales { alpha: scalar(level.alpha), sigma: scalar(level.sigma) }
    }

    /// x_t = α x_0 + σ ε.
    pub fn diffuse(&self, x0: &Tensor, noise: &Tensor) -> Tensor {
        &self.alpha * x0 + &self.sigma * noise
    }
}

impl Prediction {
    /// The target for the network's output.
    pub fn target(self, x0: &Tensor, noise: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => noise.shallow_clone(),
            Prediction::Sample => x0.shallow_clone(),
            Prediction::V => &scales.alpha * noise - &scales.sigma * x0,
        }
    }

    /// x_0 from the network's output at `x`.
    pub fn x0(self, output: &Tensor, x: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => (x - &scales.sigma * output) / &scales.alpha,
            Prediction::Sample => output.shallow_clone(),
            Prediction::V => &scales.alpha * x - &scales.sigma * output,
        }
    }

    /// ε from the network's output at `x`.
    pub fn epsilon(self, output: &Tensor, x: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => output.shallow_clone(),
            Prediction::Sample => (x - &scales.alpha * output) / &scales.sigma,
            Prediction::V => &scales.sigma * x + &scales.alpha * output,
        }
    }

    /// The squared error of this target for a squared error of 1 in x_0.
    pub fn error_of_x0(self, snr: f64) -> f64 {
        match self {
            Prediction::Epsilon => snr,
            Prediction::Sample => 1.0,
            Prediction::V => snr + 1.0,
        }
    }
}

/// The training objective of a discrete process: tables over its timesteps, ready for batches.
#[derive(Debug)]
pub struct Objective {
    prediction: Prediction,
    alpha: Tensor,
    sigma: Tensor,
    time: Tensor,
    weight: Tensor,
}

impl Objective {
    /// The squared error of the target that `prediction` names, weighted by `weighting`.
    pub fn new(process: &DiscreteVp, prediction: Prediction, weighting: Weighting) -> Self {
        let levels: Vec<Level> = (0..process.timesteps()).map(|t| process.level(t)).collect();
        let table = |f: &dyn Fn(&Level) -> f64| Tensor::from_slice(&levels.iter().map(f).collect::<Vec<_>>());
        Objective {
            prediction,
            alpha: table(&|level| level.alpha),
            sigma: table(&|level| level.sigma),
            time: table(&|level| level.time),
            weight: table(&|level| weighting.at(level.snr(), prediction)),
        }
    }

    /// α and σ of timesteps `t: i64 [batch]`, shaped to broadcast against `x: [batch, ...]`.
    pub fn scales(&self, t: &Tensor, x: &Tensor) -> Scales {
        Scales { alpha: rows(&self.alpha, t, x), sigma: rows(&self.sigma, t, x) }
    }

    /// The times that condition the network at timesteps `t: i64 [batch]`, in the kind of `x`.
    pub fn time(&self, t: &Tensor, x: &Tensor) -> Tensor {
        pick(&self.time, t, x)
    }

    /// The loss of each row, `[batch]`: the weighted squared error, averaged over the values of the row.
    ///
    /// `network` takes x_t and the times; `x0`, `noise`: `[batch, ...]`, `t: i64 [batch]`. With
    /// [`Prediction::Epsilon`] and [`Weighting::Uniform`] this is L_simple (Ho et al. 2020, equation 14).
    pub fn loss(
        &self,
        network: impl FnOnce(&Tensor, &Tensor) -> Tensor,
        x0: &Tensor,
        noise: &Tensor,
        t: &Tensor,
    ) -> Tensor {
        let scales = self.scales(t, x0);
        let weight = pick(&self.weight, t, x0);
        let target = self.prediction.target(x0, noise, &scales);
        let output = network(&scales.diffuse(x0, noise), &self.time(t, x0));
        // Not flattened, which would move every value where the batch is innermost.
        let values: Vec<i64> = (1..x0.dim() as i64).collect();
        weight * (output - target).square().mean_dim(values, false, None::<Kind>)
    }
}

/// Entries `t` of a table, shaped to broadcast against `x: [batch, ...]`.
pub(crate) fn rows(table: &Tensor, t: &Tensor, x: &Tensor) -> Tensor {
    let mut shape = vec![1; x.dim()];
    shape[0] = -1;
    pick(table, t, x).view(shape.as_slice())
}

/// Entries `t` of a table, in the kind of `like`. Tables stay on the host in f64; only the entries that are picked are
/// copied to the device.
fn pick(table: &Tensor, t: &Tensor, like: &Tensor) -> Tensor {
    table.index_select(0, &t.to_device(table.device())).to_kind(like.kind()).to_device(like.device())
}

/// A timestep from `rng` for each of `batch` rows, one from each of `batch` equal parts of `0..timesteps`, in ascending
/// order: `i64 [batch]`.
///
/// Each is uniform as in Ho et al. (2020), algorithm 1, when rows are in random order; together they cover the
/// process evenly, which takes variance out of the loss at no cost (Kingma et al. 2021, appendix I.1).
pub fn stratified_timesteps(batch: i64, timesteps: usize, like: &Tensor, rng: &Generator) -> Tensor {
    let part = Tensor::arange(batch, (Kind::Double, like.device()));
    let place = (&part + rng.rand_like(&part)) * (timesteps as f64 / batch as f64);
    place.floor().to_kind(Kind::Int64).clamp_max(timesteps as i64 - 1)
}
