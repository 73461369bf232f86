//! Ordinary differential equations dy/dt = f(t, y), and gradients of their solutions.

mod adjoint;
mod tableau;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

pub use adjoint::{DiscreteAdjoint, VectorJacobianProduct};
use tableau::{ERROR, NODES, STAGES, STEP};

/// The tolerances and limits of [`dopri5`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dopri5 {
    /// Error that is allowed in every value at each step.
    pub absolute: f64,
    /// Error that is allowed besides, relative to the value.
    pub relative: f64,
    /// Evaluations of f after which it gives up.
    pub max_evaluations: usize,
}

impl Dopri5 {
    /// The same absolute and relative tolerance, and at most 10,000 evaluations.
    ///
    /// A tolerance below 10 times the relative precision of the state's kind is taken to be that: rounding errors would
    /// not let a step meet it.
    pub fn with_tolerance(tolerance: f64) -> Self {
        Dopri5 { absolute: tolerance, relative: tolerance, max_evaluations: 10_000 }
    }

    /// Absolute and relative tolerance as a state of this kind can meet them.
    fn tolerances(&self, kind: Kind) -> Result<[f64; 2]> {
        let floor = 10.0 * if kind == Kind::Double { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let checked = |name: &str, value: f64| {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::invalid(format!(
                    "the {name} tolerance of a solver must be 0 or more, found {value}"
                )));
            }
            Ok(value.max(floor))
        };
        Ok([checked("absolute", self.absolute)?, checked("relative", self.relative)?])
    }
}

/// What [`dopri5`] found.
#[derive(Debug)]
pub struct Solution {
    /// y at the end.
    pub state: Tensor,
    /// How often f was evaluated (NFE).
    pub evaluations: usize,
    /// Steps that were taken.
    pub steps: usize,
    /// Steps that were tried and had too large an error.
    pub rejected: usize,
}

/// Solves dy/dt = `field`(t, y) from `state` at `span[0]` to `span[1]`, which may be the earlier, without gradients.
///
/// The method is that of Dormand and Prince (1980) of order 5 with an error estimate of order 4, its last stage being
/// the first of the next step. A step is accepted when the root mean square, over all values of the state, of
///
/// > error / (absolute + relative · max(|y|, |y'|))
///
/// is at most 1, y and y' being the values before and after; its length follows from this error and the one before (a
/// PI controller), the first from the size of y, f and its change (Hairer, Nørsett & Wanner 1993, sections II.4 and
/// II.5, with the constants of their program, and IV.2). The rows of a batch thus share their steps.
///
/// ```
/// use gen_core::ode::{Dopri5, dopri5};
/// use tch::Tensor;
///
/// let y = Tensor::from_slice(&[1.0, 2.0]);
/// let decay = |_t: f64, y: &Tensor| Ok(-y);
/// let solution = dopri5(decay, &y, [0.0, 1.0], &Dopri5::with_tolerance(1e-10))?;
/// assert!(solution.state.allclose(&(y * (-1.0f64).exp()), 1e-9, 1e-9, false));
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// When `field` fails or is not finite, when the steps that the tolerance asks for become too small for the precision
/// of t, when there are more evaluations than allowed, or a tolerance is negative.
pub fn dopri5(
    field: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    state: &Tensor,
    span: [f64; 2],
    settings: &Dopri5,
) -> Result<Solution> {
    solve(field, state, span, settings, |_, _, _| {})
}

/// [`dopri5`] with the discrete adjoint of the solution, by which gradients go back through it.
///
/// # Errors
/// As [`dopri5`].
pub fn dopri5_with_adjoint(
    field: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    state: &Tensor,
    span: [f64; 2],
    settings: &Dopri5,
) -> Result<(Solution, DiscreteAdjoint)> {
    let mut adjoint = DiscreteAdjoint::default();
    let solution = solve(field, state, span, settings, |t, h, y| adjoint.push(t, h, y))?;
    Ok((solution, adjoint))
}

/// The factor on a step that is taken off what the error estimate allows.
const SAFETY: f64 = 0.9;
/// How much of the error before goes into the next step.
const BETA: f64 = 0.04;
/// By how much a step may shrink and grow.
const FACTORS: [f64; 2] = [0.2, 10.0];

fn solve(
    mut field: impl FnMut(f64, &Tensor) -> Result<Tensor>,
    state: &Tensor,
    [start, end]: [f64; 2],
    settings: &Dopri5,
    mut accepted: impl FnMut(f64, f64, &Tensor),
) -> Result<Solution> {
    let _no_grad = tch::no_grad_guard();
    let tolerances = settings.tolerances(state.kind())?;
    let mut y = state.detach().contiguous();
    let (mut evaluations, mut steps, mut rejected) = (0, 0, 0);
    let length = (end - start).abs();
    if length == 0.0 || y.numel() == 0 {
        return Ok(Solution { state: y, evaluations, steps, rejected });
    }
    let mut field = |t: f64, y: &Tensor| {
        if evaluations == settings.max_evaluations {
            return Err(Error::invalid(format!(
                "a differential equation was not solved in {evaluations} evaluations, at t = {t}: \
                 it is stiff, or the tolerance is too small"
            )));
        }
        evaluations += 1;
        field(t, y)
    };

    let direction = (end - start).signum();
    let mut stages = Stages::new(&y);
    let first = field(start, &y)?;
    stages.set(0, &first);
    let mut h = first_step(&mut field, [start, end], &y, &first, tolerances)?;
    let (mut t, mut error_before, mut may_grow) = (start, 1e-4f64, true);
    loop {
        let remaining = (end - t).abs();
        // A rest of a rounding error would be a step that is too small.
        let last = h >= remaining * (1.0 - 1e-10);
        let signed = direction * if last { remaining } else { h };
        if signed.abs() <= 16.0 * f64::EPSILON * t.abs().max(length * 1e-3) {
            return Err(Error::invalid(format!(
                "a differential equation needs steps below the precision of t = {t}: \
                 the vector field is not finite there, or it is stiff"
            )));
        }
        let next = stages.step(&mut field, t, signed, &y)?;
        let error = rms(&(stages.combined(&ERROR, signed) / scale(&y, &next, tolerances)));
        if error <= 1.0 {
            accepted(t, signed, &y);
            steps += 1;
            y = next;
            if last {
                return Ok(Solution { state: y, evaluations, steps, rejected });
            }
            t += signed;
            stages.advance();
            let factor = SAFETY * error.powf(0.75 * BETA - 0.2) * error_before.powf(BETA);
            h = signed.abs() * factor.clamp(FACTORS[0], if may_grow { FACTORS[1] } else { 1.0 });
            (error_before, may_grow) = (error.max(1e-4), true);
        } else {
            rejected += 1;
            may_grow = false;
            // An error that is no number comes from a state where the vector field is no number: a shorter step may
            // not get there.
            let factor = if error.is_finite() { SAFETY * error.powf(-0.2) } else { 0.0 };
            h = signed.abs() * factor.clamp(FACTORS[0], 1.0);
        }
    }
}

/// A first step of which the second derivative says that its error is small (Hairer et al., section II.4).
fn first_step(
    field: &mut impl FnMut(f64, &Tensor) -> Result<Tensor>,
    [start, end]: [f64; 2],
    y: &Tensor,
    first: &Tensor,
    tolerances: [f64; 2],
) -> Result<f64> {
    let (span, scale) = (end - start, scale(y, y, tolerances));
    let (d0, d1) = (rms(&(y / &scale)), rms(&(first / &scale)));
    if !d1.is_finite() {
        return Err(Error::invalid(format!(
            "the vector field of a differential equation is not finite at its start, t = {start}"
        )));
    }
    let trial = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
    let trial = trial.min(span.abs());
    let second = field(start + span.signum() * trial, &(y + first * (span.signum() * trial)))?;
    let d2 = rms(&((second - first) / &scale)) / trial;
    let fastest = d1.max(d2);
    if fastest <= 1e-15 {
        // Nothing moves: the error of one step over all will tell if that stays so.
        return Ok(span.abs());
    }
    let step = (0.01 / fastest).powf(0.2);
    // Where the second value is no number, the trial went too far.
    Ok(if step.is_finite() { step.min(100.0 * trial) } else { trial * 1e-3 }.min(span.abs()))
}

/// The error that is allowed in each value of a step from `y` to `next`.
fn scale(y: &Tensor, next: &Tensor, [absolute, relative]: [f64; 2]) -> Tensor {
    y.abs().fmax(&next.abs()) * relative + absolute
}

/// The root mean square of all values.
fn rms(x: &Tensor) -> f64 {
    x.square().mean(Kind::Double).sqrt().double_value(&[])
}

/// The values of f in one step, as rows of a matrix, so that their combinations are one product.
struct Stages {
    /// `[stages, values]`
    rows: Tensor,
    shape: Vec<i64>,
}

impl Stages {
    fn new(y: &Tensor) -> Self {
        let rows = Tensor::empty([STAGES as i64, y.numel() as i64], (y.kind(), y.device()));
        Stages { rows, shape: y.size() }
    }

    fn set(&mut self, i: usize, value: &Tensor) {
        self.rows.get(i as i64).view(self.shape.as_slice()).copy_(value);
    }

    /// The last value is the first of the next step.
    fn advance(&mut self) {
        self.rows.get(0).copy_(&self.rows.get(STAGES as i64 - 1));
    }

    /// Σ wᵢ h kᵢ over the first stages, as many as there are weights.
    fn combined(&self, weights: &[f64], h: f64) -> Tensor {
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
    fn moved(&self, y: &Tensor, weights: &[f64], h: f64) -> Tensor {
        let rows = self.rows.narrow(0, 0, weights.len() as i64);
        y.view([-1]).addmv(&rows.tr(), &self.weights(weights, h)).view(self.shape.as_slice())
    }

    /// All stages of a step of `h` from `y` at `t`, of which the first is there; the state after it.
    fn step(
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

#[cfg(test)]
mod tests;
