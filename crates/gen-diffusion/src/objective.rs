//! The training objective: a weighted squared error of the network's target.

use gen_core::rng::Generator;
use tch::{Kind, Tensor};

use crate::prediction::{Prediction, Scales};
use crate::schedule::{DiscreteVp, Level};
use crate::weighting::Weighting;

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
