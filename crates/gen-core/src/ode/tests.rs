use std::f64::consts::PI;

use tch::Device;

use super::tableau::{NODES, STAGES, STEP};
use super::*;
use crate::testing::{assert_close, assert_close_f64};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// dy/dt = A y for each row: a rotation that grows in one plane, and a decay.
fn matrix() -> Tensor {
    Tensor::from_slice(&[0.3, -2.7, 0.1, 2.5, -0.2, 0.4, 0.0, 0.6, -1.25]).view([3, 3])
}

fn linear(_t: f64, y: &Tensor) -> Result<Tensor> {
    Ok(y.matmul(&matrix().tr()))
}

/// y' = y cos t, whose solution is exp(sin t).
fn oscillating(t: f64, y: &Tensor) -> Result<Tensor> {
    Ok(y * t.cos())
}

#[test]
fn the_method_is_of_order_five_and_its_estimate_of_order_four() {
    let y = Tensor::ones([1], DOUBLE);
    let errors = |n: i32| {
        let h = 2.0 / f64::from(n);
        let (mut y, mut stages, mut estimate) = (y.copy(), Stages::new(&y), 0f64);
        for i in 0..n {
            let t = f64::from(i) * h;
            stages.set(0, &oscillating(t, &y).expect("a value"));
            y = stages.step(&mut oscillating, t, h, &y).expect("a step");
            estimate = estimate.max(stages.combined(&ERROR, h).double_value(&[0]).abs());
        }
        [(y.double_value(&[0]) - 2f64.sin().exp()).abs(), estimate]
    };
    let (coarse, fine) = (errors(20), errors(40));
    // The error of one step has an order more than the method that makes it.
    assert_close_f64((coarse[0] / fine[0]).log2(), 5.0, 0.0, 0.4);
    assert_close_f64((coarse[1] / fine[1]).log2(), 5.0, 0.0, 0.4);
}

#[test]
fn the_tolerance_is_kept_down_to_rounding() {
    let y = Tensor::from_slice(&[1.0, -0.5, 2.0, 0.0, 30.0, 0.01]).view([2, 3]);
    let expected = y.matmul(&(matrix() * 2.0).linalg_matrix_exp().tr());
    let mut before = 0;
    for tolerance in [1e-3, 1e-6, 1e-9, 1e-12] {
        let solution = dopri5(linear, &y, [0.0, 2.0], &Dopri5::with_tolerance(tolerance)).expect("solved");
        assert_close(&solution.state, &expected, 20.0 * tolerance, 20.0 * tolerance);
        let Solution { evaluations, steps, rejected, .. } = solution;
        assert_eq!(evaluations, 2 + 6 * (steps + rejected));
        assert!(evaluations > before, "{evaluations} evaluations");
        before = evaluations;
    }
    let settings = Dopri5::with_tolerance(1e-10);
    let forced = dopri5(oscillating, &Tensor::ones([1], DOUBLE), [0.0, PI / 2.0], &settings).expect("solved");
    assert_close_f64(forced.state.double_value(&[0]), 1f64.exp(), 1e-10, 0.0);
}

#[test]
fn time_runs_in_both_directions() {
    let settings = Dopri5::with_tolerance(1e-11);
    let y = Tensor::randn([4, 3], DOUBLE);
    let there = dopri5(linear, &y, [0.5, 2.0], &settings).expect("solved").state;
    let back = dopri5(linear, &there, [2.0, 0.5], &settings).expect("solved").state;
    assert_close(&back, &y, 1e-9, 1e-9);
    let nowhere = dopri5(linear, &y, [1.0, 1.0], &settings).expect("solved");
    assert_eq!((nowhere.state, nowhere.evaluations), (y, 0));
}

#[test]
fn single_precision_is_asked_for_what_it_has() {
    let y = Tensor::from_slice(&[1f32, 0.0, -3.0]).view([1, 3]);
    let field = |_t: f64, y: &Tensor| Ok(y.matmul(&matrix().tr().to_kind(Kind::Float)));
    let solution = dopri5(field, &y, [0.0, 2.0], &Dopri5::with_tolerance(0.0)).expect("solved");
    let expected = y.to_kind(Kind::Double).matmul(&(matrix() * 2.0).linalg_matrix_exp().tr());
    assert_close(&solution.state, &expected, 1e-4, 1e-4);
    assert!(solution.evaluations < 1000, "{} evaluations", solution.evaluations);
}

#[test]
fn a_state_at_rest_costs_one_step() {
    let still =
        dopri5(|_, y| Ok(y.zeros_like()), &Tensor::ones([2], DOUBLE), [0.0, 9.0], &Dopri5::with_tolerance(1e-8));
    assert_eq!(still.expect("solved").steps, 1);
    // A derivative that is 0 at first, then is not.
    let late = |t: f64, y: &Tensor| Ok(y.ones_like() * (t - 0.5).max(0.0).powi(5));
    let y = dopri5(late, &Tensor::zeros([1], DOUBLE), [0.0, 1.0], &Dopri5::with_tolerance(1e-8)).expect("solved");
    assert_close_f64(y.state.double_value(&[0]), 0.5f64.powi(6) / 6.0, 0.0, 1e-7);
}

#[test]
fn an_equation_without_a_solution_is_an_error() {
    let message = |field: &dyn Fn(f64, &Tensor) -> Tensor, settings: Dopri5| {
        let solution = dopri5(|t, y| Ok(field(t, y)), &Tensor::ones([2], DOUBLE), [0.0, 2.0], &settings);
        solution.expect_err("no solution").to_string()
    };
    let settings = Dopri5::with_tolerance(1e-6);
    let expected = [
        (message(&|_, y| y * f64::NAN, settings), "not finite at its start"),
        (message(&|t, y| if t > 1.0 { y * f64::NAN } else { y * 1.0 }, settings), "precision of t"),
        // 1 / (1 - t), which is infinite at 1.
        (message(&|_, y| y.square(), settings), "precision of t"),
        (message(&|t, y| y * (1000.0 * t).sin(), Dopri5 { max_evaluations: 50, ..settings }), "50 evaluations"),
        (message(&|_, y| y * 1.0, Dopri5 { relative: -1.0, ..settings }), "relative tolerance"),
        (message(&|_, y| y * 1.0, Dopri5 { absolute: f64::NAN, ..settings }), "absolute tolerance"),
    ];
    for (message, part) in expected {
        assert!(message.contains(part), "`{message}` should say `{part}`");
    }
    let failing = dopri5(|_, _| Err(Error::invalid("no value")), &Tensor::ones([2], DOUBLE), [0.0, 2.0], &settings);
    assert!(failing.expect_err("no value").to_string().contains("no value"));
}

#[test]
fn gradients_are_those_of_the_steps() {
    // dy/dt = tanh(W y + t), with a gradient for W.
    let w = (matrix() * 0.5).set_requires_grad(true);
    let y = Tensor::randn([4, 3], DOUBLE);
    let field = |t: f64, y: &Tensor| (y.matmul(&w.tr()) + t).tanh();
    let settings = Dopri5::with_tolerance(1e-6);
    for span in [[0.0, 2.0], [1.5, -0.5]] {
        let (solution, adjoint) = dopri5_with_adjoint(|t, y| Ok(field(t, y)), &y, span, &settings).expect("solved");
        assert_eq!(adjoint.steps().len(), solution.steps);

        // The same steps with operations that autograd follows.
        let leaf = y.copy().set_requires_grad(true);
        let mut through = leaf.shallow_clone();
        for &(t, h) in &adjoint.steps() {
            let mut values: Vec<Tensor> = Vec::new();
            let mut state = through.shallow_clone();
            for i in 0..STAGES {
                let moves = STEP[i].iter().zip(&values).map(|(weight, value)| value * (weight * h));
                state = moves.fold(through.shallow_clone(), |state, part| state + part);
                values.push(field(t + NODES[i] * h, &state));
            }
            through = state;
        }
        assert_close(&through, &solution.state, 1e-12, 1e-12);
        let loss = |y: &Tensor| (y.sin() * 3.0).sum(Kind::Double);
        let expected = Tensor::run_backward(&[loss(&through)], &[&leaf, &w], false, false);

        let of_end = solution.state.cos() * 3.0;
        let of_w = std::cell::RefCell::new(w.zeros_like());
        let of_start = adjoint.pull_back(&of_end, |t, y| {
            let y = y.copy();
            let through = field(t, &y);
            let value = through.detach();
            let of_w = &of_w;
            let w = &w;
            let product = move |g: &Tensor| {
                let inner: Tensor = g * (1.0 - through.square());
                *of_w.borrow_mut() += inner.tr().matmul(&y);
                Ok(inner.matmul(w))
            };
            Ok((value, Box::new(product) as VectorJacobianProduct<'_>))
        });
        assert_close(&of_start.expect("a gradient"), &expected[0], 1e-11, 1e-11);
        assert_close(&of_w.borrow(), &expected[1], 1e-11, 1e-11);
    }
}
