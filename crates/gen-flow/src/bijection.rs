//! The contract of an invertible map, and what is made of several.
//!
//! One direction has one name everywhere: [`Bijection::forward`] leads from data to latent, so that a density
//! is one forward pass and a sample one inverse pass.

mod actnorm;
mod autoregressive;
mod continuous;
mod conv1x1;
mod coupling;
mod factor_out;
mod flatten;
mod histogram;
mod logit;
mod permutation;
mod probit;
mod residual;
mod rotation;
mod squash;
mod squeeze;
mod standardise;

use std::fmt::Debug;

use gen_core::rng::Generator;
use tch::Tensor;

pub use actnorm::ActNorm;
pub use autoregressive::Autoregressive;
pub use continuous::{Continuous, PerceptronField, Pullback, Trace, VectorField};
pub use conv1x1::{Conv1x1, NormalisedConv1x1};
pub use coupling::{Coupling, Halves, Mask};
pub use factor_out::FactorOut;
pub use flatten::Flatten;
pub use histogram::Histogram;
pub use logit::Logit;
pub use permutation::Permutation;
pub use probit::Probit;
pub use residual::{Contraction, LogDet, Residual};
pub use rotation::Rotation;
pub use squash::{Sigmoid, Tanh};
pub use squeeze::Squeeze;
pub use standardise::Standardise;

/// What a pass through a flow is given besides the values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// What a conditional flow is conditioned on, a row for each row of values: `[batch, features]`, or what else its
    /// conditioners take.
    pub context: Option<&'a Tensor>,
    /// What is random in a training step draws from it: estimates of log-determinants, dropout. Without it every map is
    /// deterministic.
    pub rng: Option<&'a Generator>,
}

impl<'a> Given<'a> {
    /// Nothing: an unconditional flow, outside training.
    pub const NOTHING: Given<'static> = Given { context: None, rng: None };

    /// A context, outside training.
    pub fn context(context: &'a Tensor) -> Self {
        Given { context: Some(context), rng: None }
    }

    /// The same in a training step, whose random parts draw from `rng`.
    #[must_use]
    pub fn training(self, rng: &'a Generator) -> Self {
        Given { rng: Some(rng), ..self }
    }
}

/// An invertible differentiable map f, with the log-determinant of its Jacobian.
///
/// Both directions take `[batch, ...]` and return the image together with the log-determinant *of that
/// direction*, one number a row: `[batch]`, of the kind of the input. ([`Standardise`] stands between the f64 of data and
/// the kind of the parameters.) What maps between different shapes (a squeeze, a factoring-out) is a bijection like any
/// other, as long as the number of values stays.
///
/// What a pass is [`Given`] goes to every part; most have no use for it.
///
/// An implementation gives both directions in closed form. A tensor of another shape than the map was made for
/// is a mistake of the caller, on which libtorch panics.
pub trait Bijection: Debug + Send {
    /// y = f(x) and log|det ∂f(x)/∂x|: from data to latent.
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor);

    /// x = f⁻¹(y) and log|det ∂f⁻¹(y)/∂y|: from latent to data.
    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor);

    /// f(x), after parameters that start from data have taken their start from `x`, the whole first batch.
    ///
    /// What has started already stays as it is. Neither [`Bijection::forward`] nor [`Bijection::inverse`] ever
    /// does this: a likelihood or a sample changes nothing.
    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        self.forward(x, given).0
    }

    /// Whether no part waits for [`Bijection::initialise`].
    fn is_initialised(&self) -> bool {
        true
    }

    /// Whether this is a step by which noise becomes data. What only rearranges values, or changes their units, is none.
    fn is_step(&self) -> bool {
        false
    }

    /// How often the last pass evaluated a network (NFE), in maps that solve an equation by as many evaluations as it
    /// takes; `None` in all others, where a pass is always one evaluation.
    fn evaluations(&self) -> Option<usize> {
        None
    }

    /// What the last pass in training adds to the loss beside the likelihood, a number for each row: `[batch]`, with
    /// gradients. It is given once, for it holds the graph of that pass. `None` outside training, and from maps without a
    /// preference.
    fn take_penalty(&self) -> Option<Tensor> {
        None
    }

    /// f⁻¹(y) without the steps: what has not been computed yet on the way to data is left out, and only its arrangement
    /// and units remain. It makes a picture of a state in the middle of a flow.
    fn outline(&self, y: &Tensor, given: Given<'_>) -> Tensor {
        if self.is_step() { y.shallow_clone() } else { self.inverse(y, given).0 }
    }

    /// f⁻¹(y), the state after each step of which is shown to `visit`, as `finish` makes it: that takes what this map
    /// gives to what the whole flow gives.
    fn trace(
        &self,
        y: &Tensor,
        given: Given<'_>,
        finish: &dyn Fn(&Tensor) -> Tensor,
        visit: &mut dyn FnMut(Tensor),
    ) -> Tensor {
        let x = self.inverse(y, given).0;
        if self.is_step() {
            visit(finish(&x));
        }
        x
    }
}

/// f = fₙ ∘ … ∘ f₁, in the order from data to latent.
///
/// ```
/// use gen_flow::bijection::{Bijection, Chain, Given, Logit, Squeeze};
/// use tch::{Device, Kind, Tensor};
///
/// let chain = Chain::new(vec![Box::new(Logit::new(0.05)), Box::new(Squeeze)]);
/// let x = Tensor::rand([8, 1, 28, 28], (Kind::Double, Device::Cpu));
/// let (y, log_det) = chain.forward(&x, Given::NOTHING);
/// assert_eq!((y.size(), log_det.size()), (vec![8, 4, 14, 14], vec![8]));
/// let (back, _) = chain.inverse(&y, Given::NOTHING);
/// assert!(back.allclose(&x, 1e-9, 1e-9, false));
/// ```
#[derive(Debug)]
pub struct Chain(Vec<Box<dyn Bijection>>);

impl Chain {
    /// The composition; data passes through `parts` from the first to the last. Without parts, the identity.
    pub fn new(parts: Vec<Box<dyn Bijection>>) -> Self {
        Chain(parts)
    }

    /// The parts, from data to latent.
    pub fn parts(&self) -> &[Box<dyn Bijection>] {
        &self.0
    }
}

impl Bijection for Chain {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        compose(self.0.iter(), x, |part, x| part.forward(x, given))
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        compose(self.0.iter().rev(), y, |part, y| part.inverse(y, given))
    }

    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        self.0.iter().fold(x.shallow_clone(), |x, part| part.initialise(&x, given))
    }

    fn is_initialised(&self) -> bool {
        self.0.iter().all(|part| part.is_initialised())
    }

    fn evaluations(&self) -> Option<usize> {
        self.0.iter().filter_map(|part| part.evaluations()).reduce(|a, b| a + b)
    }

    fn take_penalty(&self) -> Option<Tensor> {
        self.0.iter().filter_map(|part| part.take_penalty()).reduce(|a, b| a + b)
    }

    fn outline(&self, y: &Tensor, given: Given<'_>) -> Tensor {
        outline(&self.0, y, given)
    }

    fn trace(
        &self,
        y: &Tensor,
        given: Given<'_>,
        finish: &dyn Fn(&Tensor) -> Tensor,
        visit: &mut dyn FnMut(Tensor),
    ) -> Tensor {
        (0..self.0.len()).rev().fold(y.shallow_clone(), |y, i| {
            let rest = |x: &Tensor| finish(&outline(&self.0[..i], x, given));
            self.0[i].trace(&y, given, &rest, visit)
        })
    }
}

/// [`Bijection::outline`] of `parts` one after another.
fn outline(parts: &[Box<dyn Bijection>], y: &Tensor, given: Given<'_>) -> Tensor {
    parts.iter().rev().fold(y.shallow_clone(), |y, part| part.outline(&y, given))
}

/// Passes `x` through `parts` one after another and adds the log-determinants.
fn compose<'a>(
    parts: impl Iterator<Item = &'a Box<dyn Bijection>>,
    x: &Tensor,
    map: impl Fn(&dyn Bijection, &Tensor) -> (Tensor, Tensor),
) -> (Tensor, Tensor) {
    let mut at = x.shallow_clone();
    let mut total: Option<Tensor> = None;
    for part in parts {
        let (next, log_det) = map(part.as_ref(), &at);
        at = next;
        total = Some(match total {
            Some(total) => total + log_det,
            None => log_det,
        });
    }
    let total = total.unwrap_or_else(|| volume_preserving(x));
    (at, total)
}

/// f⁻¹ in the place of f: what `inner` does from latent to data, this does from data to latent.
///
/// An inverse autoregressive flow (Kingma et al. 2016) is a masked autoregressive flow in this wrapper.
/// Parameters that start from data do so in the direction data to latent only; in the wrapped map they keep
/// the start that they were built with.
#[derive(Debug)]
pub struct Inverse<B>(pub B);

impl<B: Bijection> Bijection for Inverse<B> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.0.inverse(x, given)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.0.forward(y, given)
    }

    fn evaluations(&self) -> Option<usize> {
        self.0.evaluations()
    }

    fn take_penalty(&self) -> Option<Tensor> {
        self.0.take_penalty()
    }
}

/// The log-determinant of a map that moves values and changes none: zero for each row of `x`.
pub(crate) fn volume_preserving(x: &Tensor) -> Tensor {
    constant_log_det(&Tensor::zeros([], (x.kind(), x.device())), x)
}

/// A log-determinant that is the same for each row of `x`, from a scalar; a view, nothing is copied.
fn constant_log_det(log_det: &Tensor, x: &Tensor) -> Tensor {
    log_det.expand([x.size()[0]], false)
}

/// The first `at` entries of dimension 1, and the others; views.
#[track_caller]
fn split(x: &Tensor, at: i64) -> [Tensor; 2] {
    gen_core::native::split_channels(x, at).unwrap_or_else(|error| panic!("{error}"))
}

/// `a` and then `b` along dimension 1.
#[track_caller]
fn join(a: &Tensor, b: &Tensor) -> Tensor {
    gen_core::native::join_channels(a, b).unwrap_or_else(|error| panic!("{error}"))
}

/// The sum over all dimensions but the first: `[batch, ...]` to `[batch]`.
pub(crate) fn sum_per_row(x: &Tensor) -> Tensor {
    let dims: Vec<i64> = (1..x.dim() as i64).collect();
    x.sum_dim_intlist(dims, false, x.kind())
}
