//! The bijections that are tested, a row each.

use gen_core::native::{Ends, Knots, Spline};
use gen_core::ode::Dopri5;
use gen_core::params::{Params, Scope};
use gen_flow::bijection::{
    ActNorm, Autoregressive, BatchNorm, Chain, Continuous, Contraction, Conv1x1, Coupling, FactorOut, Flatten,
    Histogram, Inverse, JacobianTrace, Layer, LogDet, Logit, Mask, NormalisedConv1x1, PerceptronField, Permutation,
    Probit, Residual, Rotation, Sigmoid, Squeeze, Standardise, Tanh,
};
use gen_flow::conditioner::{ConvConditioner, DenseConditioner, Made, MlpConditioner, PriorConditioner};
use gen_flow::tarflow::{BlockSize, Direction, TransformerBlock};
use gen_flow::univariate::{Additive, Affine, LogisticMixture, RationalQuadratic, Univariate};
use tch::{Device, Kind, Tensor};

pub(crate) const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Where a bijection is defined.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Domain {
    Real,
    UnitInterval,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) build: fn(&Params) -> Box<dyn Layer>,
    /// Of one row.
    pub(crate) shape: &'static [i64],
    pub(crate) domain: Domain,
    /// Features of the context; 0 for none.
    pub(crate) context: i64,
    /// Whether the inverse leads to the units of the data: it and the log-determinant are f64 then, whatever the kind
    /// of the parameters.
    pub(crate) to_units: bool,
    /// The states of a trajectory: 0 for a map that only rearranges values or changes their units.
    pub(crate) steps: usize,
}

fn case(name: &'static str, shape: &'static [i64], build: fn(&Params) -> Box<dyn Layer>) -> Case {
    Case { name, build, shape, domain: Domain::Real, context: 0, to_units: false, steps: 1 }
}

/// A map that is no step: it rearranges values, or changes their units.
fn no_step(name: &'static str, shape: &'static [i64], build: fn(&Params) -> Box<dyn Layer>) -> Case {
    Case { steps: 0, ..case(name, shape, build) }
}

/// The same of values in [0, 1].
fn no_step_of_unit(name: &'static str, shape: &'static [i64], build: fn(&Params) -> Box<dyn Layer>) -> Case {
    Case { domain: Domain::UnitInterval, ..no_step(name, shape, build) }
}

fn mlp_coupling(params: &Params, name: &str, mask: Mask, size: i64, context: i64) -> Coupling<Affine> {
    let place = &params.root() / name;
    coupling_of(&place, Affine::bounded(&place / "affine"), mask, size, context)
}

fn coupling_of<U: Univariate>(place: &Scope<'_>, univariate: U, mask: Mask, size: i64, context: i64) -> Coupling<U> {
    Coupling::of_size(mask, size, univariate, |inputs, outputs| {
        Box::new(MlpConditioner::new(place / "net", inputs, context, &[8, 8], outputs))
    })
}

/// A coupling of three coordinates, two of which are transformed by `univariate`.
fn coupled<U: Univariate + 'static>(params: &Params, univariate: U) -> Box<dyn Layer> {
    Box::new(coupling_of(&params.root(), univariate, Mask::first_half(3), 3, 0))
}

/// A block for sequences of four pairs.
fn transformer_block(params: &Params, direction: Direction, context: i64) -> Box<dyn Layer> {
    let size = BlockSize { length: 4, values: 2, context, layers: 2, width: 8, heads: 2 };
    Box::new(TransformerBlock::new(params.root(), size, direction))
}

fn autoregressive<U: Univariate>(params: &Params, univariate: U, order: &[i64], context: i64) -> Autoregressive<U> {
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

pub(crate) fn table() -> Vec<Case> {
    vec![
        case("transformer block", &[4, 2], |params| transformer_block(params, Direction::Ascending, 0)),
        Case {
            context: 3,
            ..case("transformer block with a context", &[4, 2], |params| {
                transformer_block(params, Direction::Descending, 3)
            })
        },
        no_step("identity", &[3], |_| Box::new(Chain::new(Vec::new()))),
        Case {
            to_units: true,
            ..no_step("standardise", &[3], |params| {
                Box::new(Standardise::new(params.root(), &[1.0, -2.0, 0.0], &[0.5, 3.0, 1.0]).expect("sound"))
            })
        },
        no_step("batch norm of columns", &[3], |params| Box::new(BatchNorm::new(params.root(), 3))),
        no_step("batch norm of images", &[3, 2, 4], |params| Box::new(BatchNorm::new(params.root(), 3))),
        no_step("actnorm of columns", &[3], |params| Box::new(ActNorm::new(params.root(), 3))),
        no_step("actnorm of images", &[3, 2, 4], |params| Box::new(ActNorm::new(params.root(), 3))),
        case("1x1 convolution", &[4, 2, 3], |params| Box::new(Conv1x1::new(params.root(), 4))),
        case("linear map", &[5], |params| Box::new(Conv1x1::new(params.root(), 5))),
        case("actnorm and 1x1 convolution in one", &[4, 2, 3], |params| {
            Box::new(NormalisedConv1x1::new(&params.root(), 4))
        }),
        no_step("squeeze", &[2, 4, 6], |_| Box::new(Squeeze)),
        no_step("flatten", &[2, 2, 3], |_| Box::new(Flatten::new([2, 2, 3]))),
        no_step("permutation", &[4], |params| Box::new(Permutation::new(params.root(), &[2, 0, 3, 1]))),
        no_step("reverse", &[3, 2, 2], |params| Box::new(Permutation::reverse(params.root(), 3))),
        no_step("random permutation", &[5], |params| Box::new(Permutation::random(params.root(), 5))),
        no_step_of_unit("logit", &[1, 2, 3], |_| Box::new(Logit::new(0.05))),
        no_step_of_unit("logit with a small margin", &[4], |_| Box::new(Logit::new(1e-6))),
        no_step_of_unit("probit", &[1, 2, 3], |_| Box::new(Probit::new(1e-3))),
        no_step_of_unit("histograms", &[3], |params| {
            Box::new(Histogram::new(params.root(), 3, &[0.0, 0.1, 0.3, 0.6, 1.0]))
        }),
        no_step("inverse of a flatten", &[12], |_| Box::new(Inverse(Flatten::new([2, 2, 3])))),
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
        case("affine coupling by a sigmoid with a floor", &[3], |params| coupled(params, Affine::sigmoid(2.0, 1e-3))),
        case("affine coupling by a softplus", &[3], |params| coupled(params, Affine::softplus(1e-3))),
        case("coupling by mixtures of logistics", &[3], |params| coupled(params, LogisticMixture::new(4))),
        case("spline coupling", &[3], |params| coupled(params, RationalQuadratic::new(8, 3.0))),
        case("spline coupling with free ends", &[3], |params| {
            let knots = Knots::Floor { width: 0.02, height: 0.02, slope: 0.02 };
            coupled(params, RationalQuadratic::of(Spline { bins: 5, low: -1.0, high: 2.0, knots, ends: Ends::Free }))
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
        case("rotation of columns", &[4], |params| Box::new(Rotation::new(params.root(), 4))),
        case("rotation of images", &[3, 2, 4], |params| Box::new(Rotation::new(params.root(), 3))),
        no_step("sigmoid", &[3], |_| Box::new(Sigmoid)),
        no_step("tanh", &[3], |_| Box::new(Tanh)),
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
        Case {
            steps: 2,
            ..case("chain of couplings", &[3], |params| {
                Box::new(Chain::new(vec![
                    Box::new(ActNorm::new(&params.root() / "actnorm", 3)),
                    Box::new(mlp_coupling(params, "first", Mask::first_half(3), 3, 0)),
                    Box::new(Permutation::reverse(&params.root() / "reverse", 3)),
                    Box::new(mlp_coupling(params, "last", Mask::last_half(3), 3, 0)),
                ]))
            })
        },
        Case {
            steps: 2,
            ..case("two scales", &[1, 4, 4], |params| {
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
            })
        },
        Case {
            steps: 20,
            ..case("continuous flow", &[2], |params| {
                let field = PerceptronField::new(params.root(), 2, 0, &[5, 4]);
                Box::new(Continuous::new(field, JacobianTrace::Exact, Dopri5::with_tolerance(1e-12)))
            })
        },
        Case {
            context: 2,
            steps: 20,
            ..case("conditional continuous flow", &[3], |params| {
                let field = PerceptronField::new(params.root(), 3, 2, &[4]);
                Box::new(Continuous::new(field, JacobianTrace::Hutchinson, Dopri5::with_tolerance(1e-12)))
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
    pub(crate) fn random(&self, kind: Kind) -> (Params, Box<dyn Layer>) {
        let params = Params::new(kind, Device::Cpu);
        let bijection = (self.build)(&params);
        let _no_grad = tch::no_grad_guard();
        for (_, parameter) in params.trainable() {
            parameter.shallow_clone().copy_(&(Tensor::randn(parameter.size(), F64) * 0.4));
        }
        (params, bijection)
    }

    pub(crate) fn input(&self, rows: i64, kind: Kind) -> Tensor {
        let mut size = vec![rows];
        size.extend(self.shape);
        match self.domain {
            Domain::Real => Tensor::randn(size, F64).to_kind(kind),
            Domain::UnitInterval => Tensor::rand(size, F64).to_kind(kind),
        }
    }

    pub(crate) fn context(&self, rows: i64, kind: Kind) -> Option<Tensor> {
        (self.context > 0).then(|| Tensor::randn([rows, self.context], F64).to_kind(kind))
    }

    pub(crate) fn dimensions(&self) -> i64 {
        self.shape.iter().product()
    }
}
