//! What C++ does comes back as values or errors, never as an exception.

#![allow(clippy::unwrap_used)]

use std::panic::catch_unwind;

use gen_native::{
    AdamStep, Autocast, AutocastDevice, MatmulPrecision, adam_step, global_norm, lerp, mkl,
    set_matmul_precision,
};
use tch::{Device, Kind, Tensor};

gen_native::mkl_on_amd!();

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn column(values: &[f64]) -> Tensor {
    Tensor::from_slice(values)
}

#[test]
fn the_norm_is_of_all_entries_together() {
    let list = [column(&[3.0, 0.0]), Tensor::new(), column(&[4.0]).view([1, 1])];
    assert_eq!(global_norm(&list).unwrap().double_value(&[]), 5.0);
    assert!(global_norm(&[Tensor::new()]).unwrap_err().to_string().contains("no tensor has a gradient"));
}

#[test]
fn lerp_goes_part_of_the_way() {
    let start = [column(&[0.0, 1.0]), column(&[2.0])];
    lerp(&start, &[column(&[1.0, 1.0]), column(&[4.0])], 0.25).unwrap();
    assert_eq!(start[0], column(&[0.25, 1.0]));
    assert_eq!(start[1], column(&[2.5]));
}

const SETTINGS: AdamStep =
    AdamStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 };

#[test]
fn exceptions_are_errors() {
    let wrong = lerp(&[column(&[0.0, 1.0])], &[column(&[0.0, 1.0, 2.0])], 0.5).unwrap_err().to_string();
    assert!(wrong.contains("size"), "{wrong}");
    assert!(
        lerp(&[column(&[0.0])], &[], 0.5).unwrap_err().to_string().contains("1 tensors cannot move to 0")
    );
    let step = Tensor::ones([], FLOAT);
    let adam = |gradient: Tensor, step: &Tensor| {
        let (p, m, v) = (Tensor::zeros([2], DOUBLE), Tensor::zeros([2], DOUBLE), Tensor::zeros([2], DOUBLE));
        adam_step(&[p], &[gradient], &[m], &[v], step, None, SETTINGS).map_err(|error| error.to_string())
    };
    assert!(adam(Tensor::ones([2], DOUBLE), &step).is_ok());
    assert!(adam(Tensor::ones([3], DOUBLE), &step).unwrap_err().contains("shape"));
    assert!(adam(Tensor::ones([2], FLOAT), &step).unwrap_err().contains("kind"));
    assert!(adam(Tensor::ones([2], DOUBLE), &Tensor::ones([], DOUBLE)).unwrap_err().contains("scalars"));
}

/// Kingma & Ba (2015), algorithm 1, written out for one entry.
#[test]
fn adam_is_the_papers_also_for_gradients_that_lie_otherwise() {
    let p = Tensor::zeros([3, 2], DOUBLE);
    let (m, v) = (p.zeros_like(), p.zeros_like());
    let gradient = Tensor::arange(6, DOUBLE).view([2, 3]).tr();
    let scale = Tensor::from(2.0f32);
    for t in 1..=3 {
        let step = Tensor::from(t as f32);
        let (p, m, v) = (p.shallow_clone(), m.shallow_clone(), v.shallow_clone());
        adam_step(&[p], &[gradient.copy()], &[m], &[v], &step, Some(&scale), SETTINGS).unwrap();
    }
    let (mut mean, mut square, mut x) = (0.0f64, 0.0f64, 0.0f64);
    let g = gradient.double_value(&[2, 1]) / 2.0;
    for t in 1..=3 {
        mean = 0.9 * mean + 0.1 * g;
        square = 0.99 * square + 0.01 * g * g;
        let (m_hat, v_hat) = (mean / (1.0 - 0.9f64.powi(t)), square / (1.0 - 0.99f64.powi(t)));
        x -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
    }
    assert!((p.double_value(&[2, 1]) - x).abs() < 1e-9, "{} against {x}", p.double_value(&[2, 1]));
    assert!((m.double_value(&[2, 1]) - mean).abs() < 1e-9);
}

#[test]
fn autocast_ends_also_by_a_panic() {
    let x = Tensor::ones([2, 2], FLOAT);
    let product = || x.matmul(&x).kind();
    let panicked = catch_unwind(|| {
        let _outer = Autocast::bfloat16(AutocastDevice::Cpu).unwrap();
        let x = Tensor::ones([2, 2], FLOAT);
        assert_eq!(x.matmul(&x).kind(), Kind::BFloat16);
        panic!("in the middle");
    });
    assert!(panicked.is_err());
    assert_eq!(product(), Kind::Float);
    let outer = Autocast::bfloat16(AutocastDevice::Cpu).unwrap();
    drop(Autocast::bfloat16(AutocastDevice::Cpu).unwrap());
    assert_eq!(product(), Kind::BFloat16, "the inner region leaves the outer as it was");
    drop(outer);
    assert_eq!(product(), Kind::Float);
}

#[test]
fn products_are_right_at_every_precision_but_the_lowest() {
    for precision in [MatmulPrecision::Medium, MatmulPrecision::High, MatmulPrecision::Highest] {
        set_matmul_precision(precision).unwrap();
    }
    assert!(mkl::check() < 1e-5, "{}", mkl::check());
}
