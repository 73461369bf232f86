//! Properties of schedules, objectives and samplers that hold whatever the numbers.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gen_core::testing::{assert_close, assert_close_f64, assert_gradient};
use gen_diffusion::objective::Objective;
use gen_diffusion::prediction::{EdmScaling, Prediction};
use gen_diffusion::samplers::{Variance, ancestral, ddim};
use gen_diffusion::scales::Scales;
use gen_diffusion::schedule::{DiscreteVp, Level, NoiseSchedule, Posterior, Spacing};
use gen_diffusion::weighting::Weighting;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

/// libtorch has one generator for all threads: tests that draw from it take turns.
fn seeded() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(0);
    guard
}

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);
const SCHEDULES: [NoiseSchedule; 2] = [NoiseSchedule::Linear, NoiseSchedule::Cosine];
const SPACINGS: [Spacing; 3] = [Spacing::Trailing, Spacing::Leading, Spacing::Linspace];
const PREDICTIONS: [Prediction; 5] = [
    Prediction::Epsilon,
    Prediction::Sample,
    Prediction::V,
    Prediction::Velocity,
    Prediction::Edm(EdmScaling { sigma_data: 0.7 }),
];

fn process(schedule: NoiseSchedule, timesteps: usize) -> DiscreteVp {
    DiscreteVp::new(schedule, timesteps).unwrap()
}

fn levels(process: &DiscreteVp, spacing: Spacing, steps: usize) -> Vec<Level> {
    process.levels(&spacing.timesteps(process.timesteps(), steps).unwrap())
}

/// Data N(MEAN, STD²), for which the best denoiser is known.
const MEAN: f64 = 0.3;
const STD: f64 = 0.5;

fn marginal_std(level: &Level) -> f64 {
    (level.alpha * STD).hypot(level.sigma)
}

fn exact(x: &Tensor, level: &Level) -> Tensor {
    let gain = level.alpha * STD.powi(2) / marginal_std(level).powi(2);
    (x - level.alpha * MEAN) * gain + MEAN
}

#[test]
fn a_schedule_goes_from_data_to_noise() {
    for schedule in SCHEDULES {
        for timesteps in [1, 2, 10, 1000, 4000] {
            let process = process(schedule, timesteps);
            assert!(process.betas().iter().all(|beta| *beta > 0.0 && *beta <= 0.999));
            assert!(process.alphas_cumprod().windows(2).all(|pair| pair[1] < pair[0]));
            let snr: Vec<f64> = (0..timesteps).map(|t| process.level(t).snr()).collect();
            assert!(snr.iter().all(|snr| snr.is_finite()) && snr.windows(2).all(|pair| pair[1] < pair[0]));
        }
        assert!(process(schedule, 1000).level(999).snr() < 1e-4);
    }
    assert!(DiscreteVp::new(NoiseSchedule::Cosine, 0).is_err());
    assert!(DiscreteVp::from_betas(vec![0.1, 1.0]).is_err());
}

#[test]
fn the_time_means_the_same_for_any_number_of_timesteps() {
    let (coarse, fine) = (process(NoiseSchedule::Cosine, 250), process(NoiseSchedule::Cosine, 4000));
    assert_eq!(coarse.level(125).time, 500.0);
    assert_eq!(fine.level(2000).time, 500.0);
    assert_eq!(process(NoiseSchedule::Linear, 1000).level(999).time, 999.0);
}

#[test]
fn impossible_numbers_of_steps_are_refused() {
    for steps in [0, 1001] {
        let error = Spacing::Trailing.timesteps(1000, steps).unwrap_err().to_string();
        assert!(error.contains("1 to 1000 steps") && error.ends_with(&format!("found {steps}")), "{error}");
    }
}

proptest! {
    #[test]
    fn timesteps_descend_within_the_process(timesteps in 1usize..1200, part in 0.0f64..1.0) {
        let steps = 1 + (part * (timesteps - 1) as f64) as usize;
        for spacing in SPACINGS {
            let list = spacing.timesteps(timesteps, steps).unwrap();
            prop_assert_eq!(list.len(), steps);
            prop_assert!(list[0] < timesteps && list.windows(2).all(|pair| pair[1] < pair[0]));
        }
        // The last timestep is where sampling starts, for any number of steps.
        prop_assert_eq!(Spacing::Trailing.timesteps(timesteps, steps).unwrap()[0], timesteps - 1);
    }

    /// q(x_t | x_0) is the same through x_s as directly, for any two levels.
    #[test]
    fn posteriors_are_consistent_with_the_process(a in 0usize..999, b in 0usize..999) {
        prop_assume!(a != b);
        for schedule in SCHEDULES {
            let process = process(schedule, 1000);
            let (to, from) = (process.level(a.min(b)), process.level(a.max(b)));
            let posterior = Posterior::between(&from, &to);
            let mean = posterior.coef_x0 + posterior.coef_xt * from.alpha;
            let variance = posterior.variance + (posterior.coef_xt * from.sigma).powi(2);
            assert_close_f64(mean, to.alpha, 1e-9, 0.0);
            assert_close_f64(variance, to.sigma.powi(2), 1e-9, 0.0);
        }
    }
}

#[test]
fn predictions_agree() {
    let (x0, noise) = (Tensor::from_slice(&[-0.9, 0.1, 0.8]), Tensor::from_slice(&[1.2, -0.4, 0.3]));
    for schedule in SCHEDULES {
        for t in [0, 1, 500, 998] {
            let scales = Scales::of(&process(schedule, 1000).level(t), &x0);
            let x = scales.diffuse(&x0, &noise);
            for prediction in PREDICTIONS {
                let output = prediction.target(&x0, &noise, &scales);
                assert_close(&prediction.x0(&output, &x, &scales), &x0, 1e-9, 1e-9);
            }
        }
    }
}

/// Weighted for its prediction, every network has the same loss for the same error of x_0.
#[test]
fn weights_agree_between_predictions() {
    let process = process(NoiseSchedule::Cosine, 1000);
    let (x0, noise) = (Tensor::from_slice(&[0.4, -0.7]).view([1, 2]), Tensor::from_slice(&[0.3, 1.1]).view([1, 2]));
    let wrong = &x0 + 0.25;
    for t in [3, 300, 900] {
        let level = process.level(t);
        let scales = Scales::of(&level, &x0);
        let x = scales.diffuse(&x0, &noise);
        for prediction in PREDICTIONS {
            let network = |input: &Tensor, _: &Tensor| {
                assert_close(input, &prediction.input(&x, &scales), 1e-12, 0.0);
                let epsilon = (&x - &wrong * &scales.alpha) / &scales.sigma;
                prediction.target(&wrong, &epsilon, &scales)
            };
            let weighting = Weighting::Edm(EdmScaling { sigma_data: 0.5 });
            let loss = Objective { prediction, weighting }.loss(network, &x0, &noise, &[level]);
            assert_close_f64(loss.double_value(&[0]), (level.snr() + 4.0) * 0.0625, 1e-9, 0.0);
        }
    }
}

#[test]
fn gradients_of_the_loss() {
    let process = process(NoiseSchedule::Cosine, 100);
    let x0 = Tensor::from_slice(&[0.4, -0.7, 0.2, 0.9, -0.1, 0.5]).view([3, 2]);
    let noise = Tensor::from_slice(&[0.3, 1.1, -0.8, 0.2, -1.4, 0.6]).view([3, 2]);
    let levels = [0, 40, 99].map(|t| process.level(t));
    let parameters = Tensor::from_slice(&[0.7, -0.3, 0.2, 0.5, -0.6, 0.1]).view([3, 2]);
    for prediction in PREDICTIONS {
        for weighting in [Weighting::Uniform, Weighting::Edm(EdmScaling { sigma_data: 0.5 })] {
            let objective = Objective { prediction, weighting };
            let loss = |w: &Tensor| {
                let network = |x: &Tensor, time: &Tensor| {
                    let hidden = x.matmul(&w.narrow(0, 0, 2)) + time.unsqueeze(1) * 1e-3;
                    hidden.tanh() * w.narrow(0, 2, 1)
                };
                objective.loss(network, &x0, &noise, &levels).sum(Kind::Double)
            };
            assert_gradient(loss, &parameters, 1e-7);
        }
    }
}

#[test]
fn epsilon_without_weights_is_l_simple() {
    let process = process(NoiseSchedule::Linear, 1000);
    let objective = Objective { prediction: Prediction::Epsilon, weighting: Weighting::Uniform };
    let (x0, noise) = (Tensor::zeros([2, 3], F64), Tensor::ones([2, 3], F64));
    let levels = [0, 999].map(|t| process.level(t));
    let loss = objective.loss(|x, _| x.full_like(3.0), &x0, &noise, &levels);
    assert_close(&loss, &Tensor::from_slice(&[4.0, 4.0]), 1e-12, 0.0);
}

/// Every number of steps works, ends without noise, and evaluates the network once a step.
#[test]
fn any_number_of_steps() {
    for schedule in SCHEDULES {
        let process = process(schedule, 1000);
        for spacing in SPACINGS {
            for steps in [1, 2, 3, 999, 1000] {
                let levels = levels(&process, spacing, steps);
                let x = || Tensor::linspace(-2.0, 2.0, 5, F64);
                let (evaluated, drawn) = (RefCell::new(0), RefCell::new(0));
                let denoise = |x: &Tensor, level: &Level| {
                    *evaluated.borrow_mut() += 1;
                    assert!(level.sigma > 0.0);
                    exact(x, level)
                };
                let noise = |x: &Tensor| {
                    *drawn.borrow_mut() += 1;
                    x.ones_like()
                };
                for variance in [Variance::FixedSmall, Variance::FixedLarge] {
                    let _before = (evaluated.replace(0), drawn.replace(0));
                    let sample = ancestral(denoise, x(), &levels, variance, noise);
                    assert!(bool::try_from(sample.isfinite().all()).unwrap());
                    assert_eq!((*evaluated.borrow(), *drawn.borrow()), (steps, steps - 1));
                }
                for (eta, draws) in [(0.0, 0), (1.0, steps - 1)] {
                    let _before = (evaluated.replace(0), drawn.replace(0));
                    let sample = ddim(denoise, x(), &levels, eta, noise);
                    assert!(bool::try_from(sample.isfinite().all()).unwrap());
                    assert_eq!((*evaluated.borrow(), *drawn.borrow()), (steps, draws));
                }
            }
        }
    }
}

#[test]
fn ancestral_is_ddim_with_eta_one() {
    for schedule in SCHEDULES {
        for steps in [3, 10, 1000] {
            let levels = levels(&process(schedule, 1000), Spacing::Trailing, steps);
            let x = Tensor::linspace(-2.0, 2.0, 5, F64);
            let noise = || {
                let mut k = 0.0;
                move |x: &Tensor| {
                    k += 1.3;
                    (x.ones_like().cumsum(0, Kind::Double) + k).sin()
                }
            };
            let a = ancestral(exact, x.copy(), &levels, Variance::FixedSmall, noise());
            let b = ddim(exact, x, &levels, 1.0, noise());
            assert_close(&a, &b, 1e-9, 1e-9);
        }
    }
}

/// With the exact denoiser DDIM solves an equation whose solution is known: x keeps its place in the marginal, in
/// standard deviations. The error falls with the number of steps.
#[test]
fn ddim_reaches_the_endpoint_of_a_gaussian() {
    for schedule in SCHEDULES {
        let process = process(schedule, 1000);
        let x = Tensor::linspace(-2.5, 2.5, 11, F64);
        let start = process.level(999);
        let expected = (&x - start.alpha * MEAN) / marginal_std(&start) * STD + MEAN;
        let error = |steps: usize| {
            let levels = levels(&process, Spacing::Trailing, steps);
            let silent = |_: &Tensor| -> Tensor { panic!("eta 0 draws no noise") };
            let end = ddim(exact, x.copy(), &levels, 0.0, silent);
            (end - &expected).abs().max().double_value(&[])
        };
        let (coarse, middle, fine) = (error(20), error(100), error(500));
        assert!(fine < 0.01, "{schedule:?}: {fine}");
        // First order: five times the steps, about a fifth of the error.
        assert!(middle < coarse / 3.5 && fine < middle / 3.5, "{schedule:?}: {coarse} {middle} {fine}");
    }
}

/// With the exact denoiser every step is linear and Gaussian, so mean and variance of the samples are known.
#[test]
fn stochastic_sampling_has_the_right_spread() {
    let _generator = seeded();
    let process = process(NoiseSchedule::Cosine, 1000);
    let levels = levels(&process, Spacing::Trailing, 250);
    for variance in [Variance::FixedSmall, Variance::FixedLarge] {
        let (mut mean, mut spread) = (0.0, 1.0);
        for pair in levels.windows(2) {
            let posterior = Posterior::between(&pair[0], &pair[1]);
            let gain = pair[0].alpha * (STD / marginal_std(&pair[0])).powi(2);
            let factor = posterior.coef_xt + posterior.coef_x0 * gain;
            mean = factor * mean + posterior.coef_x0 * (1.0 - gain * pair[0].alpha) * MEAN;
            let added = if pair[1].sigma > 0.0 { variance.of(&posterior) } else { 0.0 };
            spread = factor.powi(2) * spread + added;
        }
        assert_close_f64(mean, MEAN, 0.0, 0.01);
        assert_close_f64(spread.sqrt(), STD, 0.1, 0.0);
        let x = ancestral(exact, Tensor::randn([40_000], F64), &levels, variance, Tensor::randn_like);
        // Five standard errors.
        assert_close_f64(x.mean(Kind::Double).double_value(&[]), mean, 0.0, 0.0125);
        assert_close_f64(x.std(true).double_value(&[]), spread.sqrt(), 0.0, 0.009);
    }
}

/// DDIM with a clipped estimate of x_0, written out for one number: ε follows from the clipped estimate.
#[test]
fn clipping_changes_epsilon_too() {
    let process = process(NoiseSchedule::Linear, 1000);
    let levels = levels(&process, Spacing::Trailing, 7);
    let network = |x: f64, level: &Level| x * (level.time + 1.0) / 1001.0;
    let mut expected = -1.5;
    for pair in levels.windows(2) {
        let x0 = (expected - pair[0].sigma * network(expected, &pair[0])) / pair[0].alpha;
        let x0 = x0.clamp(-1.0, 1.0);
        let epsilon = (expected - pair[0].alpha * x0) / pair[0].sigma;
        expected = pair[1].alpha * x0 + pair[1].sigma * epsilon;
    }
    let denoise = |x: &Tensor, level: &Level| {
        let output = x * ((level.time + 1.0) / 1001.0);
        Prediction::Epsilon.x0(&output, x, &Scales::of(level, x)).clamp(-1.0, 1.0)
    };
    let x = ddim(denoise, Tensor::from_slice(&[-1.5]), &levels, 0.0, Tensor::randn_like);
    assert_close_f64(x.double_value(&[0]), expected, 1e-9, 0.0);
    assert!(expected.abs() <= 1.0);
}
