use tch::Tensor;

use super::tableau::{NODES, STAGES, STEP};
use crate::error::Result;

/// The values of f in one step, as rows of a matrix, so that their combinations are one product.
pub(super) struct Stages {
    /// `[stages, values]`
    rows: Tensor,
    shape: Vec<i64>,
}

impl Stages {
    pub(super) fn new(y: &Tensor) -> Self {
        let rows = Tensor::empty([STAGES as i64, y.numel() as i64], (y.kind(), y.device()));
        Stages { rows, shape: y.size() }
    }

    pub(super) fn set(&mut self, i: usize, value: &Tensor) {
        self.rows.get(i as i64).view(self.shape.as_slice()).copy_(value);
    }

    /// The last value is the first of the next step.
    pub(super) fn advance(&mut self) {
        self.rows.get(0).copy_(&self.rows.get(STAGES as i64 - 1));
    }

    /// Σ wᵢ h kᵢ over as many of the first stages as there are weights.
    pub(super) fn combined(&self, weights: &[f64], h: f64) -> Tensor {
        self.product(weights, h).view(self.shape.as_slice())
    }

    fn product(&self, weights: &[f64], h: f64) -> Tensor {
        self.rows.narrow(0, 0, weights.len() as i64).tr().mv(&self.weights(weights, h))
    }

    fn weights(&self, weights: &[f64], h: f64) -> Tensor {
        let weights: Vec<f64> = weights.iter().map(|weight| weight * h).collect();
        Tensor::from_slice(&weights).to_kind(self.rows.kind()).to_device(self.rows.device())
    }

    /// y + Σ wᵢ h kᵢ
    pub(super) fn moved(&self, y: &Tensor, weights: &[f64], h: f64) -> Tensor {
        let rows = self.rows.narrow(0, 0, weights.len() as i64);
        y.view([-1]).addmv(&rows.tr(), &self.weights(weights, h)).view(self.shape.as_slice())
    }

    /// Computes the stages of a step of `h` from `y` at `t`, the first of which is set already, and returns the state
    /// after the step.
    pub(super) fn step(
        &mut self,
        field: &mut impl FnMut(f64, &Tensor) -> Result<Tensor>,
        t: f64,
        h: f64,
        y: &Tensor,
    ) -> Result<Tensor> {
        let mut next = y.shallow_clone();
        for i in 1..STAGES {
            next = self.moved(y, STEP[i], h);
            let k = field(t + NODES[i] * h, &next)?;
            self.set(i, &k);
        }
        Ok(next)
    }
}
