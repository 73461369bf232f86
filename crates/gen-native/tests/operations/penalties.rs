//! Gradients of gradients, as the penalties of discriminators and critics need them.

use gen_native::{
    Activation, Direction, Instructions, Operands, Statistics, batch_norm, conv2d, group_norm, perceptron,
    use_instructions,
};
use tch::{Kind, Tensor};

use crate::shared::{DOUBLE, Function, assert_close};

const ALL: [Instructions; 5] =
    [Instructions::Avx512, Instructions::Avx2, Instructions::Portable, Instructions::Libtorch, Instructions::Best];

/// Gradients of the score and of the squared norm of its gradient in the first input, in all inputs.
fn penalised(critic: Function<'_>, inputs: &[Tensor], kind: Kind) -> Vec<Tensor> {
    let leaves: Vec<Tensor> = inputs.iter().map(|x| x.to_kind(kind).copy().set_requires_grad(true)).collect();
    let score = critic(&leaves).remove(0).sum(kind);
    let slope = Tensor::run_backward(&[&score], &leaves[..1], true, true).remove(0);
    let loss = score + slope.square().sum(kind);
    Tensor::run_backward(&[loss], &leaves, false, false)
}

#[track_caller]
fn check(ours: Function<'_>, theirs: Function<'_>, inputs: &[Tensor]) {
    let expected = penalised(theirs, inputs, Kind::Double);
    for which in ALL {
        if use_instructions(which).unwrap() {
            assert_close(&penalised(ours, inputs, Kind::Double), &expected, 1e-10);
            assert_close(&penalised(ours, inputs, Kind::Float), &expected, 1e-4);
        }
    }
    let _ = use_instructions(Instructions::Best);
}

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, DOUBLE)
}

/// Of each convolution, the square is taken, so that no second derivative is 0.
#[test]
fn convolutions_have_penalties() {
    tch::manual_seed(1);
    for (direction, channels) in [(Direction::Down, [12, 9]), (Direction::Up, [9, 12])] {
        for (stride, padding) in [(1, 1), (2, 1), (2, 0), (3, 2)] {
            let ours = |x: &[Tensor]| {
                let y = conv2d(&x[0], &x[1], Some(&x[2]), stride, padding, direction, Operands::Exact).unwrap();
                vec![y.square()]
            };
            let theirs = |x: &[Tensor]| {
                let y = match direction {
                    Direction::Down => x[0].conv2d(&x[1], Some(&x[2]), stride, padding, 1, 1),
                    Direction::Up => x[0].conv_transpose2d(&x[1], Some(&x[2]), stride, padding, 0, 1, 1),
                };
                vec![y.square()]
            };
            let weight = random(&[channels[0], channels[1], 3, 3]) * 0.1;
            check(&ours, &theirs, &[random(&[19, 9, 6, 7]), weight, random(&[12])]);
        }
    }
}

#[test]
fn critics_have_penalties() {
    tch::manual_seed(2);
    let inputs = [
        random(&[33, 3, 8, 8]),
        random(&[6, 3, 4, 4]) * 0.2,
        random(&[6]),
        random(&[8, 6, 4, 4]) * 0.1,
        random(&[8]) * 0.1 + 1.0,
        random(&[8]),
        random(&[5, 32]) * 0.2,
        random(&[5]),
        random(&[1, 5]),
        random(&[1]),
    ];
    for batch in [false, true] {
        let ours = |x: &[Tensor]| {
            let h = conv2d(&x[0], &x[1], Some(&x[2]), 2, 1, Direction::Down, Operands::Exact).unwrap();
            let h = h.where_self(&h.gt(0.0), &(&h * 0.2));
            let h = conv2d(&h, &x[3], None, 2, 1, Direction::Down, Operands::Exact).unwrap();
            let h = if batch {
                batch_norm(&h, &x[4], &x[5], Statistics::Batch, Activation::LeakyRelu)
            } else {
                group_norm(&h, 4, &x[4], &x[5], None, Activation::Silu)
            };
            vec![perceptron(&h.unwrap().flatten(1, -1), &[&x[6], &x[7], &x[8], &x[9]]).unwrap()]
        };
        let theirs = |x: &[Tensor]| {
            let h = x[0].conv2d(&x[1], Some(&x[2]), 2, 1, 1, 1);
            let h = h.where_self(&h.gt(0.0), &(&h * 0.2)).conv2d(&x[3], None::<&Tensor>, 2, 1, 1, 1);
            let h = if batch {
                let z = h.batch_norm(Some(&x[4]), Some(&x[5]), None, None, true, 0.1, 1e-5, false);
                z.where_self(&z.gt(0.0), &(&z * 0.2))
            } else {
                h.group_norm(4, Some(&x[4]), Some(&x[5]), 1e-5, false).silu()
            };
            vec![h.flatten(1, -1).linear(&x[6], Some(&x[7])).relu().linear(&x[8], Some(&x[9]))]
        };
        check(&ours, &theirs, &inputs);
    }
}

/// Loops compute derivatives of any order: here of the third.
#[test]
fn convolutions_have_third_derivatives() {
    tch::manual_seed(3);
    let third = |convolve: &dyn Fn(&Tensor, &Tensor) -> Tensor, kind: Kind| {
        tch::manual_seed(4);
        let [x, weight] =
            [random(&[16, 4, 5, 5]), random(&[3, 4, 3, 3])].map(|x| (x * 0.3).to_kind(kind).set_requires_grad(true));
        let mut score = convolve(&x, &weight).pow_tensor_scalar(4).sum(kind);
        for _ in 0..2 {
            let found = Tensor::run_backward(&[&score], &[&x, &weight], true, true);
            score = found.iter().map(|g| g.square().sum(kind)).sum::<Tensor>() * 1e-3;
        }
        Tensor::run_backward(&[&score], &[&x, &weight], false, false)
    };
    let expected = third(&|x, w| x.conv2d(w, None::<&Tensor>, 2, 1, 1, 1), Kind::Double);
    let ours = |x: &Tensor, w: &Tensor| conv2d(x, w, None, 2, 1, Direction::Down, Operands::Exact).unwrap();
    for which in ALL {
        if use_instructions(which).unwrap() {
            assert_close(&third(&ours, Kind::Double), &expected, 1e-10);
            assert_close(&third(&ours, Kind::Float), &expected, 1e-4);
        }
    }
    let _ = use_instructions(Instructions::Best);
}
