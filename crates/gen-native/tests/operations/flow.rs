//! Operations of flows, beside the same by libtorch's operations in double precision.

use crate::shared::{
    DOUBLE, Function, assert_close, check, check_by_differences, layouts, leaves, reference, run, score, twice, weights,
};
use gen_native::{
    Coupled, Factors, Mixing, Order, Way, affine_coupling, batch_innermost, is_batch_innermost, join_channels, mixing,
    perceptron, split_channels,
};
use tch::{Device, Kind, Tensor};

fn coupled(inputs: &[Tensor], order: Order, way: Way) -> Vec<Tensor> {
    let Coupled { values, log_det } =
        affine_coupling(Some(&inputs[0]), &inputs[1], &inputs[2], inputs.get(3), order, way).unwrap();
    vec![values, log_det]
}

fn composed(inputs: &[Tensor], order: Order, way: Way) -> Vec<Tensor> {
    reference::coupling(Some(&inputs[0]), &inputs[1], &inputs[2], inputs.get(3), order, way)
}

fn each_way(check: impl Fn(Order, Way)) {
    for order in [Order::SameFirst, Order::MovedFirst] {
        for way in [Way::Forward, Way::Inverse] {
            check(order, way);
        }
    }
}

#[test]
fn couplings_are_what_they_are_made_of() {
    tch::manual_seed(1);
    let shapes: [(i64, i64, i64, &[i64]); 5] =
        [(19, 2, 3, &[5, 4]), (32, 1, 1, &[2, 2]), (3, 2, 1, &[3, 1]), (35, 1, 2, &[]), (1, 2, 2, &[])];
    for (rows, kept, moved, pixels) in shapes {
        let random = |channels: i64| {
            let mut size = vec![rows, channels];
            size.extend(pixels);
            Tensor::randn(&size[..], DOUBLE)
        };
        let (same, rest, parameters) = (random(kept), random(moved), random(2 * moved));
        let bound = Tensor::from_slice(&[0.7]);
        for (x, p) in layouts(&rest).iter().flat_map(|x| layouts(&parameters).into_iter().map(move |p| (x, p))) {
            for bounded in [false, true] {
                let mut inputs = vec![same.shallow_clone(), x.shallow_clone(), p.shallow_clone()];
                inputs.extend(bounded.then(|| bound.shallow_clone()));
                each_way(|order, way| {
                    check(&|x| coupled(x, order, way), &|x| composed(x, order, way), &inputs);
                });
            }
        }
    }
}

/// The parameters may depend on the kept values, also in gradients of gradients.
#[test]
fn parameters_may_depend_on_what_is_kept() {
    tch::manual_seed(8);
    let random = |channels: i64| Tensor::randn([17, channels, 2, 2], DOUBLE);
    let inputs = [random(2), random(2)];
    let conditioned = |x: &[Tensor]| {
        let parameters = Tensor::cat(&[x[0].sin(), x[0].square() * 0.3], 1);
        [x[0].shallow_clone(), x[1].shallow_clone(), parameters]
    };
    each_way(|order, way| {
        check(&|x| coupled(&conditioned(x), order, way), &|x| composed(&conditioned(x), order, way), &inputs);
    });
}

#[test]
fn couplings_have_the_gradients_of_their_differences() {
    tch::manual_seed(2);
    let random = |channels: i64| Tensor::randn([3, channels, 2, 1], DOUBLE);
    let inputs = [random(1), random(2), random(4), Tensor::from_slice(&[0.9])];
    each_way(|order, way| {
        check_by_differences(&|x| coupled(x, order, way), &inputs);
        check_by_differences(&|x| coupled(x, order, way), &inputs[..3]);
    });
}

/// With one value a row, the result is the exponential and the log-determinant is the hyperbolic tangent.
fn exp_and_tanh(x: &Tensor) -> (Tensor, Tensor) {
    let a = x.unsqueeze(1);
    let zero = a.zeros_like();
    let parameters = Tensor::cat(&[&a, &zero], 1);
    let one = a.ones_like();
    let bound = Tensor::ones([1], (x.kind(), Device::Cpu));
    let run = |bound: Option<&Tensor>| {
        affine_coupling(Some(&zero), &one, &parameters, bound, Order::SameFirst, Way::Forward).unwrap()
    };
    (run(None).values.select(1, 1), run(Some(&bound)).log_det)
}

#[test]
fn exponentials_and_tangents_are_right_to_two_units_in_the_last_place() {
    for (kind, epsilon, most) in [(Kind::Float, f64::from(f32::EPSILON), 86.0), (Kind::Double, f64::EPSILON, 700.0)] {
        let x = Tensor::linspace(-most, most, 200_003, DOUBLE).to_kind(kind);
        let small = Tensor::linspace(-3.0, 3.0, 200_003, DOUBLE).to_kind(kind);
        let tiny = Tensor::logspace(-30.0, 0.0, 2003, 10.0, DOUBLE).to_kind(kind);
        for x in [x, small, tiny] {
            let (exp, tanh) = exp_and_tanh(&x);
            let exact = x.to_kind(Kind::Double);
            for (ours, theirs) in [(exp, exact.exp()), (tanh, exact.tanh())] {
                let error =
                    ((ours.to_kind(Kind::Double) - &theirs) / &theirs).nan_to_num(0.0, None::<f64>, None::<f64>);
                let worst = error.abs().max().double_value(&[]) / epsilon;
                assert!(worst < 2.0, "{worst} units, {kind:?}");
            }
        }
    }
}

#[test]
fn extremes_are_those_of_libtorch() {
    let values = [
        0.0,
        -0.0,
        1e-40,
        1.0,
        -1.0,
        88.5,
        89.0,
        1e4,
        -87.0,
        -100.0,
        -110.0,
        -1e4,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    for kind in [Kind::Float, Kind::Double] {
        let x = Tensor::from_slice(&values).to_kind(kind);
        let (exp, tanh) = exp_and_tanh(&x);
        for (ours, theirs) in [(exp, x.exp()), (tanh, x.tanh())] {
            assert!(ours.allclose(&theirs, 1e-6, 1e-37, true), "{ours:?}\n{theirs:?}");
        }
    }
}

fn mixed(inputs: &[Tensor], permutation: &Tensor, sign: &Tensor, way: Way) -> Vec<Tensor> {
    let [scale, shift, lower, upper, log_scale] = inputs else { unreachable!() };
    let (permutation, sign) = (permutation.to_kind(lower.kind()), sign.to_kind(lower.kind()));
    let factors = Factors { scale, shift, lower, upper, log_scale, permutation: &permutation, sign: &sign };
    let Mixing { weight, bias, log_det } = mixing(factors, way).unwrap();
    vec![weight, bias, log_det]
}

#[test]
fn mixings_are_what_they_are_made_of() {
    tch::manual_seed(4);
    for n in [1, 2, 7] {
        let random = |shape: &[i64]| Tensor::randn(shape, DOUBLE) * 0.5;
        let inputs = [random(&[n]), random(&[n]), random(&[n, n]), random(&[n, n]), random(&[n])];
        let permutation = Tensor::eye(n, DOUBLE).index_select(0, &Tensor::randperm(n, (Kind::Int64, Device::Cpu)));
        let sign = weights(&inputs[0]).sign();
        for way in [Way::Forward, Way::Inverse] {
            let ours = |x: &[Tensor]| mixed(x, &permutation, &sign, way);
            let theirs = |x: &[Tensor]| reference::mixing(x, &permutation, &sign, way);
            let expected = run(&theirs, &inputs, Kind::Double);
            assert_close(&run(&ours, &inputs, Kind::Double), &expected, 1e-11);
            assert_close(&run(&ours, &inputs, Kind::Float), &expected, 1e-4);
            assert_close(&twice(&ours, &inputs), &twice(&theirs, &inputs), 1e-9);
            check_by_differences(&ours, &inputs);
        }
    }
}

#[test]
fn perceptrons_are_their_layers() {
    tch::manual_seed(5);
    let random = |shape: &[i64]| Tensor::randn(shape, DOUBLE);
    for sizes in [&[3, 5][..], &[1, 8, 2], &[4, 6, 7, 3]] {
        for x in layouts(&random(&[18, sizes[0]])) {
            let mut inputs = vec![x];
            for pair in sizes.windows(2) {
                inputs.extend([random(&[pair[1], pair[0]]) * 0.3, random(&[pair[1]])]);
            }
            let ours = |x: &[Tensor]| vec![perceptron(&x[0], &x[1..].iter().collect::<Vec<_>>()).unwrap()];
            let theirs = |x: &[Tensor]| vec![reference::layers(&x[0], &x[1..], &[])];
            check(&ours, &theirs, &inputs);
            // Frozen layers still pass the gradient on.
            let frozen = |f: Function<'_>| {
                let all = leaves(&inputs, Kind::Double);
                let inputs: Vec<Tensor> =
                    all.iter().enumerate().map(|(i, x)| if i == 0 { x.shallow_clone() } else { x.detach() }).collect();
                Tensor::run_backward(&[score(&f(&inputs))], &[&all[0]], false, false)
            };
            assert_close(&frozen(&ours), &frozen(&theirs), 1e-12);
        }
    }
    let deep = perceptron(&random(&[2, 3, 4]), &[&random(&[5, 4]), &random(&[5])]).unwrap();
    assert_eq!(deep.size(), [2, 3, 5]);
}

#[test]
fn splitting_and_joining_keep_layouts_and_gradients() {
    tch::manual_seed(6);
    for x in layouts(&Tensor::randn([17, 5, 2, 3], DOUBLE)) {
        let ours = |x: &[Tensor]| {
            let [a, b] = split_channels(&x[0], 2).unwrap();
            vec![join_channels(&b.exp(), &a.sin()).unwrap()]
        };
        let theirs = |x: &[Tensor]| vec![Tensor::cat(&[x[0].narrow(1, 2, 3).exp(), x[0].narrow(1, 0, 2).sin()], 1)];
        check(&ours, &theirs, &[x]);
    }
    let x = batch_innermost(&Tensor::randn([16, 4, 2, 2], DOUBLE)).unwrap();
    let [a, b] = split_channels(&x, 3).unwrap();
    assert!(is_batch_innermost(&join_channels(&a, &b).unwrap()));
    assert!(split_channels(&x, 5).is_err());
}

#[test]
fn wrong_shapes_are_refused() {
    let x = |channels: i64| Tensor::zeros([4, channels], DOUBLE);
    let couple = |rest: i64, parameters: i64| {
        affine_coupling(Some(&x(1)), &x(rest), &x(parameters), None, Order::SameFirst, Way::Forward)
    };
    assert!(couple(2, 4).is_ok() && couple(2, 3).is_err());
    assert!(perceptron(&x(3), &[&Tensor::zeros([2, 4], DOUBLE), &Tensor::zeros([2], DOUBLE)]).is_err());
    assert!(perceptron(&x(3), &[]).is_err());
}

#[test]
fn no_rows_are_no_work() {
    let x = |channels: i64| Tensor::zeros([0, channels, 2, 2], DOUBLE);
    let coupled = affine_coupling(Some(&x(1)), &x(1), &x(2), None, Order::SameFirst, Way::Forward).unwrap();
    assert_eq!((coupled.values.size(), coupled.log_det.size()), (vec![0, 2, 2, 2], vec![0]));
}
