//! Tangents of forward mode, and gradients of them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gen_native::jvp_many;
use tch::{Kind, TchError, Tensor};

use crate::case::{Case, Role};
use crate::compare::{Slope, first_difference, gradients, is_undecided, leaves, total};
use crate::draw::Draw;
use crate::layout::{Layout, Placed};
use crate::runner::{Outcome, Plan, call, check_buffers, first_line, judged, worse};

/// The tangents of a case: a layout and values for each input that has one.
pub(crate) struct Tangents(Vec<Option<(Layout, Vec<f64>)>>);

impl Tangents {
    pub(crate) fn draw(case: &Case, draw: &mut Draw) -> Self {
        let of = |draw: &mut Draw, role: Role, shape: &[i64]| {
            let percent = match role {
                Role::Learned => 65,
                Role::Fixed | Role::Written => 15,
            };
            let n = shape.iter().product::<i64>().max(1) as usize;
            draw.chance(percent).then(|| (Layout::draw(draw, shape, true), draw.grid(n)))
        };
        Tangents(case.inputs.iter().map(|input| of(draw, input.role, &input.shape)).collect())
    }

    fn place(&self, kind: Kind) -> Vec<Option<Placed>> {
        self.0.iter().map(|of| of.as_ref().map(|(layout, values)| layout.place(values, kind))).collect()
    }

    fn any(&self, case: &Case, role: Role) -> bool {
        self.0.iter().zip(&case.inputs).any(|(tangent, input)| tangent.is_some() && input.role == role)
    }
}

/// Values, tangents, and gradients of a score of the tangents.
struct Found {
    values: Vec<Tensor>,
    tangents: Vec<Tensor>,
    /// `None` if libtorch has none.
    gradients: Option<Vec<Tensor>>,
}

/// Calls `f` on all inputs, of which some have tangents.
fn along(
    inputs: &[Tensor],
    tangents: &[Option<Tensor>],
    f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, TchError>,
) -> Result<(Vec<Tensor>, Vec<Tensor>), TchError> {
    let (primals, given): (Vec<&Tensor>, Vec<&Tensor>) =
        inputs.iter().zip(tangents).filter_map(|(x, tangent)| Some((x, tangent.as_ref()?))).unzip();
    let all = |duals: &[Tensor]| {
        let mut duals = duals.iter();
        let pick = |(x, tangent): (&Tensor, &Option<Tensor>)| match tangent {
            Some(_) => duals.next().unwrap().shallow_clone(),
            None => x.shallow_clone(),
        };
        f(&inputs.iter().zip(tangents).map(pick).collect::<Vec<_>>())
    };
    jvp_many(all, &primals, &given)
}

/// The reference; nothing if it fails.
fn expected(
    case: &Case,
    plan: &Plan,
    exact: &[Tensor],
    tangents: &[Option<Tensor>],
    slopes: Option<&[Slope]>,
) -> Option<Found> {
    let copies: Vec<Tensor> = exact.iter().map(Tensor::copy).collect();
    let run = || {
        let (inputs, leaves) = leaves(&copies, &plan.learns);
        let reference = case.of_tangents.as_ref().unwrap_or(&case.reference);
        let (values, tangents) = along(&inputs, tangents, |x| Ok(reference(x))).unwrap();
        let loss = slopes.and_then(|slopes| total(&tangents, slopes, |x, slope| slope.score_of_reference(x)));
        let gradients = gradients(loss.as_ref(), &leaves, false, false).ok();
        Found { values, tangents, gradients }
    };
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Compares the tangents of a case that the reference takes.
pub(crate) fn run(case: &Case, plan: &Plan, tangents: &Tangents, draw: &mut Draw) -> Result<Outcome, String> {
    let place = |kind| -> Vec<Placed> {
        case.inputs.iter().zip(&plan.layouts).map(|(input, layout)| layout.place(&input.values, kind)).collect()
    };
    let placed = place(plan.kind);
    let exact: Vec<Tensor> = placed.iter().map(Placed::exact).collect();
    let of_inputs = tangents.place(plan.kind);
    let views: Vec<Tensor> = placed.iter().map(|placed| placed.view.shallow_clone()).collect();
    let (inputs, leaves) = leaves(&views, &plan.learns);
    let given: Vec<Option<Tensor>> =
        of_inputs.iter().map(|of| of.as_ref().map(|placed| placed.view.shallow_clone())).collect();
    let (panicked, declined) = (Cell::new(false), Cell::new(false));
    let called = along(&inputs, &given, |x| {
        let result = call(case, x).unwrap_or_else(|error| {
            panicked.set(true);
            Err(error)
        });
        declined.set(matches!(result, Ok(None)));
        result.map(Option::unwrap_or_default).map_err(TchError::Torch)
    });
    check_buffers(case, &placed, called.is_err())?;
    if panicked.get() {
        return Err("it panics when an input has a tangent".to_owned());
    }
    let none = given.iter().all(Option::is_none);
    let must_fail = tangents.any(case, Role::Written) || (!case.forward && !none);
    let (values, found) = match called {
        _ if declined.get() => return Ok(Outcome::Agreed),
        Err(_) if must_fail || tangents.any(case, Role::Fixed) => return Ok(Outcome::Agreed),
        Err(error) => return Err(format!("forward mode: {}", first_line(&error))),
        Ok(_) if must_fail => return Err("it drops a tangent".to_owned()),
        Ok(found) => found,
    };

    let directions: Vec<Option<Tensor>> = of_inputs.iter().map(|of| of.as_ref().map(Placed::exact)).collect();
    let slopes: Vec<Slope> = found.iter().map(|tangent| Slope::draw(draw, &tangent.size())).collect();
    let second = case.second.filter(|_| draw.chance(60));
    let asked = second.is_some().then_some(&slopes[..]);
    let Some(theirs) = expected(case, plan, &exact, &directions, asked) else {
        return Err("the reference has no tangent".to_owned());
    };
    let single = plan.kind == Kind::Float;
    let precision = if single { case.precision } else { f64::EPSILON };
    let least = case.least(&exact);
    let compare =
        |ours: &[Tensor], list: &[Tensor], [tolerance, least]: [f64; 2], what, part: fn(Found) -> Vec<Tensor>| {
            judged(first_difference(ours, list, [tolerance, least], what), list, |difference, theirs| {
                let again = |moved: &[Tensor]| expected(case, plan, moved, &directions, asked).map(part);
                is_undecided(&case.inputs, &exact, precision, difference, theirs, again)
            })
        };
    let tolerance = case.tolerance[usize::from(!single)];
    let mut outcome = compare(&values, &theirs.values, [tolerance, least], "value of forward mode", |all| all.values)?;
    outcome = worse(outcome, compare(&found, &theirs.tangents, [tolerance, least], "tangent", |all| all.tangents)?);
    if let (Some(tolerances), Some(list)) = (second, &theirs.gradients) {
        let loss = total(&found, &slopes, |tangent, slope| slope.score(tangent));
        let ours = gradients(loss.as_ref(), &leaves, false, false)
            .map_err(|error| format!("gradients of tangents: {}", first_line(&error)))?;
        let allowed = [tolerances[usize::from(!single)], least * least];
        let of = |all: Found| all.gradients.unwrap_or_default();
        outcome = worse(outcome, compare(&ours, list, allowed, "gradient of tangents", of)?);
    }
    Ok(outcome)
}
