//! The kernels on the shapes that our models give them.

use gen_native::{
    Activation, Coupled, Degrees, Direction, Ends, Factors, Knots, Operands, Order, Spline, Statistics, Univariate,
    Way, affine_coupling, autoregressive_inverse, batch_innermost, batch_norm, conv_stack, conv2d,
    discretised_logistic, group_norm, masked_perceptron, mixing, perceptron, spline_coupling,
};
use tch::{Kind, Tensor};

use crate::OPTIONS;

pub(crate) type Call = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;

/// The work that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The call, without gradients.
    Forward,
    /// The call and all gradients.
    Train,
}

pub(crate) struct Case {
    pub(crate) kernel: &'static str,
    pub(crate) shape: String,
    pub(crate) models: &'static str,
    pub(crate) inputs: Vec<Tensor>,
    /// The number of leading inputs with a batch, and so with a layout.
    pub(crate) with_batch: usize,
    /// Inputs without a gradient.
    pub(crate) constants: Vec<usize>,
    pub(crate) call: Call,
    /// The same by libtorch's operations, if it differs from the call without our loops.
    pub(crate) composed: Option<Call>,
    pub(crate) work: Work,
}

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, OPTIONS)
}

fn small(shape: &[i64]) -> Tensor {
    random(shape) * 0.1
}

/// `128 x 1 x 28 x 28`
fn text(shape: &[i64]) -> String {
    shape.iter().map(i64::to_string).collect::<Vec<_>>().join(" x ")
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(stacks());
    cases.extend(normalisations());
    cases.extend(layouts());
    cases.extend(couplings());
    cases.extend(channels());
    cases.extend(perceptrons());
    cases.extend(inverses());
    cases.push(likelihood());
    cases
}

fn convolutions() -> Vec<Case> {
    use Direction::{Down, Up};
    // Batch, inputs, side, outputs, kernel, stride, padding.
    let cases = [
        ("quick-vae", Down, [128, 1, 28, 16, 3, 2, 1]),
        ("quick-vae", Down, [128, 16, 14, 32, 3, 2, 1]),
        ("quick-gan", Down, [64, 1, 28, 32, 4, 2, 1]),
        ("quick-gan", Down, [64, 32, 14, 64, 4, 2, 1]),
        ("quick-gan", Up, [64, 64, 7, 32, 4, 2, 1]),
        ("quick-gan", Up, [64, 32, 14, 1, 4, 2, 1]),
        ("quick-diffusion", Down, [32, 4, 14, 32, 3, 1, 1]),
        ("quick-diffusion", Down, [32, 32, 14, 32, 3, 1, 1]),
        ("quick-diffusion", Down, [32, 32, 14, 64, 2, 2, 0]),
        ("quick-diffusion", Down, [32, 64, 7, 64, 3, 1, 1]),
        ("quick-diffusion", Down, [32, 128, 7, 64, 3, 1, 1]),
        ("quick-diffusion", Down, [32, 128, 7, 64, 1, 1, 0]),
        ("quick-flow", Down, [32, 2, 14, 32, 3, 1, 1]),
        ("quick-flow, mixing of channels", Down, [32, 8, 7, 8, 1, 1, 0]),
        ("glow, mixing of channels", Down, [64, 4, 14, 4, 1, 1, 0]),
    ];
    cases.map(|(models, direction, size)| convolution(models, direction, size)).into()
}

fn convolution(
    models: &'static str,
    direction: Direction,
    [batch, inputs, side, outputs, kernel, stride, padding]: [i64; 7],
) -> Case {
    let weight = match direction {
        Direction::Down => [outputs, inputs, kernel, kernel],
        Direction::Up => [inputs, outputs, kernel, kernel],
    };
    let x = [batch, inputs, side, side];
    let way = if direction == Direction::Up { ", transposed" } else { "" };
    Case {
        kernel: "`conv2d`",
        shape: format!("{} to {outputs}, kernel {kernel}, stride {stride}{way}", text(&x)),
        models,
        inputs: vec![random(&x), small(&weight), small(&[outputs])],
        with_batch: 1,
        constants: vec![],
        composed: None,
        call: Box::new(move |x| {
            let done = conv2d(&x[0], &x[1], Some(&x[2]), stride, padding, direction, Operands::Exact);
            vec![done.unwrap()]
        }),
        work: Work::Train,
    }
}

/// The networks of Glow's couplings.
fn stacks() -> Vec<Case> {
    let shapes = [[64, 2, 14, 4], [64, 4, 7, 8]];
    let works = [Work::Train, Work::Forward];
    let case = |[batch, inputs, side, outputs]: [i64; 4], work| {
        let x = [batch, inputs, side, side];
        let layer = |outputs, inputs, side| [small(&[outputs, inputs, side, side]), small(&[outputs])];
        let mut list = vec![random(&x)];
        list.extend(layer(64, inputs, 3));
        list.extend(layer(64, 64, 1));
        list.extend(layer(outputs, 64, 3));
        let what = if work == Work::Train { "" } else { ", without gradients" };
        Case {
            kernel: "`conv_stack`",
            shape: format!("{} to 64, 64, {outputs}{what}", text(&x)),
            models: "glow",
            inputs: list,
            with_batch: 1,
            constants: vec![],
            composed: None,
            call: Box::new(|x| {
                let layers: Vec<&Tensor> = x[1..].iter().collect();
                vec![conv_stack(&x[0], &layers, Operands::Exact).unwrap()]
            }),
            work,
        }
    };
    shapes.into_iter().flat_map(|shape| works.map(|work| case(shape, work))).collect()
}

fn normalisations() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, activation) in [
        ([64, 64, 7, 7], Activation::Relu),
        ([64, 32, 14, 14], Activation::Relu),
        ([64, 64, 7, 7], Activation::LeakyRelu),
    ] {
        cases.push(Case {
            kernel: "`batch_norm`",
            shape: format!("{}, {activation:?}", text(&x)),
            models: "quick-gan",
            inputs: vec![random(&x), random(&[x[1]]) + 1.0, small(&[x[1]])],
            with_batch: 1,
            constants: vec![],
            composed: None,
            call: Box::new(move |x| vec![batch_norm(&x[0], &x[1], &x[2], Statistics::Batch, activation).unwrap()]),
            work: Work::Train,
        });
    }
    for (x, groups, modulated) in [
        ([32, 32, 14, 14], 8, false),
        ([32, 32, 14, 14], 8, true),
        ([32, 64, 7, 7], 16, true),
        ([32, 128, 7, 7], 32, false),
    ] {
        let channels = x[1];
        let mut inputs = vec![random(&x), random(&[channels]) + 1.0, small(&[channels])];
        if modulated {
            inputs.push(small(&[x[0], 2 * channels]));
        }
        let beside = if modulated { ", scaled and shifted" } else { "" };
        cases.push(Case {
            kernel: "`group_norm`",
            shape: format!("{} in {groups} groups{beside}, Silu", text(&x)),
            models: "quick-diffusion",
            inputs,
            with_batch: 1,
            constants: vec![],
            composed: None,
            call: Box::new(move |x| vec![group_norm(&x[0], groups, &x[1], &x[2], x.get(3), Activation::Silu).unwrap()]),
            work: Work::Train,
        });
    }
    cases
}

/// Images before the first convolution.
fn layouts() -> Vec<Case> {
    let shapes =
        [("quick-vae", [128, 1, 28, 28]), ("quick-gan", [64, 1, 28, 28]), ("quick-diffusion", [32, 4, 14, 14])];
    let case = |(models, x): (&'static str, [i64; 4])| Case {
        kernel: "`batch_innermost`",
        shape: format!("{}, without gradients", text(&x)),
        models,
        inputs: vec![random(&x)],
        // Images have the layout of the data set.
        with_batch: 0,
        constants: vec![],
        call: Box::new(|x| vec![batch_innermost(&x[0]).unwrap()]),
        composed: Some(Box::new(|x| vec![x[0].permute([2, 3, 1, 0]).contiguous().permute([3, 2, 0, 1])])),
        work: Work::Forward,
    };
    shapes.map(case).into()
}

fn couplings() -> Vec<Case> {
    let mut cases = Vec::new();
    for (models, rest) in [
        ("quick-flow, glow", vec![64, 2, 14, 14]),
        ("quick-flow, glow", vec![64, 4, 7, 7]),
        ("quick-flow", vec![32, 4, 7, 7]),
        ("quick-flow, of points", vec![256, 1]),
    ] {
        let mut parameters = rest.clone();
        parameters[1] *= 2;
        cases.push(Case {
            kernel: "`affine_coupling`",
            shape: format!("{}, and as many that stay", text(&rest)),
            models,
            inputs: vec![random(&rest), random(&rest), random(&parameters), random(&[1])],
            with_batch: 3,
            constants: vec![],
            composed: None,
            call: Box::new(|x| {
                let (same, bound) = (Some(&x[0]), Some(&x[3]));
                let done = affine_coupling(same, &x[1], &x[2], bound, Order::SameFirst, Way::Forward).unwrap();
                vec![done.values, done.log_det]
            }),
            work: Work::Train,
        });
    }
    let knots = Knots::SoftClip { slope: 1e-3 };
    for (models, rest, bins, bound, way) in [
        ("nsf, of points", vec![256, 1], 8, 4.0, Way::Forward),
        ("nsf, of points", vec![256, 1], 8, 4.0, Way::Inverse),
        ("nsf, of images", vec![32, 2, 14, 14], 5, 6.0, Way::Forward),
    ] {
        let spline = Spline { bins, low: -bound, high: bound, knots, ends: Ends::Unit };
        let mut parameters = rest.clone();
        parameters[1] *= spline.parameters();
        cases.push(Case {
            kernel: "`spline_coupling`",
            shape: format!("{} by {bins} bins, {way:?}", text(&rest)),
            models,
            inputs: vec![random(&rest), random(&rest), random(&parameters)],
            with_batch: 3,
            constants: vec![],
            composed: None,
            call: Box::new(move |x| {
                let done = spline_coupling(Some(&x[0]), &x[1], &x[2], &spline, Order::SameFirst, way).unwrap();
                vec![done.values, done.log_det]
            }),
            work: Work::Train,
        });
    }
    cases
}

/// Mixing of channels.
fn channels() -> Vec<Case> {
    let mut cases = Vec::new();
    for (models, n) in [("glow, quick-flow", 4), ("glow, quick-flow", 8), ("glow of 32 x 32 x 3", 48)] {
        let triangle = |x: Tensor| small(&[n, n]) * x;
        let inputs = vec![
            small(&[n]),
            small(&[n]),
            triangle(Tensor::ones([n, n], OPTIONS).tril(-1)),
            triangle(Tensor::ones([n, n], OPTIONS).triu(1)),
            small(&[n]),
            Tensor::eye(n, OPTIONS).flip([0]),
            Tensor::ones([n], OPTIONS),
        ];
        cases.push(Case {
            kernel: "`mixing`",
            shape: format!("{n} channels"),
            models,
            inputs,
            with_batch: 0,
            constants: vec![5, 6],
            composed: None,
            call: Box::new(|x| {
                let [scale, shift, lower, upper, log_scale, permutation, sign] = [0, 1, 2, 3, 4, 5, 6].map(|i| &x[i]);
                let factors = Factors { scale, shift, lower, upper, log_scale, permutation, sign };
                let done = mixing(factors, Way::Forward).unwrap();
                vec![done.weight, done.bias, done.log_det]
            }),
            work: Work::Train,
        });
    }
    cases
}

/// Weights and biases.
fn layers(sizes: &[i64]) -> Vec<Tensor> {
    let layer = |pair: &[i64]| [random(&[pair[1], pair[0]]) * (0.5 / (pair[0] as f64).sqrt()), small(&[pair[1]])];
    sizes.windows(2).flat_map(layer).collect()
}

fn perceptrons() -> Vec<Case> {
    let mut cases = Vec::new();
    for (models, sizes) in [
        ("quick-flow, of points", [1, 64, 64, 2]),
        ("nsf, of points", [1, 64, 64, 23]),
        ("quick-flow, of 8 columns", [4, 64, 64, 8]),
    ] {
        let mut inputs = vec![random(&[256, sizes[0]])];
        inputs.extend(layers(&sizes));
        cases.push(Case {
            kernel: "`perceptron`",
            shape: format!("256 rows, {} units", text(&sizes)),
            models,
            inputs,
            with_batch: 1,
            constants: vec![],
            composed: None,
            call: Box::new(|x| {
                let layers: Vec<&Tensor> = x[1..].iter().collect();
                vec![perceptron(&x[0], &layers).unwrap()]
            }),
            work: Work::Train,
        });
    }
    for (models, sizes) in [("maf", [2, 64, 64, 4]), ("nsf-ar", [2, 64, 64, 46])] {
        let mut inputs = vec![random(&[256, sizes[0]])];
        inputs.extend(layers(&sizes));
        let masks: Vec<Tensor> = inputs[1..].iter().step_by(2).map(Tensor::ones_like).collect();
        cases.push(Case {
            kernel: "`masked_perceptron`",
            shape: format!("256 rows, {} units", text(&sizes)),
            models,
            inputs,
            with_batch: 1,
            constants: vec![],
            composed: None,
            call: Box::new(move |x| {
                let (layers, masks): (Vec<&Tensor>, Vec<&Tensor>) = (x[1..].iter().collect(), masks.iter().collect());
                vec![masked_perceptron(&x[0], &layers, &masks).unwrap()]
            }),
            work: Work::Train,
        });
    }
    cases
}

fn inverses() -> Vec<Case> {
    let spline = Spline { bins: 8, low: -4.0, high: 4.0, knots: Knots::SoftClip { slope: 1e-3 }, ends: Ends::Unit };
    let cases = [("maf", 2, 2), ("maf, of 8 columns", 8, 2), ("nsf-ar", 2, spline.parameters())];
    let case = |(models, values, parameters): (&'static str, i64, i64)| {
        let mut inputs = vec![random(&[1000, values])];
        inputs.extend(layers(&[values, 64, 64, values * parameters]));
        Case {
            kernel: "`autoregressive_inverse`",
            shape: format!("1000 rows of {values}, 64 x 64 units"),
            models,
            inputs,
            with_batch: 1,
            constants: vec![],
            composed: Some(Box::new(move |x| inverse_by_passes(x, (parameters > 2).then_some(&spline)))),
            call: Box::new(move |x| {
                let layers: Vec<&Tensor> = x[1..].iter().collect();
                let own: Vec<i64> = (1..=values).collect();
                let hidden: Vec<Vec<i64>> = vec![(0..64).map(|i| i % values).collect(); 2];
                let degrees = Degrees { inputs: &own, hidden: &hidden };
                let univariate = match parameters {
                    2 => Univariate::Affine { bound: None },
                    _ => Univariate::Spline(&spline),
                };
                let done = autoregressive_inverse(&x[0], None, &layers, degrees, univariate).unwrap();
                let done = done.expect("floats on a processor are taken");
                vec![done.values, done.log_det]
            }),
            work: Work::Forward,
        }
    };
    cases.map(case).into()
}

/// A pass of the whole network for each value. Masks would change the results, and not the time.
fn inverse_by_passes(x: &[Tensor], spline: Option<&Spline>) -> Vec<Tensor> {
    let (y, layers) = (&x[0], x[1..].iter().collect::<Vec<_>>());
    let mut back = y.zeros_like();
    let mut log_det = Tensor::new();
    for _ in 0..y.size()[1] {
        let parameters = perceptron(&back, &layers).unwrap();
        let done = match spline {
            Some(spline) => spline_coupling(None, y, &parameters, spline, Order::SameFirst, Way::Inverse),
            None => affine_coupling(None, y, &parameters, None, Order::SameFirst, Way::Inverse),
        };
        Coupled { values: back, log_det } = done.unwrap();
    }
    vec![back, log_det]
}

fn likelihood() -> Case {
    const HALF: f64 = 1.0 / 255.0;
    let x = [128, 1, 28, 28];
    let bytes = Tensor::randint(256, x, OPTIONS) / 127.5 - 1.0;
    Case {
        kernel: "`discretised_logistic`",
        shape: text(&x),
        models: "quick-vae",
        inputs: vec![random(&x), bytes, Tensor::full([1], -2.0, OPTIONS)],
        with_batch: 2,
        constants: vec![1],
        composed: None,
        call: Box::new(|x| {
            let (mean, bytes, log_scale) = (&x[0], &x[1], &x[2]);
            // None where it is left to the caller: then as `gen-vae` has it.
            let done = discretised_logistic(mean, log_scale, bytes, HALF).unwrap();
            vec![done.unwrap_or_else(|| composed_logistic(mean, log_scale, bytes, HALF))]
        }),
        work: Work::Train,
    }
}

fn composed_logistic(mean: &Tensor, log_scale: &Tensor, x: &Tensor, half: f64) -> Tensor {
    let rows = |x: &Tensor| x.flatten(1, -1).sum_dim_intlist(1, false, Kind::Float);
    let (lowest, highest) = (x.lt(half - 1.0), x.gt(1.0 - half));
    let upper_edge = (x + half).masked_fill(&highest, 1e6);
    let lower_edge = (x - half).masked_fill(&lowest, -1e6);
    let precision = log_scale.neg().exp();
    let below_upper = ((upper_edge - mean) * &precision).log_sigmoid();
    let above_lower = ((mean - lower_edge) * &precision).log_sigmoid();
    let width = (&precision * (-2.0 * half)).expm1().neg().log();
    let inner = lowest.logical_or(&highest).logical_not().to_kind(Kind::Float);
    rows(&(below_upper + above_lower)) + rows(&inner) * width.squeeze()
}
