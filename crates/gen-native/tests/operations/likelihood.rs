//! Fused likelihoods, beside the formula in double precision.

use crate::shared::reference;
use gen_native::{Generator, Instructions, batch_innermost, discretised_logistic, use_instructions};
use tch::{Device, Kind, Tensor};

const HALF: f64 = 1.0 / 255.0;

fn bytes(shape: &[i64]) -> Tensor {
    let x = Generator::seeded(1).randint(0, 256, shape, (Kind::Float, Device::Cpu));
    // More outermost bins than by chance.
    (x * 1.3 - 38.0).clamp(0.0, 255.0).round() / 127.5 - 1.0
}

#[test]
fn the_logistic_mass_of_bytes_and_its_gradients() {
    let rng = Generator::seeded(2);
    for shape in [[37, 1, 5, 5], [64, 3, 4, 7], [3, 1, 1, 1], [130, 2, 1, 3]] {
        for scale in [-7.0f32, -3.0, 0.5] {
            for innermost in [false, true] {
                let x = bytes(&shape);
                let mean = &x + rng.randn_like(&x) * 0.3;
                let (x, mean) = match innermost {
                    true => (batch_innermost(&x).unwrap(), batch_innermost(&mean).unwrap()),
                    false => (x, mean),
                };
                for which in [Instructions::Avx512, Instructions::Avx2, Instructions::Portable] {
                    if use_instructions(which).unwrap() {
                        check(&mean, scale, &x);
                    }
                }
                assert!(use_instructions(Instructions::Best).unwrap());
                if works() {
                    check(&mean, scale, &x);
                }
            }
        }
    }
}

/// Whether there are loops: always, unless `GEN_INSTRUCTIONS` leaves everything to libtorch.
fn works() -> bool {
    let works = use_instructions(Instructions::Portable).unwrap();
    assert!(use_instructions(Instructions::Best).unwrap());
    works
}

#[track_caller]
fn check(mean: &Tensor, scale: f32, x: &Tensor) {
    let run = |kind: Kind, log_prob: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor| {
        let mean = mean.to_kind(kind).detach().set_requires_grad(true);
        let scale = Tensor::from_slice(&[scale]).to_kind(kind).set_requires_grad(true);
        let y = log_prob(&mean, &scale, &x.to_kind(kind));
        let weights = Tensor::arange(y.numel() as i64, (kind, Device::Cpu)) + 1.0;
        let loss = (&y * weights).sum(kind);
        let first = Tensor::run_backward(&[&loss], &[&mean, &scale], true, true);
        let penalty = first[0].square().sum(kind) + first[1].square().sum(kind);
        let second = Tensor::run_backward(&[penalty], &[&mean, &scale], false, false);
        [vec![y.detach()], first, second].into_iter().flatten().collect::<Vec<_>>()
    };
    let ours = run(Kind::Float, &|m, s, x| discretised_logistic(m, s, x, HALF).unwrap().unwrap());
    let theirs = run(Kind::Double, &|m, s, x| reference::logistic(m, s, x, HALF));
    for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        // Sums that cancel keep the errors of their terms.
        let size = b.abs().max().double_value(&[]).max(1.0);
        let difference = (a.to_kind(Kind::Double) - b).abs().max().double_value(&[]) / size;
        assert!(difference < 2e-5, "result {i} of {:?} differs by {difference} of {size}", x.size());
    }
}

/// If σ(a) is almost 1, (1 − σ(a)) σ(a) must be computed from σ(−a).
#[test]
fn second_derivatives_keep_their_digits_in_both_tails() {
    if !works() {
        return;
    }
    let x = Tensor::from_slice(&[0.2f32]);
    let run = |mean: f32, kind: Kind, log_prob: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor| {
        let mean = Tensor::from_slice(&[mean]).to_kind(kind).set_requires_grad(true);
        let scale = Tensor::from_slice(&[-5f32]).to_kind(kind);
        let y = log_prob(&mean, &scale, &x.to_kind(kind));
        let first = Tensor::run_backward(&[y], &[&mean], true, true);
        Tensor::run_backward(&[&first[0]], &[&mean], false, false)[0].double_value(&[0])
    };
    for mean in [0.05, 0.1, 0.18, 0.22, 0.3, 0.35] {
        let ours = run(mean, Kind::Float, &|m, s, x| discretised_logistic(m, s, x, HALF).unwrap().unwrap());
        let theirs = run(mean, Kind::Double, &|m, s, x| reference::logistic(m, s, x, HALF));
        assert!((ours / theirs - 1.0).abs() < 1e-4, "mean {mean}: {ours}, expected {theirs}");
    }
}

#[test]
fn no_number_stays_no_number_and_the_rest_stays_finite() {
    let x = bytes(&[32, 1, 2, 2]);
    let scale = Tensor::from_slice(&[-7.0f32]);
    let far = discretised_logistic(&(&x + 1e6), &scale, &x, HALF).unwrap();
    assert_eq!(far.is_some(), works());
    let Some(far) = far else { return };
    assert!(bool::try_from(far.isfinite().all()).unwrap());
    let nan = discretised_logistic(&(&x * f64::NAN), &scale, &x, HALF).unwrap().unwrap();
    assert!(bool::try_from(nan.isnan().all()).unwrap());
}

#[test]
fn other_arguments_are_left_to_the_caller() {
    let x = bytes(&[32, 1, 2, 2]);
    let scale = Tensor::from_slice(&[-7.0f32]);
    let mut others = vec![(x.to_kind(Kind::Double), scale.shallow_clone(), x.to_kind(Kind::Double))];
    others.push((x.shallow_clone(), x.shallow_clone(), x.shallow_clone()));
    others.push((batch_innermost(&x).unwrap(), scale, x));
    for (mean, scale, x) in others {
        assert!(discretised_logistic(&mean, &scale, &x, HALF).unwrap().is_none());
    }
}
