//! Results and exceptions of C++ arrive as values and errors.

use std::panic::catch_unwind;

use gen_native::{
    AdamStep, Autocast, AutocastDevice, MatmulPrecision, adam_step, global_norm, lerp, mkl, set_matmul_precision,
    without_numbers,
};
use tch::{Device, Kind, Tensor};

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

const SETTINGS: AdamStep = AdamStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 };

#[test]
fn exceptions_are_errors() {
    let wrong = lerp(&[column(&[0.0, 1.0])], &[column(&[0.0, 1.0, 2.0])], 0.5).unwrap_err().to_string();
    assert!(wrong.contains("size"), "{wrong}");
    assert!(lerp(&[column(&[0.0])], &[], 0.5).unwrap_err().to_string().contains("1 tensors cannot move to 0"));
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

/// Algorithm 1 of Kingma & Ba (2015) for one entry.
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

/// Parameters, moments and gradients of several layouts, beside contiguous ones.
#[test]
fn adam_is_the_same_however_tensors_lie() {
    let numbers = |shape: &[i64], first: f64| {
        let n = shape.iter().product::<i64>();
        ((Tensor::arange(n, DOUBLE) + first) * 0.7).sin().view(shape)
    };
    type Lay = fn(&Tensor) -> Tensor;
    let lays: [Lay; 4] = [
        Tensor::copy,
        |x| x.tr().contiguous().tr(),
        |x| {
            let mut some = Tensor::full([4, 9], 7.0, DOUBLE).narrow(1, 2, 5);
            some.copy_(x);
            some
        },
        |x| {
            let mut some = Tensor::full([8, 5], 7.0, DOUBLE).slice(0, 1, 8, 2);
            some.copy_(x);
            some
        },
    ];
    let given = [0.0, 3.0, 5.0, 8.0].map(|first| numbers(&[4, 5], first));
    let step = Tensor::from(2.0f32);
    let run = |lays: [Lay; 4]| {
        let mut x: Vec<Tensor> = given.iter().zip(lays).map(|(x, lay)| lay(x)).collect();
        x[3] = lays[3](&given[3].square());
        let list = |i: usize| [x[i].shallow_clone()];
        adam_step(&list(0), &list(1), &list(2), &list(3), &step, None, SETTINGS).unwrap();
        x
    };
    let expected = run([lays[0]; 4]);
    for a in lays {
        for b in lays {
            for c in lays {
                let found = run([a, b, c, lays[1]]);
                for i in [0, 2, 3] {
                    assert!(found[i].allclose(&expected[i], 1e-12, 1e-12, false));
                }
            }
        }
    }
}

/// Memory that would be written twice, or read after it is written, is refused, and nothing changes.
#[test]
fn adam_refuses_tensors_that_share_memory() {
    let fresh = || Tensor::ones([3, 2], DOUBLE);
    let step = Tensor::from(1.0f32);
    let run = |p: &[Tensor], g: &[Tensor], m: &[Tensor], v: &[Tensor]| {
        adam_step(p, g, m, v, &step, None, SETTINGS).map_err(|error| error.to_string())
    };
    let expanded = || Tensor::ones([1, 2], DOUBLE).expand([3, 2], false);
    let refused = |p: Tensor, g: Tensor, m: Tensor, v: Tensor| {
        let before = [&p, &m, &v].map(Tensor::copy);
        let message = run(&[p.shallow_clone()], &[g], &[m.shallow_clone()], &[v.shallow_clone()]).unwrap_err();
        assert!(message.contains("share"), "{message}");
        assert!([&p, &m, &v].iter().zip(&before).all(|(a, b)| *a == b));
    };
    refused(expanded(), fresh(), fresh(), fresh());
    refused(fresh(), fresh(), expanded(), fresh());
    refused(fresh(), fresh(), fresh(), expanded());
    let p = fresh();
    refused(p.shallow_clone(), p.shallow_clone(), fresh(), fresh());
    refused(p.shallow_clone(), fresh(), p.shallow_clone(), fresh());
    let m = fresh();
    refused(fresh(), fresh(), m.shallow_clone(), m);
    let overlapping = Tensor::ones([8], DOUBLE).as_strided([3, 2], [1, 1], 0);
    refused(overlapping, fresh(), fresh(), fresh());
    let list = [p.shallow_clone(), p.shallow_clone()];
    let two = || [fresh(), fresh()];
    assert!(run(&list, &two(), &two(), &two()).unwrap_err().contains("share"));
    // An expanded gradient is only read, and columns of one matrix have nothing in common.
    assert!(run(&[fresh()], &[expanded()], &[fresh()], &[fresh()]).is_ok());
    let matrix = Tensor::ones([3, 4], DOUBLE);
    let halves = || [matrix.narrow(1, 0, 2), matrix.narrow(1, 2, 2)];
    assert!(run(&halves(), &two(), &two(), &two()).is_ok());
    assert_eq!(matrix.std(false).double_value(&[]), 0.0);
    let message = lerp(&[expanded()], &[fresh()], 0.5).unwrap_err().to_string();
    assert!(message.contains("share"), "{message}");
}

#[test]
fn adam_refuses_tensors_of_different_devices() {
    let here = || Tensor::ones([2], DOUBLE);
    let there = || without_numbers(&here()).unwrap();
    let one = Tensor::from(1.0f32);
    let run = |p: Tensor, g: Tensor, step: &Tensor, scale: Option<&Tensor>| {
        let (m, v) = (p.zeros_like(), p.zeros_like());
        adam_step(&[p], &[g], &[m], &[v], step, scale, SETTINGS)
    };
    assert!(run(here(), here(), &one, None).is_ok());
    assert!(run(here(), there(), &one, None).is_err());
    assert!(run(here(), here(), &without_numbers(&one).unwrap(), None).is_err());
    assert!(run(here(), here(), &one, Some(&without_numbers(&one).unwrap())).is_err());
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
