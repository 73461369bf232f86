//! Ordinary differential equations dy/dt = f(t, y), and gradients of their solutions.

mod adjoint;
mod stages;
mod tableau;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

pub use adjoint::{DiscreteAdjoint, VectorJacobianProduct};
use stages::Stages;
use tableau::ERROR;

/// The tolerances and limits of [`dopri5`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dopri5 {
    /// Absolute error allowed in every value at each step.
    pub absolute: f64,
    /// Error allowed in addition, relative to the value.
    pub relative: f64,
    /// Evaluations of f after which the solver gives up.
    pub max_evaluations: usize,
}

impl Dopri5 {
    /// The same absolute and relative tolerance, and at most 10,000 evaluations.
    ///
    /// A tolerance below 10 times the machine epsilon of the state's kind is raised to that: rounding errors would keep
    /// a step from meeting it.
    pub fn with_tolerance(tolerance: f64) -> Self {
        Dopri5 { absolute: tolerance, relative: tolerance, max_evaluations: 10_000 }
    }

    /// The absolute and the relative tolerance, raised to what a state of this kind can meet.
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

/// The result of [`dopri5`].
#[derive(Debug)]
pub struct Solution {
    /// y at the end.
    pub state: Tensor,
    /// The number of evaluations of f (NFE).
    pub evaluations: usize,
    /// The number of accepted steps.
    pub steps: usize,
    /// The number of steps whose error was too large.
    pub rejected: usize,
}

/// Solves dy/dt = `field`(t, y) from `state` at `span[0]` to `span[1]`, forward or backward in time, without gradients.
///
/// The method is that of Dormand and Prince (1980), of order 5 with an error estimate of order 4. The last stage of a
/// step is the first of the next. A step is accepted when the root mean square, over all values of the state, of
///
/// > error / (absolute + relative · max(|y|, |y'|))
///
/// is at most 1, where y and y' are the values before and after it. A PI controller sets the next length from this
/// error and the one before; the first length follows from the size of y, of f and of its change (Hairer, Nørsett &
/// Wanner 1993, sections II.4 and II.5, with the constants of their program, and IV.2). The rows of a batch share their
/// steps.
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
/// When `field` fails or is not finite, when the tolerance needs steps below the precision of t, when the evaluations
/// exceed their limit, or when a tolerance is negative.
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

/// The factor on the step length that the error estimate allows.
const SAFETY: f64 = 0.9;
/// The exponent of the previous error in the PI controller.
const BETA: f64 = 0.04;
/// The least and the largest factor from one step length to the next.
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
        // A remainder of the size of a rounding error would be too small for a step of its own.
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
            // An error that is not finite comes from a state outside the domain of the vector field: shrink at once.
            let factor = if error.is_finite() { SAFETY * error.powf(-0.2) } else { 0.0 };
            h = signed.abs() * factor.clamp(FACTORS[0], 1.0);
        }
    }
}

/// The length of the first step, from an estimate of the second derivative (Hairer et al., section II.4).
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
        // The state does not move: the error of one step over the whole span will show whether it stays so.
        return Ok(span.abs());
    }
    let step = (0.01 / fastest).powf(0.2);
    // The trial step was too long where its vector field is not finite.
    Ok(if step.is_finite() { step.min(100.0 * trial) } else { trial * 1e-3 }.min(span.abs()))
}

/// The error allowed in each value of a step from `y` to `next`.
fn scale(y: &Tensor, next: &Tensor, [absolute, relative]: [f64; 2]) -> Tensor {
    y.abs().fmax(&next.abs()) * relative + absolute
}

/// The root mean square of all values.
fn rms(x: &Tensor) -> f64 {
    x.square().mean(Kind::Double).sqrt().double_value(&[])
}

#[cfg(test)]
mod tests;
