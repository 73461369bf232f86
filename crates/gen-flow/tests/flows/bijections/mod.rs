//! One table of constructors through the tests that every bijection has to pass.

mod table;

use self::table::{Case, Domain, F64, table};
use gen_core::params::Params;
use gen_core::rng::Generator;
use gen_core::testing::assert_close;
use gen_flow::Given;
use gen_flow::bijection::{ActNorm, BatchNorm, Bijection, Layer};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tch::{Device, Kind, Tensor};

/// Outside training.
fn given(context: &Option<Tensor>) -> Given<'_> {
    Given { context: context.as_ref(), ..Given::NOTHING }
}

/// Runs `check` on every bijection of the table; a failure says which it was.
fn each(check: impl Fn(&Case)) {
    // Small tensors: threads would only wait for each other.
    tch::set_num_threads(1);
    for case in table() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&case)));
        assert!(outcome.is_ok(), "failed for: {}", case.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4,
        failure_persistence: None,
        // In single precision a steep map can be too steep for the tolerance: the same draws every time.
        rng_seed: RngSeed::Fixed(5),
        ..Default::default()
    })]

    #[test]
    fn inverse_undoes_forward(seed in 0i64..1_000_000, rows in 1i64..6) {
        each(|case| {
            for (kind, tolerance) in [(Kind::Double, 1e-9), (Kind::Float, 1e-4)] {
                tch::manual_seed(seed);
                let (_params, bijection) = case.random(kind);
                let (x, context) = (case.input(rows, kind), case.context(rows, kind));
                let (y, log_det) = bijection.forward(&x, given(&context));
                let (back, inverse_log_det) = bijection.inverse(&y, given(&context));
                assert_eq!((log_det.size(), inverse_log_det.size()), (vec![rows], vec![rows]));
                let kind_of_units = if case.to_units { Kind::Double } else { kind };
                assert_eq!((y.kind(), log_det.kind()), (kind, kind_of_units));
                assert_eq!((back.kind(), inverse_log_det.kind()), (kind_of_units, kind_of_units));
                assert_close(&back, &x, tolerance, tolerance);
                // The log-determinants are sums over all values: allow for each.
                let tolerance = tolerance * case.dimensions() as f64;
                assert_close(&-inverse_log_det, &log_det, tolerance, tolerance);
            }
        });
    }

    #[test]
    fn log_determinant_is_that_of_the_jacobian(seed in 0i64..1_000_000) {
        each(|case| {
            tch::manual_seed(seed);
            let (_params, bijection) = case.random(Kind::Double);
            let (x, context) = (case.input(1, Kind::Double), case.context(1, Kind::Double));
            let (y, log_det) = bijection.forward(&x, given(&context));
            let direct = log_abs_det_jacobian(&x, |x| bijection.forward(x, given(&context)).0);
            assert_close(&log_det.squeeze(), &direct, 1e-8, 1e-8);
            let (_, log_det) = bijection.inverse(&y, given(&context));
            let direct = log_abs_det_jacobian(&y, |y| bijection.inverse(y, given(&context)).0);
            assert_close(&log_det.squeeze(), &direct, 1e-8, 1e-8);
        });
    }
}

fn log_abs_det_jacobian(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let x = x.detach().set_requires_grad(true);
    let y = f(&x).reshape([-1]);
    let rows: Vec<Tensor> = (0..y.numel() as i64)
        .map(|i| Tensor::run_backward(&[y.get(i)], &[&x], true, false).remove(0).reshape([-1]))
        .collect();
    Tensor::linalg_slogdet(&Tensor::stack(&rows, 0)).1
}

#[test]
fn every_parameter_and_context_entry_has_a_gradient() {
    each(|case| {
        tch::manual_seed(1);
        let (params, bijection) = case.random(Kind::Double);
        let x = case.input(16, Kind::Double);
        let context = case.context(16, Kind::Double).map(|context| context.set_requires_grad(true));
        let (y, log_det) = bijection.forward(&x, given(&context));
        let loss = y.square().sum(Kind::Double) - log_det.sum(Kind::Double);
        let parameters = params.trainable();
        let inputs: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| tensor).chain(&context).collect();
        if inputs.is_empty() {
            return;
        }
        let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
        for ((name, _), gradient) in parameters.iter().zip(&gradients) {
            assert!(gradient.defined() && gradient.abs().max().double_value(&[]) > 0.0, "`{name}`");
        }
        if context.is_some() {
            let gradient = gradients[gradients.len() - 1].abs().sum_dim_intlist(0, false, Kind::Double);
            assert!(gradient.min().double_value(&[]) > 0.0, "the context");
        }
    });
}

/// Of every parameter, the context and the values at once, in both directions: along a random direction the slope by
/// automatic differentiation is that of central differences. The Jacobians above say nothing of parameters.
#[test]
fn gradients_of_both_directions_are_those_of_differences() {
    const STEP: f64 = 1e-6;
    each(|case| {
        tch::manual_seed(6);
        let (params, bijection) = case.random(Kind::Double);
        let (x, context) = (case.input(3, Kind::Double), case.context(3, Kind::Double));
        let context = context.map(|context| context.set_requires_grad(true));
        let y = tch::no_grad(|| bijection.forward(&x, given(&context)).0);
        for (direction, from) in [("forward", &x), ("inverse", &y)] {
            let from = from.detach().copy().set_requires_grad(true);
            let score = || {
                let (to, log_det) = match direction {
                    "forward" => bijection.forward(&from, given(&context)),
                    _ => bijection.inverse(&from, given(&context)),
                };
                to.sin().sum(Kind::Double) + (log_det * 0.7).sin().sum(Kind::Double)
            };
            let parameters = params.trainable().into_iter().map(|(_, parameter)| parameter);
            let shared = context.iter().chain([&from]).map(Tensor::shallow_clone);
            let leaves: Vec<Tensor> = parameters.chain(shared).collect();
            let along: Vec<Tensor> = leaves.iter().map(|leaf| leaf.detach().randn_like()).collect();
            let gradients = Tensor::run_backward(&[score()], &leaves, false, false);
            let slopes = gradients.iter().zip(&along).filter(|(gradient, _)| gradient.defined());
            let slope: f64 = slopes.map(|(g, along)| (g * along).sum(Kind::Double).double_value(&[])).sum();
            let _no_grad = tch::no_grad_guard();
            let moved = |by: f64| {
                for (leaf, along) in leaves.iter().zip(&along) {
                    let _ = leaf.shallow_clone().g_add_(&(along * by));
                }
                score().double_value(&[])
            };
            let (above, below) = (moved(STEP), moved(-2.0 * STEP));
            moved(STEP);
            let difference = (above - below) / (2.0 * STEP);
            assert!(
                (slope - difference).abs() < 1e-5 * (1.0 + difference.abs()),
                "{direction}: {slope} by derivatives, {difference} by differences"
            );
        }
    });
}

/// Of one row, of copies of it, and of rows that rounding alone keeps apart.
#[test]
fn actnorm_does_not_scale_what_has_no_width() {
    let row = Tensor::from_slice(&[1.0f64, -250.0, 5.0]).view([1, 3]);
    let copies = |n: i64| row.expand([n, 3], false).contiguous();
    let rounded = copies(100) + Tensor::linspace(0.0, 1e-9, 300, F64).view([100, 3]);
    for x in [copies(1), copies(2), copies(7), copies(8), copies(100), rounded] {
        let n = x.size()[0];
        let params = Params::new(Kind::Double, Device::Cpu);
        let actnorm = ActNorm::new(params.root(), 3);
        let y = actnorm.initialise(&x, Given::NOTHING);
        assert_close(&y, &Tensor::zeros([n, 3], F64), 0.0, 1e-8);
        let (_, log_det) = actnorm.forward(&x, Given::NOTHING);
        assert_eq!(log_det.abs().max().double_value(&[]), 0.0, "{n} rows");
    }
}

#[test]
fn a_constant_channel_of_many_rows_is_no_concern_of_the_others() {
    tch::manual_seed(8);
    let x = Tensor::cat(&[Tensor::randn([50, 1], F64) * 3.0, Tensor::full([50, 1], 4.0, F64)], 1);
    let params = Params::new(Kind::Double, Device::Cpu);
    let actnorm = ActNorm::new(params.root(), 2);
    let y = actnorm.initialise(&x, Given::NOTHING);
    assert_close(&y.select(1, 0).std(true), &Tensor::from(1.0f64), 0.0, 1e-12);
    assert_close(&y.select(1, 1), &Tensor::zeros([50], F64), 0.0, 1e-12);
    let expected = -x.select(1, 0).std(true).log();
    assert_close(&actnorm.forward(&x, Given::NOTHING).1.get(0), &expected, 1e-12, 0.0);
}

#[test]
fn extreme_inputs_stay_finite() {
    each(|case| {
        for kind in [Kind::Double, Kind::Float] {
            tch::manual_seed(2);
            let (_params, bijection) = case.random(kind);
            let extremes = case.input(8, kind).sign() * 1e6;
            let context = case.context(8, kind);
            let x = match case.domain {
                Domain::Real => extremes.shallow_clone(),
                Domain::UnitInterval => extremes.gt(0.0).to_kind(kind),
            };
            let (y, log_det) = bijection.forward(&x, given(&context));
            assert!(finite(&y) && finite(&log_det), "forward, {kind:?}");
            let (x, log_det) = bijection.inverse(&extremes.view(y.size().as_slice()), given(&context));
            assert!(finite(&x) && finite(&log_det), "inverse, {kind:?}");
        }
    });
}

fn finite(x: &Tensor) -> bool {
    x.isfinite().all().int64_value(&[]) == 1
}

#[test]
fn a_trajectory_leads_to_the_inverse() {
    each(|case| {
        tch::manual_seed(3);
        let (_params, bijection) = case.random(Kind::Double);
        let (x, context) = (case.input(4, Kind::Double), case.context(4, Kind::Double));
        let y = bijection.forward(&x, given(&context)).0;
        let mut states = Vec::new();
        let end = bijection.trajectory(&y, given(&context), &mut |x| states.push(x.shallow_clone()));
        assert_close(&end, &x, 1e-9, 1e-9);
        assert_eq!(states.len(), case.steps);
        assert!(states.iter().all(|state| state.size() == x.size()));
        let outline = bijection.outline(&y, given(&context));
        assert_eq!(outline.size(), x.size());
        match states.last() {
            // After the last step there are only rearrangement and units.
            Some(last) => {
                assert_close(last, &x, 1e-9, 1e-9);
                assert!(!outline.allclose(&x, 1e-3, 1e-3, false));
            }
            None => assert_close(&outline, &x, 1e-9, 1e-9),
        }
    });
}

#[test]
fn rows_are_independent_of_their_batch() {
    each(|case| {
        tch::manual_seed(3);
        let (_params, bijection) = case.random(Kind::Double);
        let (x, context) = (case.input(4, Kind::Double), case.context(4, Kind::Double));
        let (y, log_det) = bijection.forward(&x, given(&context));
        let row = |tensor: &Tensor| tensor.narrow(0, 2, 1);
        let (y2, log_det2) = bijection.forward(&row(&x), given(&context.as_ref().map(row)));
        assert_close(&y2, &row(&y), 1e-12, 1e-12);
        assert_close(&log_det2, &row(&log_det), 1e-12, 1e-12);
    });
}

#[test]
fn only_initialise_changes_anything() {
    each(|case| {
        tch::manual_seed(4);
        let params = Params::new(Kind::Double, Device::Cpu);
        let bijection = (case.build)(&params);
        let before = params.all().snapshot();
        let unchanged = || params.all().iter().all(|(name, tensor)| before.get(name) == Some(tensor));
        let (x, context) = (case.input(4, Kind::Double), case.context(4, Kind::Double));
        let copy = x.copy();
        let (y, _) = bijection.forward(&x, given(&context));
        let _ = bijection.inverse(&y, given(&context));
        assert!(unchanged() && x == copy);
        let start = bijection.initialise(&x, given(&context));
        assert!(bijection.is_initialised() && x == copy);
        assert_close(&start, &bijection.forward(&x, given(&context)).0, 1e-12, 1e-12);
        let started = params.all().snapshot();
        let _ = bijection.initialise(&(&x * 0.5), given(&context));
        assert!(params.all().iter().all(|(name, tensor)| started.get(name) == Some(tensor)));
    });
}

#[test]
fn batch_norm_takes_the_batch_in_training_and_running_means_elsewhere() {
    let params = Params::new(Kind::Double, Device::Cpu);
    let norm = BatchNorm::new(params.root(), 2);
    let rng = Generator::seeded(2);
    let x = rng.randn([500, 2, 3, 1], F64) * 2.0 + Tensor::from_slice(&[5.0, -1.0]).view([1, 2, 1, 1]);
    let (y, log_det) = norm.forward(&x, Given::NOTHING.training(&rng));
    let over: &[i64] = &[0, 2, 3];
    assert_close(&y.mean_dim(over, false, Kind::Double), &Tensor::zeros([2], F64), 0.0, 1e-12);
    assert_close(&y.var_dim(over, false, false), &Tensor::ones([2], F64), 0.0, 1e-5);
    // Three values of each channel.
    let variance = x.var_dim(over, false, false);
    let expected = (&variance + 1e-5).log().sum(Kind::Double) * -1.5;
    assert_close(&log_det, &expected.expand([500], false), 0.0, 1e-12);
    // A tenth of the batch is in the running means, which all other passes use.
    let mean = params.all().get("mean").unwrap().shallow_clone();
    assert_close(&mean, &(x.mean_dim(over, false, Kind::Double) * 0.1), 0.0, 1e-12);
    let running = params.all().get("variance").unwrap().shallow_clone();
    assert_close(&running, &(variance * 0.1 + 0.9), 0.0, 1e-12);
    let one = x.narrow(0, 7, 1);
    let alone = norm.forward(&one, Given::NOTHING).0;
    assert_close(&norm.forward(&x, Given::NOTHING).0.narrow(0, 7, 1), &alone, 0.0, 1e-12);
    assert_close(&norm.inverse(&alone, Given::NOTHING).0, &one, 0.0, 1e-12);
}
