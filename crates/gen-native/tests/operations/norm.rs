//! Normalisations, beside libtorch's in double precision.

use gen_native::{
    Activation, Instructions, Statistics, batch_innermost, batch_norm, group_norm, is_batch_innermost,
    prefers_batch_innermost, use_instructions,
};
use tch::{Device, Kind, Tensor};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const ACTIVATIONS: [Activation; 4] = [Activation::None, Activation::Relu, Activation::LeakyRelu, Activation::Silu];
/// Batch, channels, height, width.
const SHAPES: [[i64; 4]; 6] =
    [[16, 8, 5, 3], [33, 4, 7, 7], [64, 48, 3, 4], [17, 1, 6, 2], [70, 40, 1, 1], [19, 1, 1, 1]];

/// An operation on `x` and its parameters.
type Operation<'a> = &'a dyn Fn(&[Tensor]) -> Tensor;

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, FLOAT)
}

fn leaves(inputs: &[Tensor], kind: Kind) -> Vec<Tensor> {
    inputs.iter().map(|x| x.to_kind(kind).copy().set_requires_grad(true)).collect()
}

/// The result, and all gradients of a weighted sum of it.
fn results(operation: Operation<'_>, inputs: &[Tensor], kind: Kind) -> Vec<Tensor> {
    let inputs = leaves(inputs, kind);
    let y = operation(&inputs);
    let slope = (Tensor::arange(y.numel() as i64, (Kind::Double, Device::Cpu)) * 0.37).sin() + 0.5;
    let loss = (&y * slope.view(&y.size()[..]).to_kind(kind)).sum(kind);
    let mut results = vec![y.detach()];
    results.extend(Tensor::run_backward(&[loss], &inputs, false, false));
    results
}

#[track_caller]
fn assert_close(ours: &[Tensor], theirs: &[Tensor], tolerance: f64, what: &str) {
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(a.size(), b.size());
        let scale = b.abs().max().double_value(&[]).max(1e-2);
        let difference = (a.to_kind(Kind::Double) - b).abs().max().double_value(&[]) / scale;
        assert!(difference < tolerance, "{what}: result {i} differs by {difference} of {scale}");
    }
}

/// One test for all instructions, since the choice is for the whole process.
#[test]
fn normalisations_and_their_gradients_are_those_of_libtorch() {
    tch::manual_seed(5);
    for which in [Instructions::Avx512, Instructions::Avx2, Instructions::Best] {
        if !use_instructions(which).unwrap() {
            continue;
        }
        for activation in ACTIVATIONS {
            for shape in SHAPES {
                batch_norm_is_right(shape, activation);
                group_norm_is_right(shape, activation);
            }
        }
    }
    silu_is_right_wherever_it_is_asked();
    gradients_of_gradients_are_those_of_libtorch();
    channels_of_a_wider_map_are_read_in_place();
    nan_stays_with_its_statistics();
    // libtorch's own loops would fail: a large mean makes a gradient 4 % wrong, and sums depend on the number of
    // threads.
    if prefers_batch_innermost(&Tensor::zeros([32, 4, 6, 6], FLOAT)) {
        a_large_mean_does_not_hide_small_deviations();
        threads_change_nothing();
    }
    wrong_shapes_are_errors();
}

fn batch_norm_is_right(shape: [i64; 4], activation: Activation) {
    let c = shape[1];
    let inputs = [random(&shape) * 2.0 + 3.0, random(&[c]) + 1.0, random(&[c])];
    let what = format!("batch norm of {shape:?}, {activation:?}");
    let (mean, var) = (random(&[c]), random(&[c]).square() + 0.5);
    let run = |kind: Kind| {
        let (mean, var) = (mean.to_kind(kind).copy(), var.to_kind(kind).copy());
        let by = |statistics: Statistics<'_>| {
            results(&|x| batch_norm(&x[0], &x[1], &x[2], statistics, activation).unwrap(), &inputs, kind)
        };
        let mut list = by(Statistics::Running { mean: &mean, var: &var });
        list.extend(by(Statistics::Batch));
        list.extend(by(Statistics::BatchMoving { mean: &mean, var: &var }));
        list.extend([mean, var]);
        list
    };
    let (ours, theirs) = (run(Kind::Float), run(Kind::Double));
    let innermost = is_batch_innermost(&ours[0]) && is_batch_innermost(&ours[1]);
    assert!(innermost || !prefers_batch_innermost(&inputs[0]));
    assert_close(&ours, &theirs, 2e-5, &what);
}

fn group_norm_is_right(shape: [i64; 4], activation: Activation) {
    let [n, c, ..] = shape;
    let inputs = [random(&shape) * 2.0 + 3.0, random(&[c]) + 1.0, random(&[c]), random(&[n, 2 * c])];
    for groups in (1..=c).filter(|groups| c % groups == 0) {
        // Few values may be almost equal, and a gradient only rounding errors.
        if shape[2] * shape[3] * c / groups < 4 {
            continue;
        }
        for modulated in [false, true] {
            let what = format!("group norm of {shape:?}, {groups} groups, {activation:?}, {modulated}");
            let operation: Operation<'_> = &|x| {
                let modulation = modulated.then(|| &x[3]);
                group_norm(&x[0], groups, &x[1], &x[2], modulation, activation).unwrap()
            };
            let inputs = if modulated { &inputs[..] } else { &inputs[..3] };
            let ours = results(operation, inputs, Kind::Float);
            assert!(is_batch_innermost(&ours[0]) || !prefers_batch_innermost(&inputs[0]));
            assert_close(&ours, &results(operation, inputs, Kind::Double), 1e-4, &what);
        }
    }
}

/// With running statistics of mean 0 and variance 1, batch normalisation only applies the activation.
fn silu_is_right_wherever_it_is_asked() {
    let z = Tensor::linspace(-85.0, 85.0, 64 * 50, FLOAT).view([64, 1, 5, 10]).set_requires_grad(true);
    let (one, zero) = (Tensor::ones([1], FLOAT), Tensor::zeros([1], FLOAT));
    let running = Statistics::Running { mean: &zero, var: &(&one - 1e-5) };
    let y = batch_norm(&z, &one, &zero, running, Activation::Silu).unwrap();
    let slope = Tensor::run_backward(&[y.sum(Kind::Float)], &[&z], true, false).remove(0);
    let z = z.detach().to_kind(Kind::Double).set_requires_grad(true);
    let exact = z.silu();
    let exact_slope = Tensor::run_backward(&[exact.sum(Kind::Double)], &[&z], true, false).remove(0);
    // ε in the variance is rounded in single precision too.
    assert!(y.to_kind(Kind::Double).allclose(&exact, 1e-5, 1e-30, false));
    assert!(slope.to_kind(Kind::Double).allclose(&exact_slope, 1e-5, 1e-7, false));
}

fn gradients_of_gradients_are_those_of_libtorch() {
    let inputs = [random(&[20, 4, 3, 3]), random(&[4]) + 1.0, random(&[4]), random(&[20, 8])];
    let (mean, var) = (random(&[4]), random(&[4]).square() + 0.5);
    let operations: [Operation<'_>; 3] = [
        &|x| batch_norm(&x[0], &x[1], &x[2], Statistics::Batch, Activation::LeakyRelu).unwrap(),
        &|x| {
            let (mean, var) = (mean.to_kind(x[0].kind()), var.to_kind(x[0].kind()));
            let running = Statistics::Running { mean: &mean, var: &var };
            batch_norm(&x[0], &x[1], &x[2], running, Activation::Silu).unwrap()
        },
        &|x| group_norm(&x[0], 2, &x[1], &x[2], Some(&x[3]), Activation::Silu).unwrap(),
    ];
    for (operation, count) in operations.into_iter().zip([3, 3, 4]) {
        let penalty = |kind: Kind| {
            let inputs = leaves(&inputs[..count], kind);
            // x depends on the weights too, as when a layer is used twice.
            let mut list: Vec<_> = inputs.iter().map(Tensor::shallow_clone).collect();
            list[0] = &inputs[0] * inputs[1].view([1, 4, 1, 1]);
            let y = operation(&list).tanh().square();
            let slope = Tensor::run_backward(&[y.sum(kind)], &[&inputs[0]], true, true).remove(0);
            let loss = slope.square().sum(kind) + y.sum(kind);
            Tensor::run_backward(&[loss], &inputs, false, false)
        };
        assert_close(&penalty(Kind::Float), &penalty(Kind::Double), 2e-4, "penalty");
    }
}

fn channels_of_a_wider_map_are_read_in_place() {
    let (x, weight, bias) = (random(&[32, 6, 4, 4]), random(&[6]), random(&[6]));
    let wide = batch_innermost(&Tensor::cat(&[&x.neg(), &x, &x.neg()], 1)).unwrap();
    let some = wide.narrow(1, 6, 6);
    assert!(!is_batch_innermost(&some) && is_batch_innermost(&wide));
    let norm = |x: &Tensor| group_norm(x, 3, &weight, &bias, None, Activation::Silu).unwrap();
    assert_eq!(norm(&some), norm(&x));
    let norm = |x: &Tensor| batch_norm(x, &weight, &bias, Statistics::Batch, Activation::Relu).unwrap();
    assert_eq!(norm(&some), norm(&x));
    // The gradient of a range of channels of a result.
    let gradient = |x: &Tensor, y: &dyn Fn(&Tensor) -> Tensor| {
        let x = x.copy().set_requires_grad(true);
        Tensor::run_backward(&[y(&x)], &[&x], false, false).remove(0)
    };
    let of_some = gradient(&wide, &|x| {
        let y = group_norm(x, 9, &weight.repeat([3]), &bias.repeat([3]), None, Activation::Silu).unwrap();
        y.narrow(1, 6, 6).square().sum(Kind::Float)
    });
    let of_all = gradient(&x, &|x| norm_squares(x, &weight, &bias));
    assert!(of_some.narrow(1, 6, 6).allclose(&of_all, 1e-5, 1e-5, false));
}

fn norm_squares(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    group_norm(x, 3, weight, bias, None, Activation::Silu).unwrap().square().sum(Kind::Float)
}

fn a_large_mean_does_not_hide_small_deviations() {
    // Multiples of 2^-10 around 1000 are exact in single precision.
    let x = (random(&[32, 4, 6, 6]) * 16.0).round() / 1024.0 + 1000.0;
    let inputs = [x, random(&[4]) + 1.0, random(&[4])];
    let operations: [Operation<'_>; 2] =
        [&|x| batch_norm(&x[0], &x[1], &x[2], Statistics::Batch, Activation::None).unwrap(), &|x| {
            group_norm(&x[0], 2, &x[1], &x[2], None, Activation::None).unwrap()
        }];
    for operation in operations {
        let (ours, theirs) = (results(operation, &inputs, Kind::Float), results(operation, &inputs, Kind::Double));
        assert_close(&ours, &theirs, 1e-3, "large mean");
    }
}

fn nan_stays_with_its_statistics() {
    let x = random(&[32, 4, 3, 3]);
    let _ = x.narrow(0, 5, 1).narrow(1, 2, 1).fill_(f64::NAN);
    let (weight, bias) = (Tensor::ones([4], FLOAT), Tensor::zeros([4], FLOAT));
    let nan = |y: Tensor| y.isnan().to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[]);
    for activation in ACTIVATIONS {
        let y = batch_norm(&x, &weight, &bias, Statistics::Batch, activation).unwrap();
        assert_eq!(nan(y), 32 * 9, "{activation:?}");
        let y = group_norm(&x, 2, &weight, &bias, None, activation).unwrap();
        assert_eq!(nan(y), 2 * 9, "{activation:?}");
    }
}

fn threads_change_nothing() {
    let inputs = [random(&[48, 24, 14, 14]), random(&[24]), random(&[24]), random(&[48, 48])];
    let operations: [Operation<'_>; 2] =
        [&|x| batch_norm(&x[0], &x[1], &x[2], Statistics::Batch, Activation::Relu).unwrap(), &|x| {
            group_norm(&x[0], 6, &x[1], &x[2], Some(&x[3]), Activation::Silu).unwrap()
        }];
    for (operation, count) in operations.into_iter().zip([3, 4]) {
        let with = |threads| {
            tch::set_num_threads(threads);
            results(operation, &inputs[..count], Kind::Float)
        };
        assert_eq!(with(1), with(3));
    }
}

fn wrong_shapes_are_errors() {
    let (x, weight) = (random(&[32, 6, 4, 4]), random(&[6]));
    assert!(group_norm(&x, 4, &weight, &weight, None, Activation::None).is_err());
    assert!(group_norm(&x, 3, &weight, &random(&[5]), None, Activation::None).is_err());
    assert!(group_norm(&x, 3, &weight, &weight, Some(&random(&[32, 6])), Activation::None).is_err());
    assert!(batch_norm(&x, &random(&[5]), &weight, Statistics::Batch, Activation::None).is_err());
    let (mean, var) = (random(&[6]).set_requires_grad(true), random(&[6]).square() + 0.5);
    for statistics in
        [Statistics::Running { mean: &mean, var: &var }, Statistics::BatchMoving { mean: &mean, var: &var }]
    {
        let normed = || batch_norm(&x, &weight, &weight, statistics, Activation::None);
        assert!(normed().is_err(), "{statistics:?}");
        assert!(tch::no_grad(normed).is_ok(), "{statistics:?}");
    }
}
