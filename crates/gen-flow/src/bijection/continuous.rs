mod field;
mod perceptron;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gen_core::native::with_gradient;
use gen_core::ode::{DiscreteAdjoint, Dopri5, VectorJacobianProduct, dopri5_with_adjoint};
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

pub use field::{Place, Pullback, VectorField};
pub use perceptron::PerceptronField;

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// How tr ∂g/∂x is found along a solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JacobianTrace {
    /// Exactly, always.
    Exact,
    /// In training by eᵀ (∂g/∂x) e, with a vector e of random signs for each row, the same along the whole solution:
    /// unbiased, at the cost of one derivative (Grathwohl et al. 2019, section 3.1). Exactly outside training, so
    /// that a likelihood is always exact.
    Hutchinson,
}

/// A continuous normalizing flow: y = x(1), where x(0) = x and
///
/// > dx/dt = g(x, t, context), log|det ∂y/∂x| = ∫₀¹ tr ∂g/∂x dt
///
/// Chen et al. 2018, theorem 1; Grathwohl et al. 2019 (FFJORD), section 2. Any smooth g makes a bijection; the
/// inverse is the solution from 1 to 0.
///
/// The state and the log-determinant are solved together by [`dopri5`](gen_core::ode::dopri5), to the tolerance of
/// the solver. Step lengths are those that the whole batch needs, so a row depends on the others by errors of that
/// size. Gradients are exact for the steps that were taken ([`DiscreteAdjoint`]), and of first order only. Memory
/// grows with the number of steps by a state each.
///
/// In training a penalty may keep paths straight ([`Continuous::with_kinetic_penalty`]).
///
/// If an equation cannot be solved (g is not finite, or it needs more evaluations than the solver is allowed) every
/// result is NaN, which ends a training with an error that says so.
///
/// ```
/// use gen_core::ode::Dopri5;
/// use gen_core::params::Params;
/// use gen_flow::Given;
/// use gen_flow::bijection::{Bijection, Continuous, JacobianTrace, Layer, PerceptronField};
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let field = PerceptronField::new(params.root(), 3, 0, &[16, 16]);
/// let flow = Continuous::new(field, JacobianTrace::Exact, Dopri5::with_tolerance(1e-6));
/// let x = Tensor::randn([5, 3], (Kind::Double, Device::Cpu));
/// let (y, log_det) = flow.forward(&x, Given::NOTHING);
/// assert_eq!((y.size(), log_det.size()), (vec![5, 3], vec![5]));
/// assert!(flow.evaluations() >= Some(8));
/// ```
#[derive(Debug)]
pub struct Continuous<F> {
    /// Shared with the graph of a pass, which evaluates it again for the gradient.
    field: Arc<Mutex<F>>,
    trace: JacobianTrace,
    solver: Dopri5,
    kinetic: f64,
    evaluations: Cell<usize>,
    penalty: RefCell<Option<Tensor>>,
}

/// The states of a flow in a [`Layer::trajectory`].
const MOMENTS: usize = 20;

impl<F: VectorField + 'static> Continuous<F> {
    /// The flow along `field`.
    pub fn new(field: F, trace: JacobianTrace, solver: Dopri5) -> Self {
        Continuous {
            field: Arc::new(Mutex::new(field)),
            trace,
            solver,
            kinetic: 0.0,
            evaluations: Cell::new(0),
            penalty: RefCell::new(None),
        }
    }

    /// The same flow with a [penalty](Layer::take_penalty) in training, `weight` times the kinetic energy of each path,
    ///
    /// > 1/(2D) ∫₀¹ |g(x(t), t)|² dt
    ///
    /// Among all flows with the same ends, those along straight lines at an even speed have the least, and a solver
    /// takes few evaluations along them (Finlay et al. 2020, How to train your neural ODE, section 3).
    #[must_use]
    pub fn with_kinetic_penalty(self, weight: f64) -> Self {
        Continuous { kinetic: weight, ..self }
    }

    /// From x at `span[0]` to `span[1]`, and the integral of the trace.
    fn solve(&self, x: &Tensor, given: Given<'_>, span: [f64; 2]) -> (Tensor, Tensor) {
        let context = given.context.map(Tensor::detach);
        let probe = match (self.trace, given.rng) {
            (JacobianTrace::Hutchinson, Some(rng)) => Some(rng.rand_like(x).ge(0.5).to_kind(x.kind()) * 2.0 - 1.0),
            _ => None,
        };
        let dimension = x.size()[1];
        let with_energy = self.kinetic > 0.0 && given.rng.is_some();
        let field = lock(&self.field);
        let solved = tch::no_grad(|| {
            let prepared = field.prepare(context.as_ref());
            let derivative = |t: f64, state: &Tensor| {
                let at = Place { x: &state.narrow(1, 0, dimension), t, probe: probe.as_ref() };
                let (velocity, trace) = field.velocity_and_trace(&prepared, at);
                Ok(joined(&velocity, &trace, with_energy.then(|| power(&velocity)).as_ref()))
            };
            let start = x.detach().constant_pad_nd([0, 1 + i64::from(with_energy)]);
            dopri5_with_adjoint(derivative, &start, span, &self.solver)
        });
        let Ok((solution, adjoint)) = solved else {
            return (x * f64::NAN, x.select(1, 0) * f64::NAN);
        };
        self.evaluations.set(solution.evaluations);
        let parameters = field.parameters();
        let inputs: Vec<&Tensor> = [x].into_iter().chain(given.context).chain(&parameters).collect();
        let columns = dimension..solution.state.size()[1];
        let mut results = vec![solution.state.narrow(1, 0, dimension).copy()];
        results.extend(columns.map(|column| solution.state.select(1, column).copy()));
        let backward = Backward { field: Arc::clone(&self.field), adjoint, context, probe };
        let results = with_gradient(&inputs, results, move |of| backward.gradients(&of[0], &of[1], of.get(2)))
            .unwrap_or_else(|error| panic!("{error}"));
        let mut results = results.into_iter();
        let (Some(y), Some(log_det)) = (results.next(), results.next()) else {
            unreachable!("a result for each of those given")
        };
        // Backward in time the integral is negative.
        let weight = self.kinetic * (span[1] - span[0]).signum();
        *self.penalty.borrow_mut() = results.next().map(|energy| energy * weight);
        (y, log_det)
    }
}

impl<F: VectorField + 'static> Bijection for Continuous<F> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.solve(x, given, [0.0, 1.0])
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.solve(y, given, [1.0, 0.0])
    }
}

impl<F: VectorField + 'static> Layer for Continuous<F> {
    fn is_step(&self) -> bool {
        true
    }

    /// The states at 20 equally distant times.
    fn trajectory(&self, y: &Tensor, given: Given<'_>, visit: &mut dyn FnMut(&Tensor)) -> Tensor {
        let time = |moment: usize| 1.0 - moment as f64 / MOMENTS as f64;
        let mut at = y.shallow_clone();
        for moment in 1..MOMENTS {
            at = self.solve(&at, given, [time(moment - 1), time(moment)]).0;
            visit(&at);
        }
        // The last is the inverse itself, not a solution with more steps.
        let x = self.inverse(y, given).0;
        visit(&x);
        x
    }

    fn evaluations(&self) -> Option<usize> {
        Some(self.evaluations.get())
    }

    fn has_penalty(&self) -> bool {
        self.kinetic > 0.0
    }

    fn take_penalty(&self) -> Option<Tensor> {
        self.penalty.take()
    }
}

/// The backward pass of a solution.
struct Backward<F> {
    field: Arc<Mutex<F>>,
    adjoint: DiscreteAdjoint,
    context: Option<Tensor>,
    probe: Option<Tensor>,
}

impl<F: VectorField> Backward<F> {
    /// The gradients of x, of the context if there is one, and of the parameters.
    fn gradients(
        &self,
        of_y: &Tensor,
        of_log_det: &Tensor,
        of_energy: Option<&Tensor>,
    ) -> Result<Vec<Option<Tensor>>, TchError> {
        let field = lock(&self.field);
        let context = self.context.as_ref().map(|context| context.detach().set_requires_grad(true));
        let prepared = tch::with_grad(|| field.prepare(context.as_ref()));
        // The field is evaluated on copies, whose gradients are added up and go on to the parameters in the end.
        let copies: Vec<Tensor> = prepared.iter().map(|part| part.detach().set_requires_grad(true)).collect();
        let sums: Vec<Tensor> = copies.iter().map(|copy| copy.detach().zeros_like()).collect();
        let sums = RefCell::new(sums);
        let dimension = of_y.size()[1];
        let linearise = |t: f64, state: &Tensor| {
            let at = Place { x: &state.narrow(1, 0, dimension), t, probe: self.probe.as_ref() };
            let (velocity, trace, pullback) = field.linearised(&copies, at);
            let all = joined(&velocity, &trace, of_energy.map(|_| power(&velocity)).as_ref());
            let sums = &sums;
            let product: VectorJacobianProduct<'_> = Box::new(move |of: &Tensor| {
                let (of_velocity, of_trace) = (of.narrow(1, 0, dimension), of.select(1, dimension));
                let of_velocity = match of_energy {
                    Some(_) => of_velocity + velocity * of.narrow(1, dimension + 1, 1) / dimension as f64,
                    None => of_velocity,
                };
                let of_x = pullback(&of_velocity, &of_trace, &mut sums.borrow_mut())?;
                // The velocity depends neither on the log-determinant nor on the energy.
                Ok(of_x.constant_pad_nd([0, of.size()[1] - dimension]))
            });
            Ok((all, product))
        };
        let of_end = joined(of_y, of_log_det, of_energy);
        let of_state = self.adjoint.pull_back(&of_end, linearise).map_err(as_torch)?;

        let mut gradients = vec![Some(of_state.narrow(1, 0, dimension))];
        let parameters = field.parameters();
        let wanted: Vec<&Tensor> = context.iter().chain(&parameters).collect();
        let parts = prepared.iter().zip(sums.take()).filter(|(part, _)| part.requires_grad());
        let score = tch::with_grad(|| {
            parts.map(|(part, sum)| (part * sum).sum(part.kind())).reduce(|total, part| total + part)
        });
        match score {
            Some(score) => {
                let found = Tensor::f_run_backward(&[score], &wanted, false, false)?;
                gradients.extend(found.into_iter().map(|gradient| Some(gradient).filter(Tensor::defined)));
            }
            None => gradients.extend(wanted.iter().map(|_| None)),
        }
        Ok(gradients)
    }
}

/// `[batch, dimension]` and one or two of `[batch]` as one state.
fn joined(x: &Tensor, log_det: &Tensor, energy: Option<&Tensor>) -> Tensor {
    tch::no_grad(|| {
        let columns: Vec<Tensor> = [log_det].into_iter().chain(energy).map(|column| column.unsqueeze(1)).collect();
        Tensor::cat(&[x].into_iter().chain(&columns).collect::<Vec<_>>(), 1)
    })
}

/// |g|² / 2D of each row: the growth of the kinetic energy in a unit of time.
fn power(velocity: &Tensor) -> Tensor {
    tch::no_grad(|| velocity.square().mean_dim(1, false, velocity.kind()) * 0.5)
}

/// The field, also after a pass that panicked: a pass changes nothing in it.
fn lock<F>(field: &Mutex<F>) -> MutexGuard<'_, F> {
    field.lock().unwrap_or_else(PoisonError::into_inner)
}

fn as_torch(error: gen_core::Error) -> TchError {
    match error {
        gen_core::Error::Torch(error) => error,
        error => TchError::Torch(error.to_string()),
    }
}
