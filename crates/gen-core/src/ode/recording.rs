use tch::Tensor;

use super::Stages;
use super::tableau::{NODES, STAGES, STEP};
use crate::error::Result;

/// A slope, and its Jacobian from the left: what takes a gradient of the slope to one of the state.
pub type Linearised<'a> = (Tensor, Box<dyn FnOnce(&Tensor) -> Result<Tensor> + 'a>);

/// The steps of a solution: where each began. It has as many states as there were steps.
#[derive(Debug, Default)]
pub struct Recording(Vec<Step>);

#[derive(Debug)]
struct Step {
    t: f64,
    h: f64,
    start: Tensor,
}

impl Recording {
    pub(super) fn push(&mut self, t: f64, h: f64, start: &Tensor) {
        self.0.push(Step { t, h, start: start.shallow_clone() });
    }

    /// Where each step began in time, and how long it was: negative if time ran backward.
    pub fn lengths(&self) -> Vec<(f64, f64)> {
        self.0.iter().map(|step| (step.t, step.h)).collect()
    }

    /// The gradient with respect to the initial state, from the `gradient` with respect to the solution.
    ///
    /// It is that of the very steps that were taken, their lengths being constants: it agrees with automatic
    /// differentiation through the solver to rounding, where the adjoint equation solved backward (Chen et al. 2018,
    /// section 2) agrees to its tolerance. Each step is taken once more, six evaluations, and then gone back through, so
    /// that the intermediate values of one step at a time are kept.
    ///
    /// `linearise` gives f(t, y) and the product of a vector with ∂f/∂y from the left. What f depends on besides takes
    /// its gradient there: each product is called once, for each stage of each step, from the last to the first, and the
    /// gradients of parameters are the sums over these calls.
    ///
    /// # Errors
    /// When `linearise` or a product fails.
    pub fn pull_back<'a>(
        &self,
        gradient: &Tensor,
        mut linearise: impl FnMut(f64, &Tensor) -> Result<Linearised<'a>>,
    ) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let mut of_end = gradient.contiguous();
        let last = STAGES - 1;
        for Step { t, h, start } in self.0.iter().rev() {
            let mut stages = Stages::new(start);
            let mut products = Vec::with_capacity(last);
            for i in 0..last {
                let state = if i == 0 { start.shallow_clone() } else { stages.moved(start, STEP[i], *h) };
                let (slope, product) = linearise(t + NODES[i] * h, &state)?;
                stages.set(i, &slope);
                products.push(product);
            }
            // The gradients of the end, and of the stages from the last to the first.
            let mut gradients = Stages::new(start);
            gradients.set(0, &of_end);
            for (i, product) in products.into_iter().enumerate().rev() {
                // Stage i is in the step itself, and in every later stage.
                let weights: Vec<f64> = (i + 1..STAGES).rev().map(|later| STEP[later][i]).collect();
                let of_slope = gradients.combined(&weights, *h);
                gradients.set(last - i, &product(&of_slope)?);
            }
            of_end = gradients.combined(&[1.0; STAGES], 1.0);
        }
        Ok(of_end)
    }
}
