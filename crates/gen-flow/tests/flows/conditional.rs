//! Bases, and densities of x given c.

use std::f64::consts::TAU;

use gen_core::optim::{Adam, AdamConfig};
use gen_core::params::Params;
use gen_core::rng::Generator;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_flow::base::{Base, ConditionalNormal, Mixture, StandardNormal, Uniform};
use gen_flow::bijection::{Autoregressive, Chain, Coupling, Inverse, Layer, Mask, Sigmoid};
use gen_flow::conditioner::{Made, MlpConditioner};
use gen_flow::univariate::{RationalQuadratic, Univariate};
use gen_flow::{Flow, Given};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

fn randomised(params: &Params) {
    let rng = Generator::seeded(3);
    let _no_grad = tch::no_grad_guard();
    for (_, parameter) in params.trainable() {
        let size = parameter.size();
        parameter.shallow_clone().copy_(&(rng.randn(size.as_slice(), F64) * 0.4));
    }
}

/// A context of so many rows, if there is one.
type Contexts<'a> = &'a dyn Fn(i64) -> Option<Tensor>;

/// The integral over the square [-radius, radius]².
fn integral(base: &dyn Base, radius: f64, given: Contexts<'_>) -> f64 {
    let side = 801;
    // Midpoints of cells, so that no point lies on an edge.
    let cell = 2.0 * radius / side as f64;
    let axis = (Tensor::arange(side, F64) + 0.5) * cell - radius;
    let grid = Tensor::stack(&[axis.repeat([side]), axis.repeat_interleave_self_int(side, 0, None)], 1);
    let context = given(grid.size()[0]);
    let given = Given { context: context.as_ref(), ..Given::NOTHING };
    base.log_prob(&grid, given).exp().sum(Kind::Double).double_value(&[]) * cell * cell
}

#[test]
fn bases_are_densities_and_sample_what_they_say() {
    let params = Params::new(Kind::Double, Device::Cpu);
    let normal = StandardNormal::new(2, Kind::Double, Device::Cpu);
    let uniform = Uniform::new(2, [-1.0, 2.0], Kind::Double, Device::Cpu);
    let mixture = Mixture::new(&params.root() / "mixture", 5, 2);
    let network = MlpConditioner::new(&params.root() / "network", 3, 0, &[8], 4);
    let conditional = ConditionalNormal::new(2, Box::new(network));
    randomised(&params);
    let context = |rows| Some(Tensor::from_slice(&[0.3, -1.0, 2.0]).expand([rows, 3], false));
    let nothing = |_| None;
    let cases: [(&dyn Base, Contexts<'_>); 4] =
        [(&normal, &nothing), (&uniform, &nothing), (&mixture, &nothing), (&conditional, &context)];
    for (base, context) in cases {
        assert_close_f64(integral(base, 12.0, context), 1.0, 0.0, 5e-3);
        // E[ln p(z)] of samples, and by quadrature of p ln p, both are minus the entropy.
        let n = 20_000;
        let rng = Generator::seeded(1);
        let context = context(n);
        let given = Given { context: context.as_ref(), ..Given::NOTHING };
        let z = base.sample(n, 1.0, given, &rng);
        assert_eq!(z.size(), [n, base.dimension()]);
        let log_prob = base.log_prob(&z, given);
        assert!(log_prob.isfinite().all().int64_value(&[]) == 1, "{base:?}");
        // By importance: E_z[r(z) / p(z)] = 1 for a density r that p covers, here a narrow Gaussian at the samples'
        // mean.
        let mean = z.mean_dim(0, false, Kind::Double);
        let r = ((&z - &mean) / 0.3).square().sum_dim_intlist(1, false, Kind::Double) * -0.5 - (TAU * 0.09).ln();
        let ratio = (r - log_prob).exp();
        let error = ratio.std(true).double_value(&[]) / (n as f64).sqrt();
        let ratio = ratio.mean(Kind::Double).double_value(&[]);
        assert!((ratio - 1.0).abs() < 5.0 * error + 1e-3, "{base:?}: {ratio} +- {error}");
        // The temperature narrows what the same numbers give about their centre.
        let at = |temperature| base.sample(n, temperature, given, &Generator::seeded(2));
        let centre = at(0.0);
        assert_close(&(at(0.1) - &centre), &((at(1.0) - &centre) * 0.1), 1e-9, 1e-9);
    }
}

#[test]
fn a_uniform_base_turns_a_flow_into_quantiles() {
    // f = σ maps the logistic distribution onto the uniform one.
    let flow = Flow::new(Sigmoid, Uniform::new(1, [0.0, 1.0], Kind::Double, Device::Cpu));
    let x = Tensor::from_slice(&[-3.0, 0.0, 2.0]).view([3, 1]);
    let expected = (x.log_sigmoid() + (-&x).log_sigmoid()).squeeze_dim(1);
    assert_close(&flow.log_prob(&x, Given::NOTHING), &expected, 1e-12, 1e-12);
}

type Build<'a> = &'a dyn Fn(&Params) -> Chain;

/// x of a context c: x₁ = sin c₁ + ½ n, x₂ = x₁ c₂ + ½ n'. Its entropy does not depend on c.
fn draw(n: i64, rng: &Generator) -> (Tensor, Tensor) {
    let c = rng.randn([n, 2], F64);
    let first = c.select(1, 0).sin() + rng.randn([n], F64) * 0.5;
    let second = &first * c.select(1, 1) + rng.randn([n], F64) * 0.5;
    (Tensor::stack(&[first, second], 1), c)
}

#[test]
fn conditional_flows_learn_a_conditional_density() {
    tch::set_num_threads(1);
    let entropy = (TAU * std::f64::consts::E * 0.25).ln();
    let spline = || RationalQuadratic::new(6, 4.0);
    let coupling = |params: &Params, layer: usize| -> Box<dyn Layer> {
        let place = &params.root() / format!("couplings.{layer}");
        let net = MlpConditioner::new(place, 1, 2, &[32], spline().parameters());
        Box::new(Coupling::new(Mask::alternating(2, layer), spline(), Box::new(net)))
    };
    let autoregressive = |params: &Params, layer: usize| -> Autoregressive<RationalQuadratic> {
        let place = &params.root() / format!("layers.{layer}");
        let order = if layer == 0 { vec![1, 2] } else { vec![2, 1] };
        Autoregressive::new(Made::new(place, order, 2, &[32], spline().parameters()), spline())
    };
    let builds: [(&str, Build<'_>); 3] = [
        ("couplings", &|params| Chain::new((0..4).map(|i| coupling(params, i)).collect())),
        ("autoregressive", &|params| {
            Chain::new((0..2).map(|i| Box::new(autoregressive(params, i)) as Box<dyn Layer>).collect())
        }),
        ("inverse autoregressive", &|params| {
            Chain::new((0..2).map(|i| Box::new(Inverse(autoregressive(params, i))) as Box<dyn Layer>).collect())
        }),
    ];
    for (name, build) in builds {
        let params = Params::drawn_from(Generator::seeded(0), Kind::Double, Device::Cpu);
        let flow = Flow::new(build(&params), StandardNormal::new(2, Kind::Double, Device::Cpu));
        let config = AdamConfig { learning_rate: 5e-3, ..AdamConfig::default() };
        let mut optimizer = Adam::new(&params, config).unwrap();
        let rng = Generator::seeded(7);
        for step in 0..400 {
            let (x, c) = draw(256, &rng);
            let loss = -flow.log_prob(&x, Given::context(&c)).mean(Kind::Double);
            let _ = optimizer.step(&loss, 1.0 - f64::from(step) / 400.0).unwrap();
        }
        let _no_grad = tch::no_grad_guard();
        let (x, c) = draw(10_000, &rng);
        let nll = -flow.log_prob(&x, Given::context(&c)).mean(Kind::Double).double_value(&[]);
        assert!((-0.03..0.1).contains(&(nll - entropy)), "{name}: {} nats above", nll - entropy);

        // Samples given one context have its mean.
        let c = Tensor::from_slice(&[1.2, -1.0]).expand([5000, 2], false);
        let (samples, log_prob) = flow.sample_with_log_prob(5000, Given::context(&c), &rng);
        let mean = Tensor::from_slice(&[1.2f64.sin(), -1.2f64.sin()]);
        assert_close(&samples.mean_dim(0, false, Kind::Double), &mean, 0.0, 0.1);
        assert_close(&log_prob, &flow.log_prob(&samples, Given::context(&c)), 1e-6, 1e-6);
    }
}
