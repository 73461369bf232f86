//! Instructions may change at any time: an operation keeps those of its forward pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::shared::reference;
use gen_native::{
    Activation, Direction, Instructions, Operands, Order, Spline, Statistics, Way, affine_coupling, batch_norm,
    conv_stack, conv2d, discretised_logistic, group_norm, perceptron, spline, use_instructions,
};
use gen_native::{Ends, Knots};
use tch::{Device, Kind, Tensor};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// An operation, and the shapes of its parameters.
type Operation = (&'static str, &'static [&'static [i64]], fn(&[Tensor]) -> Tensor);

fn refs(list: &[Tensor]) -> Vec<&Tensor> {
    list.iter().collect()
}

/// Batches of 8 fill a vector of AVX2 and half of one of AVX-512.
const OPERATIONS: [Operation; 11] = [
    ("conv2d", &[&[8, 3, 5, 4], &[5, 3, 3, 3], &[5]], |x| {
        conv2d(&x[0], &x[1], Some(&x[2]), 1, 1, Direction::Down, Operands::Exact).unwrap()
    }),
    ("conv2d of rounded operands", &[&[16, 3, 5, 4], &[5, 3, 3, 3], &[5]], |x| {
        conv2d(&x[0], &x[1], Some(&x[2]), 1, 1, Direction::Down, Operands::Rounded).unwrap()
    }),
    ("conv2d with many channels", &[&[20, 9, 4, 4], &[17, 9, 3, 3]], |x| {
        conv2d(&x[0], &x[1], None, 1, 1, Direction::Down, Operands::Exact).unwrap()
    }),
    ("conv_stack", &[&[8, 2, 4, 4], &[5, 2, 3, 3], &[5], &[3, 5, 3, 3], &[3]], |x| {
        conv_stack(&x[0], &refs(&x[1..]), Operands::Exact).unwrap()
    }),
    ("conv_stack of rounded operands", &[&[16, 2, 4, 4], &[5, 2, 3, 3], &[5], &[3, 5, 3, 3], &[3]], |x| {
        conv_stack(&x[0], &refs(&x[1..]), Operands::Rounded).unwrap()
    }),
    ("batch_norm", &[&[8, 3, 4, 4], &[3], &[3]], |x| {
        batch_norm(&x[0], &x[1], &x[2], Statistics::Batch, Activation::Silu).unwrap()
    }),
    ("group_norm", &[&[8, 4, 4, 4], &[4], &[4], &[8, 8]], |x| {
        group_norm(&x[0], 2, &x[1], &x[2], Some(&x[3]), Activation::Silu).unwrap()
    }),
    ("affine_coupling", &[&[19, 2, 3, 3], &[19, 4, 3, 3]], |x| {
        let coupled = affine_coupling(None, &x[0], &x[1], None, Order::SameFirst, Way::Forward).unwrap();
        coupled.values.flatten(1, -1).sum_dim_intlist(1, false, Kind::Float) + coupled.log_det
    }),
    ("spline", &[&[19, 2], &[19, 22]], |x| {
        let knots = Knots::SoftClip { slope: 1e-3 };
        let of = Spline { bins: 4, low: -3.0, high: 3.0, knots, ends: Ends::Unit };
        spline(&x[0], &x[1], &of, Way::Forward).unwrap().values
    }),
    ("perceptron", &[&[70, 3], &[9, 3], &[9], &[2, 9], &[2]], |x| perceptron(&x[0], &refs(&x[1..])).unwrap()),
    ("discretised_logistic", &[&[9, 2, 3, 3], &[1]], |x| {
        let bytes = Tensor::zeros([9, 2, 3, 3], FLOAT);
        const HALF: f64 = 1.0 / 255.0;
        let by_libtorch = || reference::logistic(&x[0], &x[1], &bytes, HALF);
        discretised_logistic(&x[0], &x[1], &bytes, HALF).unwrap().unwrap_or_else(by_libtorch)
    }),
];

fn leaves(shapes: &[&[i64]]) -> Vec<Tensor> {
    let numbers = |shape: &[i64]| {
        let n = shape.iter().product::<i64>();
        let x = (Tensor::arange(n, FLOAT) * 0.7 + shape.len() as f64).sin();
        x.view(shape).set_requires_grad(true)
    };
    shapes.iter().map(|shape| numbers(shape)).collect()
}

fn gradients(y: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
    let weights = (Tensor::arange(y.numel() as i64, FLOAT) * 0.37).cos().view(&y.size()[..]);
    Tensor::run_backward(&[(y * weights).sum(Kind::Float)], leaves, false, false)
}

fn available() -> Vec<Instructions> {
    use Instructions::{Avx2, Avx512, Best, Libtorch, Portable};
    [Avx512, Avx2, Portable, Libtorch, Best].into_iter().filter(|&which| use_instructions(which).unwrap()).collect()
}

/// One test, since the switch is for the whole process.
#[test]
fn a_backward_pass_has_the_instructions_of_its_forward_pass() {
    for (name, shapes, operation) in OPERATIONS {
        for forward in available() {
            use_instructions(forward).unwrap();
            let alone = leaves(shapes);
            let expected = gradients(&operation(&alone), &alone);
            for backward in available() {
                use_instructions(forward).unwrap();
                let leaves = leaves(shapes);
                let y = operation(&leaves);
                use_instructions(backward).unwrap();
                assert_eq!(gradients(&y, &leaves), expected, "{name}: {forward:?}, then {backward:?}");
            }
        }
    }
    while_another_thread_changes_them();
}

/// A running operation keeps its instructions: each result is the result of one instruction set.
fn while_another_thread_changes_them() {
    let available = available();
    let done = AtomicBool::new(false);
    // Also if an assertion fails, or the other thread would run for ever.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for &which in &available {
                    use_instructions(which).unwrap();
                    thread::yield_now();
                }
            }
        });
        for (name, shapes, operation) in OPERATIONS {
            let tolerance = if name.contains("rounded") { 0.05 } else { 1e-3 };
            let exact = {
                let leaves = leaves(shapes);
                gradients(&operation(&leaves), &leaves)
            };
            for _ in 0..40 {
                let leaves = leaves(shapes);
                for (a, b) in gradients(&operation(&leaves), &leaves).iter().zip(&exact) {
                    let scale = b.abs().max().double_value(&[]).max(1.0);
                    let apart = (a - b).abs().max().double_value(&[]);
                    assert!(apart <= tolerance * scale, "{name}: {apart} of {scale}");
                }
            }
        }
    });
}
