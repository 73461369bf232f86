use std::fmt::Debug;

use tch::Tensor;

/// A vector field g(x, t, context), along which a [`Continuous`](super::Continuous) flow goes.
///
/// It has to be differentiable once for the flow and, with the default way to its trace, twice for gradients: smooth
/// activations, no ReLU.
pub trait VectorField: Debug + Send {
    /// The tensors that are trained.
    fn parameters(&self) -> Vec<Tensor>;

    /// What slopes are computed from, once for all of a solution: by default the parameters, and then the context if there
    /// is one. Differentiable in both.
    fn prepare(&self, context: Option<&Tensor>) -> Vec<Tensor> {
        self.parameters().into_iter().chain(context.map(Tensor::shallow_clone)).collect()
    }

    /// g at `x: [batch, dimension]` and `t`, from what [`VectorField::prepare`] gave: `[batch, dimension]`.
    ///
    /// It must depend on parameters and context by way of `prepared` alone, differentiably, and no row on another.
    fn slope(&self, prepared: &[Tensor], x: &Tensor, t: f64) -> Tensor;

    /// The same, and the trace of the Jacobian ∂g/∂x of each row, `[batch]`; with a `probe` e, which has the shape of x,
    /// eᵀ (∂g/∂x) e in its place.
    ///
    /// By default from as many backward passes as there are dimensions, or one. Both results have gradients if `x` has.
    fn slope_and_trace(
        &self,
        prepared: &[Tensor],
        x: &Tensor,
        t: f64,
        probe: Option<&Tensor>,
    ) -> (Tensor, Tensor) {
        let differentiable = x.requires_grad();
        tch::with_grad(|| {
            let x = if differentiable { x.shallow_clone() } else { x.detach().set_requires_grad(true) };
            let slope = self.slope(prepared, &x, t);
            // Of vᵀ g, summed over the rows, which do not depend on each other.
            let row = |v: &Tensor| {
                let gradient = match slope.requires_grad() {
                    true => {
                        let score = (&slope * v).sum(slope.kind());
                        Tensor::run_backward(&[score], &[&x], true, differentiable).remove(0)
                    }
                    false => Tensor::new(),
                };
                if gradient.defined() { gradient } else { x.zeros_like() }
            };
            let trace = match probe {
                Some(probe) => (row(probe) * probe).sum_dim_intlist(1, false, x.kind()),
                None => {
                    let diagonal: Vec<Tensor> = (0..x.size()[1])
                        .map(|i| {
                            let unit = x.detach().zeros_like();
                            let _ = unit.select(1, i).fill_(1.0);
                            row(&unit).select(1, i)
                        })
                        .collect();
                    Tensor::stack(&diagonal, 1).sum_dim_intlist(1, false, x.kind())
                }
            };
            if differentiable { (slope, trace) } else { (slope.detach(), trace.detach()) }
        })
    }
}
