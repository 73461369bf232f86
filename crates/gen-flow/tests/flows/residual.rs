//! Residual blocks: against closed forms, bounds and expectations.

use crate::common::{
    assert_bits_of_shades, assert_density_of_moons, assert_gradients, context, double, mean_log_likelihood, set,
    shades, tensor, train, vectors,
};
use gen_core::data::{Dataset, PointSet, Values};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::params::Params;
use gen_core::rng::Generator;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_flow::bijection::{Bijection, Chain, Contraction, Layer, LogDet, Permutation, Residual};
use gen_flow::{Determinant, Given, RESIDUAL_FLOW, ResidualFlow, ResidualFlowConfig};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// With all parameters from N(0, `scale`²).
fn random(params: &Params, dimension: i64, hidden: &[i64], scale: f64) -> Contraction {
    let contraction = Contraction::new(params.root(), dimension, 0, hidden, 0.9);
    let _no_grad = tch::no_grad_guard();
    for (_, parameter) in params.trainable() {
        parameter.shallow_clone().copy_(&(Tensor::randn(parameter.size(), F64) * scale));
    }
    contraction
}

#[test]
fn a_linear_block_has_the_determinant_of_its_matrix() {
    let v = vectors("residual_linear");
    let block = |log_det: LogDet| {
        let params = double();
        let contraction = Contraction::new(params.root(), 3, 0, &[], 0.97);
        set(&params, "layers.0.weight", &tensor(&v["W"]));
        Residual::new(contraction, log_det)
    };
    let x = tensor(&v["x"]);
    let (y, log_det) = block(LogDet::Exact).forward(&x, Given::NOTHING);
    assert_close(&y, &tensor(&v["y"]), 1e-10, 1e-10);
    assert_close(&log_det, &log_det.full_like(v["logdet"].as_f64().unwrap()), 1e-10, 1e-10);
    let (back, log_det) = block(LogDet::Exact).inverse(&y, Given::NOTHING);
    assert_close(&back, &x, 1e-10, 1e-10);
    assert_close(&-&log_det, &log_det.full_like(v["logdet"].as_f64().unwrap()), 1e-10, 1e-10);
    for (terms, expected) in v["truncated"].as_object().unwrap() {
        let block = block(LogDet::Truncated(terms.parse().unwrap()));
        let log_det = block.forward(&x, Given::NOTHING).1;
        assert_close(&log_det, &log_det.full_like(expected.as_f64().unwrap()), 1e-10, 1e-10);
    }
}

#[test]
fn a_pass_tells_its_evaluations() {
    tch::manual_seed(1);
    let params = double();
    let block = Residual::new(random(&params, 3, &[16], 0.3), LogDet::Exact);
    let y = block.forward(&Tensor::randn([50, 3], F64), Given::NOTHING).0;
    assert_eq!(block.evaluations(), Some(1));
    let _ = block.inverse(&y, Given::NOTHING);
    let newton = block.evaluations().unwrap();
    assert!((5..30).contains(&newton), "{newton}");
    let order = Permutation::reverse(&params.root() / "order", 3);
    assert_eq!(order.evaluations(), None);
    let chain = Chain::new(vec![Box::new(order), Box::new(block)]);
    let _ = chain.forward(&y, Given::NOTHING);
    assert_eq!(chain.evaluations(), Some(1));
}

#[test]
fn no_weights_break_the_bound() {
    tch::manual_seed(0);
    for (hidden, scale) in [(&[][..], 3.0), (&[8, 6], 2.0), (&[16], 0.3), (&[12, 12, 12], 5.0)] {
        let params = double();
        let block = Residual::new(random(&params, 3, hidden, scale), LogDet::Exact);
        let [a, b] = [(); 2].map(|()| Tensor::randn([500, 3], F64) * 3.0);
        let length = |x: &Tensor| x.norm_scalaropt_dim(2.0, [1], false);
        let expected = length(&(&a - &b)) * 0.9;
        let rng = Generator::seeded(0);
        // In training the norms are known to a thousandth.
        for (given, slack) in [(Given::NOTHING, 1e-12), (Given::NOTHING.training(&rng), 1e-2)] {
            let moved = |x: &Tensor| block.forward(x, given).0 - x;
            let ratio = length(&(moved(&a) - moved(&b))) / &expected;
            let largest = ratio.max().double_value(&[]);
            assert!(largest <= 1.0 + slack, "{largest} of the bound, hidden layers {hidden:?}");
        }
        // Whatever the weights, there is a way back.
        let (y, log_det) = block.forward(&a, Given::NOTHING);
        let (x, inverse_log_det) = block.inverse(&y, Given::NOTHING);
        assert_close(&x, &a, 1e-9, 1e-9);
        assert_close(&-inverse_log_det, &log_det, 1e-9, 1e-9);
    }
}

fn largest_singular_value(x: &Tensor) -> f64 {
    x.tr().matmul(x).linalg_eigvalsh("L").max().sqrt().double_value(&[])
}

#[test]
fn power_iteration_finds_the_norm_and_keeps_its_vector() {
    tch::manual_seed(1);
    let params = double();
    let block = Residual::new(random(&params, 4, &[], 2.0), LogDet::Exact);
    let weight = params.all().get("layers.0.weight").unwrap().detach();
    assert!(largest_singular_value(&weight) > 1.0);
    let rng = Generator::seeded(0);
    let x = Tensor::eye(4, F64);
    let of_zero = block.forward(&x.zeros_like(), Given::NOTHING).0;
    let exact = block.forward(&x, Given::NOTHING).0 - &of_zero - &x;
    let before = params.all().snapshot();
    let mut training = exact.shallow_clone();
    for _ in 0..30 {
        let given = Given::NOTHING.training(&rng);
        training = block.forward(&x, given).0 - block.forward(&x.zeros_like(), given).0 - &x;
    }
    assert_close(&training, &exact, 1e-6, 1e-6);
    // The largest singular value of what is used is the bound.
    let largest = largest_singular_value(&exact);
    assert_close_f64(largest, 0.9, 1e-9, 0.0);
    let changed: Vec<String> = params
        .all()
        .iter()
        .filter(|(name, tensor)| before.get(name) != Some(tensor))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(changed, ["layers.0.singular"]);
}

#[test]
fn the_roulette_is_unbiased_in_value_and_gradient() {
    tch::manual_seed(2);
    let params = double();
    // Weights of moderate size: the variance of the estimate is that of its rare long series.
    let block = Residual::new(random(&params, 3, &[6, 6], 0.35), LogDet::Roulette(2));
    let rows = 200;
    let x = Tensor::randn([1, 3], F64).expand([rows, 3], false).contiguous();
    let names: Vec<String> = params.trainable().into_iter().map(|(name, _)| name).collect();
    let parameters: Vec<Tensor> = params.trainable().into_iter().map(|(_, parameter)| parameter).collect();
    let value_and_gradient = |given: Given<'_>| {
        let log_det = block.forward(&x, given).1.mean(Kind::Double);
        let gradients = Tensor::run_backward(&[&log_det], &parameters, false, false);
        let flat = gradients.iter().zip(&parameters).map(|(gradient, parameter)| {
            let gradient = if gradient.defined() { gradient.shallow_clone() } else { parameter.zeros_like() };
            gradient.reshape([-1])
        });
        Tensor::cat(&[log_det.detach().view([1])].into_iter().chain(flat).collect::<Vec<_>>(), 0)
    };
    let exact = value_and_gradient(Given::NOTHING);
    let rng = Generator::seeded(0);
    let draws: Vec<Tensor> = (0..300).map(|_| value_and_gradient(Given::NOTHING.training(&rng))).collect();
    let draws = Tensor::stack(&draws, 0);
    let error = draws.mean_dim(0, false, Kind::Double) - &exact;
    let deviation = draws.std_dim(0, true, false) / 300f64.sqrt();
    assert!(deviation.max().double_value(&[]) > 1e-5);
    // Power iteration gives the norms to a thousandth.
    let allowed = deviation * 4.5 + exact.abs() * 3e-3 + 1e-4;
    let worst = (error.abs() / allowed).max().double_value(&[]);
    assert!(worst < 1.0, "{worst} of what is allowed; parameters {names:?}");
    assert!(exact.abs().max().double_value(&[]) > 0.05);
}

#[test]
fn gradients_of_the_way_back_are_those_of_finite_differences() {
    tch::manual_seed(3);
    let params = double();
    let block = Residual::new(random(&params, 2, &[5, 5], 0.7), LogDet::Exact);
    let y = Tensor::randn([3, 2], F64).set_requires_grad(true);
    let loss = || {
        let (x, log_det) = block.inverse(&y, Given::NOTHING);
        (x.sin() + log_det.square().unsqueeze(1)).sum(Kind::Double)
    };
    let mut inputs: Vec<Tensor> = params.trainable().into_iter().map(|(_, parameter)| parameter).collect();
    inputs.push(y.shallow_clone());
    assert_gradients(&inputs, 1e-5, &loss);
}

#[test]
fn a_fresh_block_is_the_identity_and_no_rows_are_no_work() {
    let params = double();
    let block = Residual::new(Contraction::new(params.root(), 2, 0, &[7], 0.5), LogDet::Roulette(2));
    let x = Tensor::randn([4, 2], F64);
    let rng = Generator::seeded(1);
    for given in [Given::NOTHING, Given::NOTHING.training(&rng)] {
        let (y, log_det) = block.forward(&x, given);
        assert_close(&y, &x, 0.0, 1e-15);
        assert_close(&log_det, &log_det.zeros_like(), 0.0, 1e-15);
        assert_eq!(block.inverse(&x.narrow(0, 0, 0), given).0.size(), [0, 2]);
    }
}

#[test]
fn a_residual_flow_learns_the_moons_and_stays_a_density() {
    let data = PointSet::Moons.dataset().unwrap();
    let config = ResidualFlowConfig { blocks: 6, hidden: vec![32, 32], ..RESIDUAL_FLOW.config(&data.spec) };
    let mut model = RESIDUAL_FLOW.build(config, &context(&data)).unwrap();
    let _ = train(&RESIDUAL_FLOW, &mut model, &data, 200, 128);
    assert_density_of_moons(&model, 0.2);
}

#[test]
fn a_residual_flow_of_more_dimensions_trains_on_estimates() {
    tch::manual_seed(4);
    let z = Tensor::randn([3000, 6], (Kind::Float, Device::Cpu));
    // Each coordinate depends on the square of the one before: ln|det| is 0, the entropy that of z.
    let bent = z.narrow(1, 0, 5).square() * 0.5;
    let x = &z + Tensor::cat(&[&bent.narrow(1, 0, 1).zeros_like(), &bent], 1);
    let data = Dataset::from_tensor("bent", x).unwrap();
    let config = ResidualFlowConfig { blocks: 4, hidden: vec![32], ..RESIDUAL_FLOW.config(&data.spec) };
    assert_eq!(config.determinant, Determinant::Roulette);
    let mut model = RESIDUAL_FLOW.build(config, &context(&data)).unwrap();
    let _ = train(&RESIDUAL_FLOW, &mut model, &data, 1, 128);
    let before = mean_log_likelihood(&model, &data.train.x);
    let _ = train(&RESIDUAL_FLOW, &mut model, &data, 200, 128);
    let after = mean_log_likelihood(&model, &data.train.x);
    // That of z in these rows, which the true density gives them.
    let entropy = 3.0 * std::f64::consts::TAU.ln() + z.square().sum(Kind::Double).double_value(&[]) / 6000.0;
    assert!(after > before + 0.3 && after < -entropy, "{before} to {after}, at best {}", -entropy);
}

#[test]
fn a_residual_flow_learns_images() {
    let data = shades();
    let config = ResidualFlowConfig { blocks: 3, hidden: vec![12, 24], ..RESIDUAL_FLOW.config(&data.spec) };
    let mut model = RESIDUAL_FLOW.build(config, &context(&data)).unwrap();
    let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
    let bits = |model: &ResidualFlow| Values::Bytes.bits_per_dim(mean_log_likelihood(model, &x), 16);
    let _ = train(&RESIDUAL_FLOW, &mut model, &data, 200, 64);
    assert_bits_of_shades(bits(&model), 7.5);
    assert_eq!(model.sample(&SampleRequest::new(5, 0)).unwrap().size(), [5, 1, 4, 4]);
}

#[test]
fn the_determinant_is_that_of_the_jacobian_whatever_is_narrow() {
    tch::manual_seed(6);
    for hidden in [&[][..], &[2], &[9], &[2, 7], &[7, 2], &[7, 8], &[8, 3, 6]] {
        let params = double();
        let block = Residual::new(random(&params, 5, hidden, 0.8), LogDet::Exact);
        let x = Tensor::randn([1, 5], F64).set_requires_grad(true);
        let (y, log_det) = block.forward(&x, Given::NOTHING);
        let rows: Vec<Tensor> =
            (0..5).map(|i| Tensor::run_backward(&[y.get(0).get(i)], &[&x], true, false).remove(0).get(0)).collect();
        let jacobian = Tensor::stack(&rows, 0);
        assert_close(&log_det.get(0), &jacobian.slogdet().1, 1e-10, 1e-10);
        let (back, inverse_log_det) = block.inverse(&y.detach(), Given::NOTHING);
        assert_close(&back, &x, 1e-10, 1e-10);
        assert_close(&-inverse_log_det, &log_det, 1e-10, 1e-10);
        let series = Residual::new(random(&double(), 5, hidden, 0.0), LogDet::Truncated(5));
        assert_eq!(series.forward(&x, Given::NOTHING).1.double_value(&[0]), 0.0);
    }
}

#[test]
fn configurations_of_residual_flows_that_cannot_be_are_refused() {
    let points = PointSet::Moons.dataset().unwrap();
    let default = RESIDUAL_FLOW.config(&points.spec);
    let cases = [
        (ResidualFlowConfig { blocks: 0, ..default.clone() }, "blocks"),
        (ResidualFlowConfig { hidden: vec![0], ..default.clone() }, "hidden"),
        (ResidualFlowConfig { lipschitz: 1.0, ..default.clone() }, "lipschitz"),
        (ResidualFlowConfig { exact_terms: 0, ..default }, "exact_terms"),
    ];
    for (config, part) in cases {
        let error = RESIDUAL_FLOW.build(config, &context(&points)).err().unwrap().to_string();
        assert!(error.contains(part), "`{error}` should say `{part}`");
    }
}
