//! Bases, and densities of x given c.

use std::f64::consts::TAU;

use gen_core::data::{Batch, Condition, Dataset, Split};
use gen_core::fit::Fit;
use gen_core::model::SampleRequest;
use gen_core::optim::{Adam, AdamConfig};
use gen_core::params::Params;
use gen_core::registry::BuildContext;
use gen_core::rng::Generator;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::Budget;
use gen_flow::base::{Base, ConditionalNormal, Mixture, StandardNormal, Uniform};
use gen_flow::bijection::{Autoregressive, Chain, Coupling, Inverse, Layer, Mask, Sigmoid};
use gen_flow::conditioner::{Made, MlpConditioner};
use gen_flow::univariate::{RationalQuadratic, Univariate};
use gen_flow::{Flow, Given, MODELS, NSF_AR};
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

/// c from -1 to 1, and x given c: (3 c, -c) with noise of standard deviations 0.5 and 0.2.
fn regression(n: i64, seed: i64) -> (Tensor, Tensor) {
    let rng = Generator::seeded(seed);
    let c = rng.rand([n, 1], F64) * 2.0 - 1.0;
    let noise = rng.randn([n, 2], F64) * Tensor::from_slice(&[0.5, 0.2]);
    (Tensor::cat(&[&c * 3.0, -&c], 1) + noise, c)
}

#[test]
fn a_density_given_a_column_is_learned_and_sampled() {
    tch::set_num_threads(1);
    let (x, c) = regression(3000, 1);
    let flow = Fit::new(&NSF_AR).given(&Condition::of_context(c)).budget(Budget::Steps(500)).set("transforms=2");
    let flow = flow.run(&x).unwrap();
    let (x, c) = regression(2000, 2);
    let given = Condition::of_context(c);
    let nats = flow.log_prob_given(&x, &given).unwrap().mean(Kind::Double).double_value(&[]);
    let entropy = (0.5f64 * 0.2).ln() + TAU.ln() + 1.0;
    assert!((-0.02..0.15).contains(&(-nats - entropy)), "{nats} nats, the entropy is {entropy}");
    let half = Condition::of_context(Tensor::full([2000, 1], 0.5, F64));
    let samples = flow.sample_given(&half, 0).unwrap();
    let mean = Vec::<f64>::try_from(samples.mean_dim([0].as_slice(), false, Kind::Double)).unwrap();
    assert!((mean[0] - 1.5).abs() < 0.12 && (mean[1] + 0.5).abs() < 0.06, "{mean:?}");

    let error = |found: gen_core::Result<Tensor>| found.unwrap_err().to_string();
    assert_eq!(error(flow.log_prob(&x)), "this model needs a context for each row, found none");
    assert_eq!(error(flow.sample(3, 0)), "this model needs a context for each row, found none");
    assert!(error(flow.log_prob_given(&x, &half.narrow(0, 3))).contains("2000 rows need a context for each of them"));
    let narrow = Condition::of_context(Tensor::zeros([2000, 2], F64));
    assert!(error(flow.log_prob_given(&x, &narrow)).contains("should be [n] of [1]"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.safetensors");
    flow.save(&file).unwrap();
    let read = gen_core::fit::Fitted::load(&NSF_AR, &file, Device::Cpu).unwrap();
    assert_eq!(read.sample_given(&half, 0).unwrap(), samples);
}

#[test]
fn every_flow_of_tables_depends_on_its_context_or_refuses_one() {
    tch::set_num_threads(1);
    let (x, context) = regression(64, 1);
    let labels = Tensor::arange(64, (Kind::Int64, Device::Cpu)).remainder(2);
    let condition = Condition { labels: Some(labels), image: None, context: Some(context) };
    let split = Split { x, condition };
    let data = Dataset::from_splits("mine", split, None, None, ["a", "b"].map(str::to_owned).to_vec()).unwrap();
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    for entry in MODELS.iter().filter(|entry| entry.capabilities.points) {
        let both = toml::toml! { condition = { labels = true, context = true } };
        let mut model = entry.build(&both, &context).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        let batch = data.train.to_batch(&data.spec, &Generator::seeded(0));
        for step in 0..3 {
            let _ = model.train_step(&batch, &gen_core::model::Step::new(step)).unwrap();
        }
        let density = model.density().unwrap();
        let nats = |batch: &Batch| density.log_likelihood(batch, density.kinds()[0], 0);
        let of = |condition: Condition| nats(&Batch { x: batch.x.shallow_clone(), condition }).unwrap();
        let base = of(batch.condition.clone());
        let shifted = batch.condition.context.as_ref().map(|context| context + 0.5);
        assert_ne!(of(Condition { context: shifted, ..batch.condition.clone() }), base, "{}", entry.name);
        let other = batch.condition.labels.as_ref().map(|labels| 1 - labels);
        assert_ne!(of(Condition { labels: other, ..batch.condition.clone() }), base, "{}", entry.name);
        let message = nats(&Batch::of(&batch.x)).unwrap_err().to_string();
        assert_eq!(message, "this model needs labels for each row, found none", "{}", entry.name);
        let request = SampleRequest::new(64, 0).given(batch.condition.clone());
        let samples = model.sample(&request).unwrap();
        assert_eq!((samples.size(), samples.isfinite().all()), (vec![64, 2], Tensor::from(true)), "{}", entry.name);
    }
    for entry in MODELS.iter().filter(|entry| !entry.capabilities.points) {
        assert!(!entry.capabilities.context, "{}", entry.name);
    }
}

#[test]
#[should_panic(expected = "built for a context and got none")]
fn a_layer_that_needs_a_context_does_not_ignore_that_there_is_none() {
    let params = Params::new(Kind::Double, Device::Cpu);
    let contraction = gen_flow::bijection::Contraction::new(params.root(), 2, 3, &[8], 0.9);
    let residual = gen_flow::bijection::Residual::new(contraction, gen_flow::bijection::LogDet::Exact);
    let _ = gen_flow::bijection::Bijection::forward(&residual, &Tensor::zeros([4, 2], F64), Given::NOTHING);
}
