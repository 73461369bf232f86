use std::fmt::Debug;

use tch::Tensor;

use crate::given::Given;

/// An invertible differentiable map f, with the log-determinant of its Jacobian.
///
/// Both directions take `[batch, ...]` and return the image together with the log-determinant *of that direction*,
/// one number for each row: `[batch]`, of the kind of the input. ([`Standardise`](super::Standardise) stands between
/// the f64 of data and the kind of the parameters.) A map between different shapes (a squeeze, a factoring-out) is a
/// bijection like any other, as long as the number of values stays the same.
///
/// Both directions are exact, in closed form or by an iteration that ends at rounding errors. A tensor of another shape
/// than the map was made for is a mistake of the caller, on which libtorch panics.
pub trait Bijection: Debug + Send {
    /// y = f(x) and log|det ∂f(x)/∂x|: from data to latents.
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor);

    /// x = f⁻¹(y) and log|det ∂f⁻¹(y)/∂y|: from latents to data.
    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor);
}

/// A [`Bijection`] as part of a flow that is trained and looked at.
///
/// Every method has a default, so that `impl Layer for MyMap {}` is enough for a map whose parameters do not start from
/// data. A layer made of others lists them in [`Layer::parts`], and the defaults ask those.
pub trait Layer: Bijection {
    /// The layers that this one is made of.
    fn parts(&self) -> Vec<&dyn Layer> {
        Vec::new()
    }

    /// f(x), after parameters that start from data have taken their start from `x`, the whole first batch.
    ///
    /// A part that has started already stays as it is. Neither [`Bijection::forward`] nor [`Bijection::inverse`] ever
    /// does this: a likelihood or a sample changes nothing.
    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        self.forward(x, given).0
    }

    /// Whether no part waits for [`Layer::initialise`].
    fn is_initialised(&self) -> bool {
        self.parts().iter().all(|part| part.is_initialised())
    }

    /// Whether this is a step by which noise becomes data. A map that only rearranges values, or changes their units,
    /// is none.
    fn is_step(&self) -> bool {
        self.parts().iter().any(|part| part.is_step())
    }

    /// How often the last pass evaluated a network (NFE), for maps that solve an equation with as many evaluations as
    /// it takes; `None` for all others, where a pass is always one evaluation.
    fn evaluations(&self) -> Option<usize> {
        self.parts().iter().filter_map(|part| part.evaluations()).reduce(|a, b| a + b)
    }

    /// Whether passes in training have a [penalty](Layer::take_penalty).
    fn has_penalty(&self) -> bool {
        self.parts().iter().any(|part| part.has_penalty())
    }

    /// The term that the last pass in training adds to the loss, a number for each row: `[batch]`, with gradients. It
    /// is given once, for it holds the graph of that pass. `None` outside training, and from maps without a penalty.
    fn take_penalty(&self) -> Option<Tensor> {
        self.parts().iter().filter_map(|part| part.take_penalty()).reduce(|a, b| a + b)
    }

    /// f⁻¹(y) without the steps: only the arrangement and the units of data. It makes a picture of a state in the
    /// middle of a flow.
    fn outline(&self, y: &Tensor, given: Given<'_>) -> Tensor {
        if self.is_step() { y.shallow_clone() } else { self.inverse(y, given).0 }
    }

    /// f⁻¹(y). The state after each step is shown to `visit`, in the arrangement and the units of the result.
    fn trajectory(&self, y: &Tensor, given: Given<'_>, visit: &mut dyn FnMut(&Tensor)) -> Tensor {
        let x = self.inverse(y, given).0;
        if self.is_step() {
            visit(&x);
        }
        x
    }
}
