//! The training objective: a weighted squared error of the network's target.

use tch::{Kind, Tensor};

use crate::prediction::Prediction;
use crate::scales::{Scales, column};
use crate::schedule::Level;
use crate::weighting::Weighting;

/// The squared error of a target, weighted by noise level.
///
/// ```
/// use gen_diffusion::objective::Objective;
/// use gen_diffusion::prediction::Prediction;
/// use gen_diffusion::schedule::{Process, RectifiedFlow};
/// use gen_diffusion::weighting::Weighting;
/// use tch::{Device, Kind, Tensor};
///
/// let objective = Objective { prediction: Prediction::Velocity, weighting: Weighting::Uniform };
/// let x0 = Tensor::randn([2, 3], (Kind::Float, Device::Cpu));
/// let levels = [0.3, 0.8].map(|time| RectifiedFlow.at(time));
/// // A network that predicts 1 everywhere.
/// let loss = objective.loss(|x, _time| x.ones_like(), &x0, &(&x0 + 1.0), &levels);
/// assert!(loss.abs().max().double_value(&[]) < 1e-10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The target.
    pub prediction: Prediction,
    /// The weight of each noise level.
    pub weighting: Weighting,
}

impl Objective {
    /// The loss of each row, `[batch]`: the weighted squared error, averaged over the values of the row.
    ///
    /// `network` takes its input and the times `[batch]`; `x0`, `noise`: `[batch, ...]`, with a level for each row.
    /// With [`Prediction::Epsilon`] and [`Weighting::Uniform`] this is L_simple (Ho et al. 2020, equation 14).
    pub fn loss(
        &self,
        network: impl FnOnce(&Tensor, &Tensor) -> Tensor,
        x0: &Tensor,
        noise: &Tensor,
        levels: &[Level],
    ) -> Tensor {
        let Objective { prediction, weighting } = *self;
        let scales = Scales::of_rows(levels, x0);
        let x = scales.diffuse(x0, noise);
        let target = prediction.target(x0, noise, &scales);
        let output = network(&prediction.input(&x, &scales), &scales.time);
        let weight = column(levels, x0, |level| weighting.at(level, prediction));
        // Not flattened, which would move every value where the batch is innermost.
        let values: Vec<i64> = (1..x0.dim() as i64).collect();
        weight * (output - target).square().mean_dim(values, false, None::<Kind>)
    }
}
