use tch::Tensor;

use super::stages::Stages;
use super::tableau::{NODES, STAGES, STEP};
use crate::error::Result;

/// The product of a vector with a Jacobian, vᵀ ∂f/∂y: from a gradient of f to one of the state.
pub type VectorJacobianProduct<'a> = Box<dyn FnOnce(&Tensor) -> Result<Tensor> + 'a>;

/// The discrete adjoint of a solution: the steps that were taken, through which gradients go back. It holds a state for
/// each step.
#[derive(Debug, Default)]
pub struct DiscreteAdjoint(Vec<Step>);

#[derive(Debug)]
struct Step {
    t: f64,
    h: f64,
    start: Tensor,
}

impl DiscreteAdjoint {
    pub(super) fn push(&mut self, t: f64, h: f64, start: &Tensor) {
        self.0.push(Step { t, h, start: start.shallow_clone() });
    }

    /// The time at which each step began, and its length: negative if time ran backward.
    pub fn steps(&self) -> Vec<(f64, f64)> {
        self.0.iter().map(|step| (step.t, step.h)).collect()
    }

    /// The gradient with respect to the initial state, from the `gradient` with respect to the solution.
    ///
    /// It is that of the very steps that were taken, their lengths being constants: it agrees with automatic
    /// differentiation through the solver to rounding, where the adjoint equation solved backward (Chen et al. 2018,
    /// section 2) agrees to its tolerance. Each step is taken once more, six evaluations, and then gone back through,
    /// so that the intermediate values of one step at a time are kept.
    ///
    /// `linearise` gives f(t, y) and the product of a vector with ∂f/∂y. Each product is called once, for each stage of
    /// each step, from the last to the first; the gradient of a parameter of f is the sum over these calls.
    ///
    /// # Errors
    /// When `linearise` or a product fails.
    pub fn pull_back<'a>(
        &self,
        gradient: &Tensor,
        mut linearise: impl FnMut(f64, &Tensor) -> Result<(Tensor, VectorJacobianProduct<'a>)>,
    ) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let mut of_end = gradient.contiguous();
        let last = STAGES - 1;
        for Step { t, h, start } in self.0.iter().rev() {
            let mut stages = Stages::new(start);
            let mut products = Vec::with_capacity(last);
            for i in 0..last {
                let state = if i == 0 { start.shallow_clone() } else { stages.moved(start, STEP[i], *h) };
                let (value, product) = linearise(t + NODES[i] * h, &state)?;
                stages.set(i, &value);
                products.push(product);
            }
            // The gradients of the end, and of the stages from the last to the first.
            let mut gradients = Stages::new(start);
            gradients.set(0, &of_end);
            for (i, product) in products.into_iter().enumerate().rev() {
                // Stage i is in the step itself, and in every later stage.
                let weights: Vec<f64> = (i + 1..STAGES).rev().map(|later| STEP[later][i]).collect();
                let of_value = gradients.combined(&weights, *h);
                gradients.set(last - i, &product(&of_value)?);
            }
            of_end = gradients.combined(&[1.0; STAGES], 1.0);
        }
        Ok(of_end)
    }
}
