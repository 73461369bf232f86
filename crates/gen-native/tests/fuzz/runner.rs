//! One case, from its choices to its verdict.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use gen_native::{Instructions, use_instructions, with_gradient};
use tch::{Kind, Tensor};

use crate::case::{Case, Role};
use crate::compare::{
    CPU, Difference, Expected, Questions, Slope, expected, first_difference, gradients, is_undecided, leaves,
    reference_results, total,
};
use crate::draw::Draw;
use crate::faults::Fault;
use crate::forward;
use crate::layout::{Layout, Placed};

/// The end of a case that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All values and gradients equal those of the reference.
    Agreed,
    /// The expected error.
    Refused,
    /// The operation left the work to its caller.
    Declined,
    /// The reference itself depends on the last digits of its inputs.
    Undecided,
}

/// The backward passes through a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    Once,
    Twice,
    TwoThreads,
}

/// All choices of a case before it runs.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// Instructions of the forward and of the backward pass.
    instructions: [Instructions; 2],
    threads: i32,
    pub(crate) layouts: Vec<Layout>,
    pub(crate) learns: Vec<bool>,
    passes: Passes,
    /// Whether gradients of gradients are compared.
    twice: bool,
    /// Whether gradients of results come from products, or in any layout.
    products: bool,
    fault: Option<(usize, Fault)>,
}

impl Plan {
    fn draw(case: &Case, draw: &mut Draw, available: &[Instructions]) -> Self {
        let fault = draw.chance(15).then(|| {
            let index = draw.from(0..=case.inputs.len() as i64 - 1) as usize;
            (index, Fault::draw(draw, &case.inputs[index]))
        });
        let layouts: Vec<Layout> = case
            .inputs
            .iter()
            .map(|input| {
                let may_overlap = !input.structured && (input.role != Role::Written || draw.chance(20));
                Layout::draw(draw, &input.shape, may_overlap)
            })
            .collect();
        let learning = draw.chance(85);
        let learns = case
            .inputs
            .iter()
            .map(|input| match input.role {
                Role::Learned => learning && draw.chance(75),
                Role::Fixed => false,
                // A parameter that is changed is usually a leaf.
                Role::Written => draw.chance(40),
            })
            .collect();
        let forward = draw.pick(available);
        let backward = if draw.chance(60) { forward } else { draw.pick(available) };
        Plan {
            kind: if draw.chance(65) { Kind::Float } else { Kind::Double },
            instructions: [forward, backward],
            threads: draw.pick(&[1, 1, 1, 1, 1, 1, 2, 3]),
            layouts,
            learns,
            passes: draw.pick(&[Passes::Once, Passes::Once, Passes::Once, Passes::Twice, Passes::TwoThreads]),
            twice: draw.chance(25),
            products: draw.chance(40),
            fault,
        }
    }

    fn describe(&self, case: &Case) -> String {
        let mut text = format!(
            "{}\n  {:?}, forward {:?}, backward {:?}, {} threads, backward passes {:?}, gradients of gradients {}, \
             gradients as products {}\n",
            case.settings,
            self.kind,
            self.instructions[0],
            self.instructions[1],
            self.threads,
            self.passes,
            self.twice,
            self.products
        );
        for (i, (input, layout)) in case.inputs.iter().zip(&self.layouts).enumerate() {
            let learns = if self.learns[i] { ", requires a gradient" } else { "" };
            let _ = writeln!(text, "  {}: {layout}{learns}", input.name);
        }
        if let Some((index, fault)) = &self.fault {
            let _ = writeln!(text, "  but {} is {fault}", case.inputs[*index].name);
        }
        text
    }
}

/// Runs a case. `note` takes its description before it runs, in case it ends the process.
pub(crate) fn run(
    case: &Case,
    draw: &mut Draw,
    available: &[Instructions],
    note: impl FnOnce(&str),
) -> Result<Outcome, String> {
    let plan = Plan::draw(case, draw, available);
    let text = plan.describe(case);
    note(&text);
    let placed: Vec<Placed> =
        case.inputs.iter().zip(&plan.layouts).map(|(input, layout)| layout.place(&input.values, plan.kind)).collect();
    tch::set_num_threads(plan.threads);
    let verdict = match &plan.fault {
        Some((index, fault)) => with_fault(case, &plan, &placed, *index, fault),
        None => without_fault(case, &plan, &placed, draw),
    };
    verdict.map_err(|error| format!("{text}  {error}"))
}

fn switch(to: Instructions) {
    assert!(use_instructions(to).unwrap(), "the processor has {to:?}");
}

/// Calls the operation; a panic is a fault of ours.
pub(crate) fn call(case: &Case, inputs: &[Tensor]) -> Result<Result<Option<Vec<Tensor>>, String>, String> {
    catch_unwind(AssertUnwindSafe(|| (case.ours)(inputs)))
        .map(|result| result.map_err(|error| first_line(&error)))
        .map_err(|_| "it panics".to_owned())
}

/// The message of an error without libtorch's stack.
pub(crate) fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

pub(crate) fn check_buffers(case: &Case, placed: &[Placed], refused: bool) -> Result<(), String> {
    for (input, placed) in case.inputs.iter().zip(placed) {
        if !placed.is_untouched(input.role == Role::Written && !refused) {
            return Err(format!("something is written into the buffer of {}", input.name));
        }
    }
    Ok(())
}

fn without_fault(case: &Case, plan: &Plan, placed: &[Placed], draw: &mut Draw) -> Result<Outcome, String> {
    let exact: Vec<Tensor> = placed.iter().map(Placed::exact).collect();
    let mut questions = Questions { learns: plan.learns.clone(), slopes: Vec::new(), second: Vec::new() };
    let shapes = reference_results(case, &exact);
    for result in shapes.iter().flatten() {
        questions.slopes.push(Slope::draw(draw, &result.size()));
    }
    if plan.twice && case.second.is_some() {
        for (x, _) in exact.iter().zip(&plan.learns).filter(|(_, learns)| **learns) {
            questions.second.push(Slope::draw(draw, &x.size()));
        }
    }
    let theirs = expected(case, &exact, &questions);

    let views: Vec<Tensor> = placed.iter().map(|placed| placed.view.shallow_clone()).collect();
    let (inputs, leaves) = leaves(&views, &plan.learns);
    switch(plan.instructions[0]);
    let called = call(case, &inputs)?;
    check_buffers(case, placed, called.is_err())?;
    let overwritten =
        case.inputs.iter().zip(&plan.layouts).any(|(input, layout)| input.role == Role::Written && layout.overlaps);
    let results = match (called, &theirs) {
        (Err(_), None) => return Ok(Outcome::Refused),
        (Err(_), Some(_)) if overwritten => return Ok(Outcome::Refused),
        (Err(error), Some(_)) => return Err(format!("it refuses: {error}")),
        (Ok(None), _) => return Ok(Outcome::Declined),
        (Ok(Some(_)), None) => return Err("it takes what libtorch refuses".to_owned()),
        (Ok(Some(_)), Some(_)) if overwritten => {
            return Err("it writes to a tensor whose entries overlap".to_owned());
        }
        (Ok(Some(results)), Some(_)) => results,
    };
    let Some(theirs) = theirs else { unreachable!("returned above") };
    if let Some(result) = results.iter().find(|result| result.kind() != plan.kind) {
        return Err(format!("a result is {:?}", result.kind()));
    }
    let single = plan.kind == Kind::Float;
    let precision = if single { case.precision } else { f64::EPSILON };
    let of_kind = |tolerances: [f64; 2]| tolerances[usize::from(!single)];
    let judge = |difference: Option<Difference>, list: &[Tensor], part: fn(Expected) -> Vec<Tensor>| {
        judged(difference, list, |difference, theirs| {
            let again = |moved: &[Tensor]| expected(case, moved, &questions).map(part);
            is_undecided(&case.inputs, &exact, precision, difference, theirs, again)
        })
    };
    let (tolerance, least) = (of_kind(case.tolerance), case.least(&exact));
    let found = first_difference(&results, &theirs.results, [tolerance, least], "result");
    let mut outcome = judge(found, &theirs.results, |all| all.results)?;
    for (i, (ours, theirs)) in results.iter().zip(&theirs.results).enumerate() {
        if theirs.requires_grad() && !ours.requires_grad() {
            return Err(format!("result {i} has no gradient"));
        }
    }

    switch(plan.instructions[1]);
    let again = plan.passes != Passes::Once || !questions.second.is_empty() || plan.twice;
    let score = |result: &Tensor, slope: &Slope| {
        if slope.plain || plan.products {
            return slope.score(result);
        }
        let gradient = slope.place(result.kind()).view;
        let zero = Tensor::zeros([0i64; 0], (result.kind(), CPU));
        with_gradient(&[result], vec![zero], move |_| Ok(vec![Some(gradient.shallow_clone())])).unwrap().remove(0)
    };
    let loss = total(&results, &questions.slopes, score);
    for first in passes(plan.passes, loss.as_ref(), &leaves, again)? {
        let found = first_difference(&first, &theirs.first, [tolerance, least], "gradient");
        outcome = worse(outcome, judge(found, &theirs.first, |all| all.first)?);
    }
    check_buffers(case, placed, false)?;
    if plan.twice {
        let loss = total(&results, &questions.slopes, |result, slope| slope.score(result));
        match case.second {
            Some(tolerances) => {
                let second = second_gradients(loss.as_ref(), &leaves, &questions)
                    .map_err(|error| format!("gradients of gradients: {}", first_line(&error)))?;
                let found = first_difference(
                    &second,
                    &theirs.second,
                    [of_kind(tolerances), least * least],
                    "gradient of gradients",
                );
                outcome = worse(outcome, judge(found, &theirs.second, |all| all.second)?);
            }
            None if loss.is_some() && !leaves.is_empty() && gradients(loss.as_ref(), &leaves, true, true).is_ok() => {
                return Err("a pass that is to be differentiated is not refused".to_owned());
            }
            None => {}
        }
    }
    if draw.chance(30) {
        let layouts = forward::Tangents::draw(case, draw);
        switch(plan.instructions[0]);
        outcome = worse(outcome, forward::run(case, plan, &layouts, draw)?);
    }
    Ok(outcome)
}

/// The verdict on a difference from the expected `list`.
pub(crate) fn judged(
    difference: Option<Difference>,
    list: &[Tensor],
    is_undecided: impl FnOnce(&Difference, &Tensor) -> bool,
) -> Result<Outcome, String> {
    let Some(difference) = difference else { return Ok(Outcome::Agreed) };
    // Masks turn infinities of intermediate results into NaN.
    let is_large = |x: &Tensor| {
        let most = if x.numel() > 0 { x.abs().max().double_value(&[]) } else { 0.0 };
        !most.is_finite() || most > 1e8
    };
    if list.iter().any(is_large) {
        return Ok(Outcome::Undecided);
    }
    let theirs = difference.index().and_then(|i| list.get(i));
    let undecided = theirs.is_some_and(|theirs| is_undecided(&difference, theirs));
    if undecided { Ok(Outcome::Undecided) } else { Err(difference.text().to_owned()) }
}

pub(crate) fn worse(a: Outcome, b: Outcome) -> Outcome {
    if a == Outcome::Undecided { a } else { b }
}

fn second_gradients(
    loss: Option<&Tensor>,
    leaves: &[Tensor],
    questions: &Questions,
) -> Result<Vec<Tensor>, tch::TchError> {
    let first = gradients(loss, leaves, true, true)?;
    let loss = total(&first, &questions.second, |result, slope| slope.score(result));
    gradients(loss.as_ref(), leaves, false, false)
}

/// The gradients of each backward pass.
fn passes(passes: Passes, loss: Option<&Tensor>, leaves: &[Tensor], keep: bool) -> Result<Vec<Vec<Tensor>>, String> {
    let message = |error: tch::TchError| format!("backward: {}", first_line(&error));
    let pass = || gradients(loss, leaves, keep, false).map_err(message);
    match passes {
        Passes::Once => Ok(vec![pass()?]),
        Passes::Twice => Ok(vec![pass()?, pass()?]),
        Passes::TwoThreads => thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let loss = loss.map(Tensor::shallow_clone);
                    let leaves: Vec<Tensor> = leaves.iter().map(Tensor::shallow_clone).collect();
                    scope.spawn(move || gradients(loss.as_ref(), &leaves, keep, false).map_err(message))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panics".to_owned())?).collect()
        }),
    }
}

/// With a wrong input there is an error, or the result is still right.
fn with_fault(case: &Case, plan: &Plan, placed: &[Placed], index: usize, fault: &Fault) -> Result<Outcome, String> {
    let mut views: Vec<Tensor> = placed.iter().map(|placed| placed.view.shallow_clone()).collect();
    fault.apply(&mut views, index);
    let mut exact: Vec<Tensor> = placed.iter().map(Placed::exact).collect();
    let known = fault.exact(&views[index]);
    if let Some(known) = &known {
        exact[index] = known.copy();
    }
    let learns: Vec<bool> = plan
        .learns
        .iter()
        .zip(&views)
        .map(|(&learns, view)| learns && view.defined() && view.is_floating_point())
        .collect();
    let (inputs, leaves) = leaves(&views, &learns);
    switch(plan.instructions[0]);
    let called = call(case, &inputs)?;
    if !fault.is_elsewhere() {
        check_buffers(case, placed, called.is_err())?;
    }
    let results = match called {
        Err(_) => return Ok(Outcome::Refused),
        Ok(None) => return Ok(Outcome::Declined),
        Ok(Some(results)) => results,
    };
    // The backward pass may fail or not, but it must end.
    switch(plan.instructions[1]);
    let scores: Option<Tensor> = results
        .iter()
        .filter(|result| result.requires_grad())
        .map(|result| result.sum(result.kind()))
        .reduce(|a, b| a + b);
    let _ = gradients(scores.as_ref(), &leaves, false, false);
    if fault.is_elsewhere() {
        let all_elsewhere = views.iter().all(|view| view.device() != CPU);
        let nothing_here = results.iter().all(|result| result.device() != CPU);
        return if all_elsewhere && nothing_here {
            Ok(Outcome::Agreed)
        } else {
            Err("it takes tensors of different devices".to_owned())
        };
    }
    let (Some(_), Some(theirs)) = (known, reference_results(case, &exact)) else {
        return Err("it takes what libtorch refuses".to_owned());
    };
    // With a divisor of 0 there is nothing to compare.
    let is_finite = |x: &Tensor| bool::try_from(x.isfinite().all()).unwrap();
    if !theirs.iter().all(is_finite) {
        return Ok(Outcome::Undecided);
    }
    let [tolerance, precision] = fault.exactness(case, plan.kind);
    let Some(found) = first_difference(&results, &theirs, [tolerance, case.least(&exact)], "result") else {
        return Ok(Outcome::Agreed);
    };
    let again = |moved: &[Tensor]| reference_results(case, moved);
    let undecided = found
        .index()
        .and_then(|i| theirs.get(i))
        .is_some_and(|theirs| is_undecided(&case.inputs, &exact, precision, &found, theirs, again));
    if undecided { Ok(Outcome::Undecided) } else { Err(found.text().to_owned()) }
}
