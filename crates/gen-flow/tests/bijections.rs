//! One table of constructors through the tests that every bijection has to pass.

use gen_core::native::{Ends, Knots, Spline};
use gen_core::ode::Dopri5;
use gen_core::params::{Params, Scope};
use gen_core::testing::assert_close;
use gen_flow::bijection::{
    ActNorm, Autoregressive, Bijection, Chain, Continuous, Contraction, Conv1x1, Coupling, FactorOut,
    Flatten, Given, Histogram, Inverse, LogDet, Logit, Mask, NormalisedConv1x1, PerceptronField, Permutation,
    Probit, Residual, Rotation, Sigmoid, Squeeze, Standardise, Tanh, Trace,
};
use gen_flow::conditioner::{ConvConditioner, DenseConditioner, Made, MlpConditioner, PriorConditioner};
use gen_flow::tarflow::{BlockSize, Direction, TransformerBlock};
use gen_flow::univariate::{Additive, Affine, LogisticMixture, RationalQuadratic, Univariate};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Where a bijection is defined.
#[derive(Clone, Copy, PartialEq)]
enum Domain {
    Real,
    UnitInterval,
}

struct Case {
    name: &'static str,
    build: fn(&Params) -> Box<dyn Bijection>,
    /// Of one row.
    shape: &'static [i64],
    domain: Domain,
    /// Features of the context; 0 for none.
    context: i64,
    /// Whether the inverse leads to the units of the data: it and the log-determinant are f64 then, whatever the kind of
    /// the parameters.
    to_units: bool,
}

fn case(name: &'static str, shape: &'static [i64], build: fn(&Params) -> Box<dyn Bijection>) -> Case {
    Case { name, build, shape, domain: Domain::Real, context: 0, to_units: false }
}

fn mlp_coupling(params: &Params, name: &str, mask: Mask, size: i64, context: i64) -> Coupling<Affine> {
    let place = &params.root() / name;
    coupling_of(&place, Affine::bounded(&place / "affine"), mask, size, context)
}

fn coupling_of<U: Univariate>(
    place: &Scope<'_>,
    univariate: U,
    mask: Mask,
    size: i64,
    context: i64,
) -> Coupling<U> {
    let (inputs, outputs) = (mask.kept(size), univariate.parameters() * mask.transformed(size));
    let net = MlpConditioner::new(place / "net", inputs, context, &[8, 8], outputs);
    Coupling::new(mask, univariate, Box::new(net))
}

/// A coupling of three coordinates, two of which are transformed by `univariate`.
fn coupled<U: Univariate + 'static>(params: &Params, univariate: U) -> Box<dyn Bijection> {
    Box::new(coupling_of(&params.root(), univariate, Mask::first_half(3), 3, 0))
}

/// A block for sequences of four pairs.
fn transformer_block(params: &Params, direction: Direction, context: i64) -> Box<dyn Bijection> {
    let size = BlockSize { length: 4, values: 2, context, layers: 2, width: 8, heads: 2 };
    Box::new(TransformerBlock::new(params.root(), size, direction))
}

fn autoregressive<U: Univariate>(
    params: &Params,
    univariate: U,
    order: &[i64],
    context: i64,
) -> Autoregressive<U> {
    let place = &params.root() / "made";
    let made = Made::new(place, order.to_vec(), context, &[7, 9], univariate.parameters());
    Autoregressive::new(made, univariate)
}

fn conv_coupling(params: &Params, name: &str, mask: Mask, shape: [i64; 3], context: i64) -> Coupling<Affine> {
    let place = &params.root() / name;
    let [channels, height, width] = shape;
    let (inputs, outputs) = (mask.kept(channels), 2 * mask.transformed(channels));
    let net = ConvConditioner::new(&place / "net", [inputs, height, width], context, 6, 1, outputs);
    Coupling::new(mask, Affine::bounded(place), Box::new(net))
}

fn table() -> Vec<Case> {
    vec![
        case("transformer block", &[4, 2], |params| transformer_block(params, Direction::Ascending, 0)),
        Case {
            context: 3,
            ..case("transformer block with a context", &[4, 2], |params| {
                transformer_block(params, Direction::Descending, 3)
            })
        },
        case("identity", &[3], |_| Box::new(Chain::new(Vec::new()))),
        Case {
            to_units: true,
            ..case("standardise", &[3], |params| {
                Box::new(Standardise::new(params.root(), &[1.0, -2.0, 0.0], &[0.5, 3.0, 1.0]).expect("sound"))
            })
        },
        case("actnorm of points", &[3], |params| Box::new(ActNorm::new(params.root(), 3))),
        case("actnorm of images", &[3, 2, 4], |params| Box::new(ActNorm::new(params.root(), 3))),
        case("1x1 convolution", &[4, 2, 3], |params| Box::new(Conv1x1::new(params.root(), 4))),
        case("linear map", &[5], |params| Box::new(Conv1x1::new(params.root(), 5))),
        case("actnorm and 1x1 convolution in one", &[4, 2, 3], |params| {
            let norm = ActNorm::new(&params.root() / "norm", 4);
            Box::new(NormalisedConv1x1::new(norm, Conv1x1::new(&params.root() / "conv", 4)))
        }),
        case("squeeze", &[2, 4, 6], |_| Box::new(Squeeze)),
        case("flatten", &[2, 2, 3], |_| Box::new(Flatten::new([2, 2, 3]))),
        case("permutation", &[4], |params| Box::new(Permutation::new(params.root(), &[2, 0, 3, 1]))),
        case("reverse", &[3, 2, 2], |params| Box::new(Permutation::reverse(params.root(), 3))),
        case("random permutation", &[5], |params| Box::new(Permutation::random(params.root(), 5))),
        Case { domain: Domain::UnitInterval, ..case("logit", &[1, 2, 3], |_| Box::new(Logit::new(0.05))) },
        Case {
            domain: Domain::UnitInterval,
            ..case("logit with a small margin", &[4], |_| Box::new(Logit::new(1e-6)))
        },
        Case { domain: Domain::UnitInterval, ..case("probit", &[1, 2, 3], |_| Box::new(Probit::new(1e-3))) },
        Case {
            domain: Domain::UnitInterval,
            ..case("histograms", &[3], |params| {
                Box::new(Histogram::new(params.root(), 3, &[0.0, 0.1, 0.3, 0.6, 1.0]))
            })
        },
        case("coupling, first half", &[5], |params| {
            Box::new(mlp_coupling(params, "coupling", Mask::first_half(5), 5, 0))
        }),
        case("coupling, last half", &[5], |params| {
            Box::new(mlp_coupling(params, "coupling", Mask::last_half(5), 5, 0))
        }),
        Case {
            context: 2,
            ..case("conditional coupling", &[3], |params| {
                Box::new(mlp_coupling(params, "coupling", Mask::first_half(3), 3, 2))
            })
        },
        case("coupling of channels", &[3, 4, 2], |params| {
            Box::new(conv_coupling(params, "coupling", Mask::first_half(3), [3, 4, 2], 0))
        }),
        case("coupling on a checkerboard", &[2, 4, 3], |params| {
            let mask = Mask::checkerboard(4, 3, false, Device::Cpu);
            Box::new(conv_coupling(params, "coupling", mask, [2, 4, 3], 0))
        }),
        Case {
            context: 2,
            ..case("coupling of channels with a dense network", &[2, 2, 3], |params| {
                let net = DenseConditioner::new(&params.root() / "net", [1, 2, 3], 2, 5, [2, 2, 3]);
                Box::new(Coupling::new(Mask::last_half(2), Affine::bounded(params.root()), Box::new(net)))
            })
        },
        Case {
            context: 3,
            ..case("conditional coupling on a checkerboard", &[1, 4, 4], |params| {
                let mask = Mask::checkerboard(4, 4, true, Device::Cpu);
                Box::new(conv_coupling(params, "coupling", mask, [1, 4, 4], 3))
            })
        },
        case("additive coupling", &[3], |params| coupled(params, Additive)),
        case("affine coupling without a bound", &[3], |params| coupled(params, Affine::unbounded())),
        case("affine coupling, softly clipped", &[3], |params| coupled(params, Affine::soft_clip(7.0))),
        case("affine coupling by a sigmoid", &[3], |params| coupled(params, Affine::sigmoid(2.0, 0.0))),
        case("affine coupling by a sigmoid with a floor", &[3], |params| {
            coupled(params, Affine::sigmoid(2.0, 1e-3))
        }),
        case("affine coupling by a softplus", &[3], |params| coupled(params, Affine::softplus(1e-3))),
        case("coupling by mixtures of logistics", &[3], |params| coupled(params, LogisticMixture::new(4))),
        case("spline coupling", &[3], |params| coupled(params, RationalQuadratic::new(8, 3.0))),
        case("spline coupling with free ends", &[3], |params| {
            let knots = Knots::Floor { width: 0.02, height: 0.02, slope: 0.02 };
            coupled(
                params,
                RationalQuadratic::of(Spline { bins: 5, low: -1.0, high: 2.0, knots, ends: Ends::Free }),
            )
        }),
        case("spline coupling of channels", &[3, 4, 2], |params| {
            let mask = Mask::first_half(3);
            let spline = RationalQuadratic::new(4, 2.0);
            let outputs = spline.parameters() * mask.transformed(3);
            let net = PriorConditioner::new(&params.root() / "net", mask.kept(3), outputs);
            Box::new(Coupling::new(mask, spline, Box::new(net)))
        }),
        case("spline coupling on a checkerboard", &[1, 4, 3], |params| {
            let spline = RationalQuadratic::new(4, 2.0);
            let net = PriorConditioner::new(&params.root() / "net", 1, spline.parameters());
            let mask = Mask::checkerboard(4, 3, false, Device::Cpu);
            Box::new(Coupling::new(mask, spline, Box::new(net)))
        }),
        case("autoregressive splines", &[4], |params| {
            Box::new(autoregressive(params, RationalQuadratic::new(6, 3.0), &[2, 4, 1, 3], 0))
        }),
        Case {
            context: 2,
            ..case("conditional inverse autoregressive splines", &[3], |params| {
                Box::new(Inverse(autoregressive(params, RationalQuadratic::new(6, 3.0), &[1, 2, 3], 2)))
            })
        },
        case("rotation of points", &[4], |params| Box::new(Rotation::new(params.root(), 4))),
        case("rotation of images", &[3, 2, 4], |params| Box::new(Rotation::new(params.root(), 3))),
        case("sigmoid", &[3], |_| Box::new(Sigmoid)),
        case("tanh", &[3], |_| Box::new(Tanh)),
        case("autoregressive", &[4], |params| {
            Box::new(autoregressive(params, Affine::bounded(params.root()), &[1, 2, 3, 4], 0))
        }),
        Case {
            context: 3,
            ..case("autoregressive of one value", &[1], |params| {
                Box::new(autoregressive(params, Affine::bounded(params.root()), &[1], 3))
            })
        },
        Case {
            context: 2,
            ..case("conditional autoregressive, in another order", &[3], |params| {
                Box::new(autoregressive(params, Affine::soft_clip(3.0), &[3, 1, 2], 2))
            })
        },
        Case {
            context: 2,
            ..case("conditional inverse autoregressive", &[2], |params| {
                Box::new(Inverse(autoregressive(params, LogisticMixture::new(3), &[2, 1], 2)))
            })
        },
        case("inverse of a coupling", &[4], |params| {
            Box::new(Inverse(mlp_coupling(params, "coupling", Mask::first_half(4), 4, 0)))
        }),
        case("chain of couplings", &[3], |params| {
            Box::new(Chain::new(vec![
                Box::new(ActNorm::new(&params.root() / "actnorm", 3)),
                Box::new(mlp_coupling(params, "first", Mask::first_half(3), 3, 0)),
                Box::new(Permutation::reverse(&params.root() / "reverse", 3)),
                Box::new(mlp_coupling(params, "last", Mask::last_half(3), 3, 0)),
            ]))
        }),
        case("two scales", &[1, 4, 4], |params| {
            let coarse = Chain::new(vec![
                Box::new(Squeeze),
                Box::new(conv_coupling(params, "coarse", Mask::last_half(8), [8, 1, 1], 0)),
                Box::new(Flatten::new([8, 1, 1])),
            ]);
            Box::new(Chain::new(vec![
                Box::new(Squeeze),
                Box::new(conv_coupling(params, "fine", Mask::first_half(4), [4, 2, 2], 0)),
                Box::new(FactorOut::new([4, 2, 2], 2, coarse)),
            ]))
        }),
        case("continuous flow", &[2], |params| {
            let field = PerceptronField::new(params.root(), 2, 0, &[5, 4]);
            Box::new(Continuous::new(field, Trace::Exact, Dopri5::with_tolerance(1e-12)))
        }),
        Case {
            context: 2,
            ..case("conditional continuous flow", &[3], |params| {
                let field = PerceptronField::new(params.root(), 3, 2, &[4]);
                Box::new(Continuous::new(field, Trace::Hutchinson, Dopri5::with_tolerance(1e-12)))
            })
        },
        case("residual block", &[2], |params| {
            Box::new(Residual::new(Contraction::new(params.root(), 2, 0, &[8, 6], 0.9), LogDet::Exact))
        }),
        Case {
            context: 2,
            ..case("conditional residual block", &[4], |params| {
                let contraction = Contraction::new(params.root(), 4, 2, &[6], 0.8);
                Box::new(Residual::new(contraction, LogDet::Roulette(2)))
            })
        },
    ]
}

impl Case {
    /// The bijection with all its parameters drawn from N(0, 0.4²), its own zero-initialised layers included: an
    /// untrained coupling is the identity and would pass anything.
    fn random(&self, kind: Kind) -> (Params, Box<dyn Bijection>) {
        let params = Params::new(kind, Device::Cpu);
        let bijection = (self.build)(&params);
        let _no_grad = tch::no_grad_guard();
        for (_, parameter) in params.trainable() {
            parameter.shallow_clone().copy_(&(Tensor::randn(parameter.size(), F64) * 0.4));
        }
        (params, bijection)
    }

    fn input(&self, rows: i64, kind: Kind) -> Tensor {
        let mut size = vec![rows];
        size.extend(self.shape);
        match self.domain {
            Domain::Real => Tensor::randn(size, F64).to_kind(kind),
            Domain::UnitInterval => Tensor::rand(size, F64).to_kind(kind),
        }
    }

    fn context(&self, rows: i64, kind: Kind) -> Option<Tensor> {
        (self.context > 0).then(|| Tensor::randn([rows, self.context], F64).to_kind(kind))
    }

    fn dimensions(&self) -> i64 {
        self.shape.iter().product()
    }
}

/// Outside training.
fn given(context: &Option<Tensor>) -> Given<'_> {
    Given { context: context.as_ref(), rng: None }
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
fn a_trace_leads_to_the_inverse() {
    each(|case| {
        tch::manual_seed(3);
        let (_params, bijection) = case.random(Kind::Double);
        let (x, context) = (case.input(4, Kind::Double), case.context(4, Kind::Double));
        let y = bijection.forward(&x, given(&context)).0;
        let mut states = Vec::new();
        let finish = |x: &Tensor| x * 2.0;
        let end = bijection.trace(&y, given(&context), &finish, &mut |state| states.push(state));
        assert_close(&end, &x, 1e-9, 1e-9);
        assert!(states.iter().all(|state| state.size() == x.size()));
        let outline = bijection.outline(&y, given(&context));
        assert_eq!(outline.size(), x.size());
        match states.last() {
            // After the last step there are only rearrangement and units.
            Some(last) => {
                assert_close(last, &finish(&x), 1e-9, 1e-9);
                assert!(!outline.allclose(&x, 1e-3, 1e-3, false));
            }
            None => assert_close(&outline, &x, 1e-9, 1e-9),
        }
        let steps = match case.name {
            "chain of couplings" | "two scales" => 2,
            name if name.contains("continuous flow") => 20,
            _ => 1,
        };
        assert!(states.is_empty() || states.len() == steps, "{} steps", states.len());
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
