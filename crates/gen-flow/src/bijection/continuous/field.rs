use std::fmt::Debug;

use tch::{TchError, Tensor};

/// Where a [`VectorField`] is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// `[batch, dimension]`
    pub x: &'a Tensor,
    /// The time, in [0, 1].
    pub t: f64,
    /// e, in the shape of x, if eᵀ (∂g/∂x) e is wanted in place of the trace of ∂g/∂x.
    pub probe: Option<&'a Tensor>,
}

/// From the gradients of a velocity, `[batch, dimension]`, and of its trace, `[batch]`, to that of x; those of the
/// prepared tensors are added to the list, in its order.
pub type Pullback<'a> = Box<dyn FnOnce(&Tensor, &Tensor, &mut [Tensor]) -> Result<Tensor, TchError> + 'a>;

/// A vector field g(x, t, context), along which a [`Continuous`](super::Continuous) flow goes.
///
/// It has to be differentiable once for the flow and, with the default way to its trace, twice for gradients: smooth
/// activations, no ReLU.
pub trait VectorField: Debug + Send {
    /// The tensors that are trained.
    fn parameters(&self) -> Vec<Tensor>;

    /// The tensors that g is computed from, once for all of a solution: by default the parameters, and then the
    /// context if there is one. Differentiable in both.
    fn prepare(&self, context: Option<&Tensor>) -> Vec<Tensor> {
        self.parameters().into_iter().chain(context.map(Tensor::shallow_clone)).collect()
    }

    /// The velocity g at `x: [batch, dimension]` and `t`, from the results of [`VectorField::prepare`]:
    /// `[batch, dimension]`.
    ///
    /// It must depend on parameters and context by way of `prepared` alone, differentiably, and no row on another.
    fn velocity(&self, prepared: &[Tensor], x: &Tensor, t: f64) -> Tensor;

    /// The same, and the trace of the Jacobian ∂g/∂x of each row, `[batch]`; with a probe e, eᵀ (∂g/∂x) e in its place.
    ///
    /// By default from as many backward passes as there are dimensions, or one. Both results have gradients if x has.
    fn velocity_and_trace(&self, prepared: &[Tensor], at: Place<'_>) -> (Tensor, Tensor) {
        let differentiable = at.x.requires_grad();
        tch::with_grad(|| {
            let x = match differentiable {
                true => at.x.shallow_clone(),
                false => at.x.detach().set_requires_grad(true),
            };
            let velocity = self.velocity(prepared, &x, at.t);
            // Of vᵀ g, summed over the rows, which do not depend on each other.
            let row = |v: &Tensor| {
                let gradient = match velocity.requires_grad() {
                    true => {
                        let score = (&velocity * v).sum(velocity.kind());
                        Tensor::run_backward(&[score], &[&x], true, differentiable).remove(0)
                    }
                    false => Tensor::new(),
                };
                if gradient.defined() { gradient } else { x.zeros_like() }
            };
            let trace = match at.probe {
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
            if differentiable { (velocity, trace) } else { (velocity.detach(), trace.detach()) }
        })
    }

    /// [`VectorField::velocity_and_trace`] with the backward pass through both, for the gradient of a flow; by
    /// default that of automatic differentiation. The prepared tensors need gradients.
    fn linearised<'a>(&'a self, prepared: &'a [Tensor], at: Place<'_>) -> (Tensor, Tensor, Pullback<'a>) {
        by_autograd(self, prepared, at)
    }
}

/// [`VectorField::linearised`] by automatic differentiation.
pub(super) fn by_autograd<'a, F: VectorField + ?Sized>(
    field: &F,
    prepared: &'a [Tensor],
    at: Place<'_>,
) -> (Tensor, Tensor, Pullback<'a>) {
    let x = at.x.detach().set_requires_grad(true);
    let (velocity, trace) = tch::with_grad(|| field.velocity_and_trace(prepared, Place { x: &x, ..at }));
    let values = (velocity.detach(), trace.detach());
    let pullback = move |of_velocity: &Tensor, of_trace: &Tensor, sums: &mut [Tensor]| {
        let score = tch::with_grad(|| {
            (velocity * of_velocity).sum(of_velocity.kind()) + (trace * of_trace).sum(of_trace.kind())
        });
        let inputs: Vec<&Tensor> = [&x].into_iter().chain(prepared).collect();
        let mut found = Tensor::f_run_backward(&[score], &inputs, false, false)?.into_iter();
        let of_x = found.next().filter(Tensor::defined).unwrap_or_else(|| x.detach().zeros_like());
        for (sum, part) in sums.iter_mut().zip(found) {
            if part.defined() {
                *sum += part;
            }
        }
        Ok(of_x)
    };
    (values.0, values.1, Box::new(pullback))
}
