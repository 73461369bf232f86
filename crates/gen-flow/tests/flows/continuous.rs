//! Continuous flows: against closed forms, other solvers, and automatic differentiation.

use crate::common::{
    assert_bits_of_shades, assert_density_of_moons, assert_gradients, context, double, mean_log_likelihood, set,
    shades, tensor, train, vectors,
};
use gen_core::data::{PointSet, Values};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::ode::Dopri5;
use gen_core::optim::AdamConfig;
use gen_core::params::Params;
use gen_core::rng::Generator;
use gen_core::testing::assert_close;
use gen_flow::bijection::{Bijection, Chain, Continuous, JacobianTrace, Layer, PerceptronField, Place, VectorField};
use gen_flow::{FFJORD, Ffjord, FfjordConfig, Given};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// A x.
#[derive(Debug)]
struct Linear(Tensor);

impl VectorField for Linear {
    fn parameters(&self) -> Vec<Tensor> {
        vec![self.0.shallow_clone()]
    }

    fn velocity(&self, prepared: &[Tensor], x: &Tensor, _t: f64) -> Tensor {
        x.matmul(&prepared[0].tr())
    }
}

/// The same perceptron without its own way to the trace.
#[derive(Debug)]
struct VelocityOnly(PerceptronField);

impl VectorField for VelocityOnly {
    fn parameters(&self) -> Vec<Tensor> {
        self.0.parameters()
    }

    fn prepare(&self, context: Option<&Tensor>) -> Vec<Tensor> {
        self.0.prepare(context)
    }

    fn velocity(&self, prepared: &[Tensor], x: &Tensor, t: f64) -> Tensor {
        self.0.velocity(prepared, x, t)
    }
}

/// The same without its own way back.
#[derive(Debug)]
struct VelocityAndTrace(PerceptronField);

impl VectorField for VelocityAndTrace {
    fn parameters(&self) -> Vec<Tensor> {
        self.0.parameters()
    }

    fn prepare(&self, context: Option<&Tensor>) -> Vec<Tensor> {
        self.0.prepare(context)
    }

    fn velocity(&self, prepared: &[Tensor], x: &Tensor, t: f64) -> Tensor {
        self.0.velocity(prepared, x, t)
    }

    fn velocity_and_trace(&self, prepared: &[Tensor], at: Place<'_>) -> (Tensor, Tensor) {
        self.0.velocity_and_trace(prepared, at)
    }
}

fn solver(tolerance: f64) -> Dopri5 {
    Dopri5::with_tolerance(tolerance)
}

/// With all parameters from N(0, 0.5²).
fn perceptron(params: &Params, dimension: i64, context: i64, hidden: &[i64]) -> PerceptronField {
    let field = PerceptronField::new(params.root(), dimension, context, hidden);
    let _no_grad = tch::no_grad_guard();
    for (_, parameter) in params.trainable() {
        parameter.shallow_clone().copy_(&(Tensor::randn(parameter.size(), F64) * 0.5));
    }
    field
}

#[test]
fn a_linear_field_is_the_matrix_exponential() {
    let v = vectors("cnf_linear");
    for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-6)] {
        let part = |name: &str| tensor(&v[name]).to_kind(kind);
        let params = Params::new(kind, Device::Cpu);
        let own = PerceptronField::new(params.root(), 3, 0, &[]);
        let all = params.all();
        tch::no_grad(|| all.get("layers.0.weight").unwrap().shallow_clone().copy_(&part("A")));
        let flows: [Box<dyn Bijection>; 2] = [
            Box::new(Continuous::new(Linear(part("A")), JacobianTrace::Exact, solver(1e-12))),
            Box::new(Continuous::new(own, JacobianTrace::Exact, solver(1e-12))),
        ];
        for flow in flows {
            let (y, log_det) = flow.forward(&part("x"), Given::NOTHING);
            assert_close(&y, &part("y"), tolerance, tolerance);
            let expected = log_det.full_like(v["logdet"].as_f64().unwrap());
            assert_close(&log_det, &expected, tolerance, tolerance);
            let (x, back) = flow.inverse(&part("y"), Given::NOTHING);
            assert_close(&x, &part("x"), 2.0 * tolerance, 2.0 * tolerance);
            assert_close(&-back, &expected, tolerance, tolerance);
        }
    }
}

#[test]
fn a_perceptron_is_what_another_solver_finds() {
    let v = vectors("cnf_tanh");
    let cases = [
        (Kind::Double, 1e-4, 1e-3),
        (Kind::Double, 1e-7, 1e-6),
        (Kind::Double, 1e-11, 1e-10),
        (Kind::Float, 1e-7, 1e-6),
    ];
    for (kind, of_solver, tolerance) in cases {
        let params = Params::new(kind, Device::Cpu);
        let field = PerceptronField::new(params.root(), 2, 0, &[5, 4]);
        for (i, layer) in v["layers"].as_array().unwrap().iter().enumerate() {
            for part in ["weight", "bias", "time"] {
                set(&params, &format!("layers.{i}.{part}"), &tensor(&layer[part]));
            }
        }
        let flow = Continuous::new(field, JacobianTrace::Exact, solver(of_solver));
        let (y, log_det) = flow.forward(&tensor(&v["x"]).to_kind(kind), Given::NOTHING);
        assert_close(&y, &tensor(&v["y"]), tolerance, tolerance);
        assert_close(&log_det, &tensor(&v["logdet"]), tolerance, tolerance);
    }
}

#[test]
fn traces_of_perceptrons_are_those_of_backward_passes() {
    tch::manual_seed(0);
    for hidden in [&[][..], &[7], &[7, 6], &[5, 6, 7]] {
        let params = double();
        let field = VelocityOnly(perceptron(&params, 3, 2, hidden));
        let x = Tensor::randn([4, 3], F64);
        let context = Tensor::randn([4, 2], F64);
        let prepared = field.prepare(Some(&context));
        let signs = Tensor::randn([4, 3], F64).sign();
        for probe in [None, Some(&signs)] {
            let evaluate = |way: &dyn VectorField| {
                let x = x.copy().set_requires_grad(true);
                let (velocity, trace) = way.velocity_and_trace(&prepared, Place { x: &x, t: 0.3, probe });
                let loss = velocity.sin().sum(Kind::Double) + (&trace * &trace).sum(Kind::Double);
                let parameters = way.parameters();
                let mut inputs: Vec<&Tensor> = parameters.iter().collect();
                inputs.push(&x);
                let gradients = Tensor::run_backward(&[loss], &inputs, true, false);
                (velocity, trace, gradients)
            };
            let (ours, theirs) = (evaluate(&field.0), evaluate(&field));
            assert_close(&ours.0, &theirs.0, 1e-12, 1e-12);
            assert_close(&ours.1, &theirs.1, 1e-12, 1e-12);
            for (ours, theirs) in ours.2.iter().zip(&theirs.2) {
                assert_eq!(ours.defined(), theirs.defined());
                if ours.defined() {
                    assert_close(ours, theirs, 1e-11, 1e-11);
                }
            }
        }
    }
}

#[test]
fn the_way_back_through_perceptrons_is_that_of_automatic_differentiation() {
    tch::manual_seed(5);
    for (hidden, context) in [(&[][..], 0), (&[7], 2), (&[7, 6], 0), (&[7, 6], 2), (&[5, 6, 7], 2)] {
        let params = double();
        let field = VelocityAndTrace(perceptron(&params, 3, context, hidden));
        let (x, of_velocity) = (Tensor::randn([4, 3], F64), Tensor::randn([4, 3], F64));
        let of_trace = Tensor::randn([4], F64);
        let context = (context > 0).then(|| Tensor::randn([4, context], F64));
        let prepared: Vec<Tensor> = field.prepare(context.as_ref()).iter().map(Tensor::detach).collect();
        let prepared: Vec<Tensor> = prepared.into_iter().map(|part| part.set_requires_grad(true)).collect();
        let evaluate = |way: &dyn VectorField| {
            let mut sums: Vec<Tensor> = prepared.iter().map(|part| part.detach().ones_like()).collect();
            let (velocity, trace, pullback) = way.linearised(&prepared, Place { x: &x, t: 0.7, probe: None });
            let of_x = pullback(&of_velocity, &of_trace, &mut sums).unwrap();
            sums.extend([velocity, trace, of_x]);
            sums
        };
        for (ours, theirs) in evaluate(&field.0).iter().zip(&evaluate(&field)) {
            assert_close(ours, theirs, 1e-12, 1e-12);
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    tch::manual_seed(1);
    let params = double();
    let flow = Continuous::new(perceptron(&params, 2, 1, &[5, 4]), JacobianTrace::Exact, solver(1e-10));
    let x = Tensor::randn([3, 2], F64).set_requires_grad(true);
    let context = Tensor::randn([3, 1], F64).set_requires_grad(true);
    for inverse in [false, true] {
        let loss = || {
            let given = Given::context(&context);
            let (y, log_det) = if inverse { flow.inverse(&x, given) } else { flow.forward(&x, given) };
            (y.sin() + log_det.square().unsqueeze(1)).sum(Kind::Double)
        };
        let mut inputs: Vec<Tensor> = params.trainable().into_iter().map(|(_, parameter)| parameter).collect();
        inputs.extend([x.shallow_clone(), context.shallow_clone()]);
        assert_gradients(&inputs, 1e-4, &loss);
    }
}

/// Moves by the same vector, whatever the place and the time.
#[derive(Debug)]
struct Constant(Tensor);

impl VectorField for Constant {
    fn parameters(&self) -> Vec<Tensor> {
        vec![self.0.shallow_clone()]
    }

    fn velocity(&self, prepared: &[Tensor], x: &Tensor, _t: f64) -> Tensor {
        prepared[0].expand_as(x)
    }
}

#[test]
fn kinetic_energy_is_a_penalty_of_training_alone() {
    tch::manual_seed(6);
    let by = Tensor::from_slice(&[3.0, 4.0]).set_requires_grad(true);
    let flow = Continuous::new(Constant(by.shallow_clone()), JacobianTrace::Exact, solver(1e-8));
    let x = Tensor::randn([5, 2], F64);
    let rng = Generator::seeded(0);
    let training = Given::NOTHING.training(&rng);
    let _ = flow.forward(&x, training);
    assert!(flow.take_penalty().is_none(), "nobody asked for it");
    let flow = flow.with_kinetic_penalty(0.1);
    let _ = flow.forward(&x, Given::NOTHING);
    assert!(flow.take_penalty().is_none(), "this is no training");
    for inverse in [false, true] {
        let _ = if inverse { flow.inverse(&x, training) } else { flow.forward(&x, training) };
        let penalty = flow.take_penalty().unwrap();
        // 0.1 · (3² + 4²) / (2 · 2), and its derivative by · 0.1 / 2.
        assert_close(&penalty, &Tensor::full([5], 0.625, F64), 1e-12, 1e-12);
        let gradient = Tensor::run_backward(&[penalty.mean(Kind::Double)], &[&by], false, false).remove(0);
        assert_close(&gradient, &(&by * 0.05), 1e-12, 1e-12);
        assert!(flow.take_penalty().is_none(), "it is given once");
    }
}

#[test]
fn gradients_of_penalties_are_those_of_finite_differences() {
    tch::manual_seed(7);
    for hidden in [&[5, 4][..], &[4, 4, 4]] {
        let params = double();
        let flow = Continuous::new(perceptron(&params, 2, 1, hidden), JacobianTrace::Exact, solver(1e-10));
        let chain = Chain::new(vec![Box::new(flow.with_kinetic_penalty(0.5))]);
        let x = Tensor::randn([3, 2], F64).set_requires_grad(true);
        let context = Tensor::randn([3, 1], F64).set_requires_grad(true);
        let rng = Generator::seeded(0);
        let given = Given::context(&context).training(&rng);
        let loss = || {
            let (y, log_det) = chain.forward(&x, given);
            let penalty = chain.take_penalty().unwrap();
            (y.sin() + (log_det.square() + penalty.exp()).unsqueeze(1)).sum(Kind::Double)
        };
        let mut inputs: Vec<Tensor> = params.trainable().into_iter().map(|(_, parameter)| parameter).collect();
        inputs.extend([x.shallow_clone(), context.shallow_clone()]);
        assert_gradients(&inputs, 1e-4, &loss);
    }
}

#[test]
fn there_and_back() {
    tch::manual_seed(2);
    let params = double();
    let flow = Continuous::new(perceptron(&params, 4, 0, &[8, 8, 8]), JacobianTrace::Exact, solver(1e-12));
    let x = Tensor::randn([6, 4], F64) * 2.0;
    let (y, log_det) = flow.forward(&x, Given::NOTHING);
    let forward = flow.evaluations();
    let (back, inverse_log_det) = flow.inverse(&y, Given::NOTHING);
    assert_close(&back, &x, 1e-9, 1e-9);
    assert_close(&-inverse_log_det, &log_det, 1e-9, 1e-9);
    // Both passes count, each for itself, and a chain counts its parts.
    assert!(forward > Some(8) && flow.evaluations() > Some(8));
    let chain = Chain::new(vec![Box::new(flow)]);
    let _ = chain.forward(&x, Given::NOTHING);
    assert_eq!(chain.evaluations(), forward);
}

#[test]
fn random_probes_are_unbiased_and_only_in_training() {
    tch::manual_seed(3);
    let params = double();
    let flow = Continuous::new(perceptron(&params, 3, 0, &[6, 6]), JacobianTrace::Hutchinson, solver(1e-6));
    let x = Tensor::randn([1, 3], F64);
    let exact = flow.forward(&x, Given::NOTHING).1;
    let many = x.expand([4000, 3], false).contiguous();
    let rng = Generator::seeded(0);
    let estimates = flow.forward(&many, Given::NOTHING.training(&rng)).1;
    let deviation = estimates.std(true).double_value(&[]);
    assert!(deviation > 0.01, "{deviation}");
    let error = (estimates.mean(Kind::Double) - &exact).abs().double_value(&[0]);
    assert!(error < 4.0 * deviation / 4000f64.sqrt(), "{error} with a deviation of {deviation}");
    assert_close(&flow.forward(&many.narrow(0, 0, 1), Given::NOTHING).1, &exact, 1e-12, 1e-12);
}

#[test]
fn an_equation_without_a_solution_gives_nan() {
    let field = Linear(Tensor::eye(2, F64) * 1000.0);
    let few = Dopri5 { max_evaluations: 20, ..solver(1e-8) };
    let flow = Continuous::new(field, JacobianTrace::Exact, few);
    let (y, log_det) = flow.forward(&Tensor::ones([3, 2], F64), Given::NOTHING);
    assert_eq!((y.size(), log_det.size()), (vec![3, 2], vec![3]));
    assert!(y.isnan().all().int64_value(&[]) == 1 && log_det.isnan().all().int64_value(&[]) == 1);
    let (y, log_det) = flow.forward(&Tensor::ones([0, 2], F64), Given::NOTHING);
    assert_eq!((y.size(), log_det.size()), (vec![0, 2], vec![0]));
}

#[test]
fn ffjord_learns_the_moons_and_stays_a_density() {
    let data = PointSet::Moons.dataset().unwrap();
    let config = FfjordConfig { hidden: vec![32, 32], ..FFJORD.config(&data.spec) };
    let mut model = FFJORD.build(config, &context(&data)).unwrap();
    let losses = train(&FFJORD, &mut model, &data, 250, 128);
    let names: Vec<&str> = losses.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["nll", "penalty", "grad_norm", "nfe"]);
    assert!(losses[1].1 > 0.0 && (8.0..200.0).contains(&losses[3].1), "{losses:?}");
    let evaluations = model.sampling(&SampleRequest::new(5, 0)).unwrap().evaluations;
    assert!((8..200).contains(&evaluations), "{evaluations}");
    assert_density_of_moons(&model, 0.2);
}

#[test]
fn ffjord_learns_images() {
    let data = shades();
    let config = FfjordConfig {
        hidden: vec![24, 24, 24],
        trace: JacobianTrace::Hutchinson,
        tolerance: 1e-3,
        optimizer: AdamConfig { learning_rate: 5e-3, ..AdamConfig::default() },
        ..FFJORD.config(&data.spec)
    };
    let mut model = FFJORD.build(config, &context(&data)).unwrap();
    let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
    let bits = |model: &Ffjord| Values::Bytes.bits_per_dim(mean_log_likelihood(model, &x), 16);
    let _ = train(&FFJORD, &mut model, &data, 200, 64);
    assert_bits_of_shades(bits(&model), 7.5);
    assert_eq!(model.sample(&SampleRequest::new(5, 0)).unwrap().size(), [5, 1, 4, 4]);
}

#[test]
fn configurations_of_ffjord_that_cannot_be_are_refused() {
    let data = PointSet::Moons.dataset().unwrap();
    let default = FFJORD.config(&data.spec);
    let cases = [
        (FfjordConfig { blocks: 0, ..default.clone() }, "blocks"),
        (FfjordConfig { hidden: vec![8, 0], ..default.clone() }, "hidden"),
        (FfjordConfig { tolerance: 0.0, ..default.clone() }, "tolerance"),
        (FfjordConfig { kinetic: -0.1, ..default.clone() }, "kinetic"),
        (FfjordConfig { tolerance: f64::NAN, ..default }, "tolerance"),
    ];
    for (config, key) in cases {
        let error = FFJORD.build(config, &context(&data)).err().unwrap().to_string();
        assert!(error.contains(key), "`{error}` should name `{key}`");
    }
}
