//! What holds of every process: levels, samplers, bound and probability flow, with the exact denoiser of a Gaussian.

use gen_core::rng::Generator;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_diffusion::bound::{ContinuousBound, Decoder};
use gen_diffusion::ode::{Divergence, log_density};
use gen_diffusion::prediction::{EdmScaling, Prediction};
use gen_diffusion::samplers::{Variance, ancestral, ddim, euler, heun};
use gen_diffusion::scales::Scales;
use gen_diffusion::schedule::{
    CosineVp, DiscreteVp, Level, LinearVp, NoiseSchedule, Process, ProcessConfig, RectifiedFlow, SigmaRange, Spacing,
    VarianceExploding,
};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Data N(MEAN, STD²), for which the best denoiser is known.
const MEAN: f64 = 0.3;
const STD: f64 = 0.5;

fn processes() -> Vec<(&'static str, Box<dyn Process>)> {
    vec![
        ("cosine in timesteps", Box::new(DiscreteVp::new(NoiseSchedule::Cosine, 1000).unwrap())),
        ("linear in timesteps", Box::new(DiscreteVp::new(NoiseSchedule::Linear, 1000).unwrap())),
        ("cosine", Box::new(CosineVp)),
        ("linear", Box::new(LinearVp)),
        ("rectified flow", Box::new(RectifiedFlow)),
        ("edm", Box::new(VarianceExploding::new(SigmaRange::default()).unwrap())),
    ]
}

fn marginal_std(level: &Level) -> f64 {
    (level.alpha * STD).hypot(level.sigma)
}

fn exact(x: &Tensor, level: &Level) -> Tensor {
    exact_of_rows(x, &Scales::of(level, x))
}

fn exact_of_rows(x: &Tensor, scales: &Scales) -> Tensor {
    let variance = (&scales.alpha * STD).square() + scales.sigma.square();
    (x - &scales.alpha * MEAN) * &scales.alpha * STD.powi(2) / variance + MEAN
}

#[test]
fn noise_grows_with_time_and_a_ratio_leads_back_to_its_level() {
    for (name, process) in processes() {
        let levels: Vec<Level> = (0..=1000).map(|i| process.at(f64::from(i) / 1000.0)).collect();
        assert!(levels[0].sigma > 0.0 && levels[0].snr().is_finite() && levels[0].snr() > 500.0, "{name}");
        assert!(levels[1000].snr() < 1e-3, "{name}");
        for pair in levels.windows(2) {
            assert!(pair[1].snr() < pair[0].snr() || pair[0] == pair[1], "{name}: {pair:?}");
            assert!(pair[1].time > pair[0].time || pair[0] == pair[1], "{name}: {pair:?}");
        }
        for level in &levels {
            let found = process.at_log_snr(level.log_snr());
            assert_close_f64(found.alpha, level.alpha, 1e-9, 1e-9);
            assert_close_f64(found.sigma, level.sigma, 1e-9, 1e-9);
            assert_close_f64(found.time, level.time, 1e-6, 1e-6);
        }
    }
}

#[test]
fn the_linear_process_is_the_limit_of_its_timesteps() {
    let fine = DiscreteVp::new(NoiseSchedule::Linear, 100_000).unwrap();
    for t in [1_000, 30_000, 99_999] {
        let limit = LinearVp.at((t as f64 + 1.0) / 100_000.0);
        assert_close_f64(fine.level(t).log_snr(), limit.log_snr(), 2e-3, 2e-3);
    }
}

#[test]
fn every_spacing_descends_to_no_noise() {
    for (name, process) in processes() {
        for spacing in [Spacing::Trailing, Spacing::Leading, Spacing::Linspace, Spacing::Karras] {
            for steps in [1, 2, 7, 1000] {
                let levels = match spacing.levels(&*process, steps) {
                    Ok(levels) => levels,
                    // No σ/α is the largest of a process without signal at its end.
                    Err(error) => {
                        assert!(spacing == Spacing::Karras && process.at(1.0).alpha == 0.0, "{error}");
                        continue;
                    }
                };
                assert_eq!((levels.len(), levels[steps]), (steps + 1, Level::CLEAN));
                assert!(levels.windows(2).all(|pair| pair[1].sigma / pair[1].alpha < pair[0].sigma / pair[0].alpha));
                assert!(levels[..steps].iter().all(|level| level.sigma > 0.0));
            }
            assert!(spacing.levels(&*process, 0).is_err(), "{name} {spacing:?}");
        }
    }
}

/// The flow keeps the place of x in the marginal, in standard deviations. Euler's error falls with the number of steps,
/// Heun's with its square.
#[test]
fn deterministic_samplers_solve_the_flow_of_every_process() {
    for (name, process) in processes() {
        let x = Tensor::linspace(-2.5, 2.5, 11, F64);
        let error = |steps: usize, sampler: &dyn Fn(Tensor, &[Level]) -> Tensor| {
            // To a level with noise, as the last step is Euler's for both.
            let mut levels = Spacing::Linspace.levels(&*process, steps).unwrap();
            levels.truncate(steps);
            let levels = &levels[levels.iter().position(|level| level.log_snr() > -9.0).unwrap()..];
            let levels = &levels[..levels.iter().position(|level| level.log_snr() > 9.0).unwrap_or(levels.len())];
            let (first, last) = (&levels[0], &levels[levels.len() - 1]);
            let start = &x * marginal_std(first) + first.alpha * MEAN;
            let expected = &x * marginal_std(last) + last.alpha * MEAN;
            (sampler(start, levels) - expected).abs().max().double_value(&[])
        };
        let of_euler = |x: Tensor, levels: &[Level]| euler(exact, x, levels);
        let of_heun = |x: Tensor, levels: &[Level]| heun(exact, x, levels);
        let [coarse, fine] = [100, 400].map(|steps| error(steps, &of_euler));
        assert!(fine < coarse / 3.0, "{name}: {coarse} {fine}");
        let [coarse, fine, finest] = [100, 400, 1000].map(|steps| error(steps, &of_heun));
        assert!(fine < coarse / 10.0 && finest < 1e-3, "{name}: {coarse} {fine} {finest}");
    }
}

#[test]
fn euler_is_ddim_without_noise() {
    for (name, process) in processes() {
        let levels = Spacing::Trailing.levels(&*process, 9).unwrap();
        let x = Tensor::linspace(-2.0, 2.0, 5, F64) * levels[0].spread();
        let silent = |_: &Tensor| -> Tensor { panic!("eta 0 draws no noise") };
        assert_eq!(euler(exact, x.copy(), &levels), ddim(exact, x, &levels, 0.0, silent), "{name}");
    }
}

#[test]
fn random_samplers_have_the_distribution_of_the_data_on_every_process() {
    let rng = Generator::seeded(0);
    for (name, process) in processes() {
        let levels = Spacing::Trailing.levels(&*process, 250).unwrap();
        let x = || rng.randn([20_000], F64) * levels[0].spread();
        let noise = |x: &Tensor| rng.randn_like(x);
        for (sampler, x) in [
            ("small", ancestral(exact, x(), &levels, Variance::FixedSmall, noise)),
            ("large", ancestral(exact, x(), &levels, Variance::FixedLarge, noise)),
            ("ddim", ddim(exact, x(), &levels, 0.5, noise)),
        ] {
            println!("{name} {sampler}");
            assert_close_f64(x.mean(Kind::Double).double_value(&[]), MEAN, 0.0, 0.03);
            assert_close_f64(x.std(true).double_value(&[]), STD, 0.08, 0.0);
        }
    }
}

/// The bound of a Gaussian with its exact denoiser is its entropy, and its density that of the flow.
#[test]
fn likelihoods_of_a_gaussian_are_exact_on_every_process() {
    let rng = Generator::seeded(1);
    let x = rng.randn([400, 1], F64) * STD + MEAN;
    let log_normal = |x: &Tensor, mean: f64, std: f64| {
        (((x - mean) / std).square() + std::f64::consts::TAU.ln()).view([-1]) * -0.5 - std.ln()
    };
    for (name, process) in processes() {
        println!("{name}");
        let (first, last) = (process.at(0.0), process.at(1.0));
        let flow = log_density(exact, &x, &*process, 40, Divergence::Exact, &rng).unwrap();
        // The noise of the first level stays in the density, and so does that the last state is not quite N(0, 1).
        let std = STD.hypot(first.sigma / first.alpha);
        let (last_mean, last_std) = (last.alpha * MEAN / last.spread(), marginal_std(&last) / last.spread());
        let end = (&x - MEAN) / std * last_std + last_mean;
        let mismatch = log_normal(&end, 0.0, 1.0) - log_normal(&end, last_mean, last_std);
        assert_close(&flow, &(log_normal(&x, MEAN, std) + mismatch), 0.0, 2e-4);
        let bound = ContinuousBound::new(&*process, Decoder::Gaussian).estimate(exact_of_rows, &x, 200, &rng);
        let gap = log_normal(&x, MEAN, STD) - bound;
        let (mean, error) = (gap.mean(Kind::Double).double_value(&[]), gap.std(true).double_value(&[]) / 20.0);
        assert!(error < 0.1 && mean.abs() < 4.0 * error, "{name}: {mean}, standard error {error}");
    }
}

#[test]
fn targets_of_a_preconditioned_network_have_unit_variance() {
    let rng = Generator::seeded(2);
    let prediction = Prediction::Edm(EdmScaling { sigma_data: STD });
    let (x0, noise) = (rng.randn([40_000], F64) * STD, rng.randn([40_000], F64));
    for (name, process) in processes() {
        for time in [0.0, 0.4, 1.0] {
            println!("{name} at {time}");
            let scales = Scales::of(&process.at(time), &x0);
            let target = prediction.target(&x0, &noise, &scales);
            let input = prediction.input(&scales.diffuse(&x0, &noise), &scales);
            for unit in [target, input] {
                assert_close_f64(unit.std(true).double_value(&[]), 1.0, 0.02, 0.0);
            }
        }
    }
}

#[test]
fn impossible_ranges_of_noise_are_refused() {
    let message =
        |sigma_min, sigma_max| ProcessConfig::Edm(SigmaRange { sigma_min, sigma_max }).build().unwrap_err().to_string();
    assert!(message(0.0, 1.0).contains("`process.sigma_min` must be a positive number"));
    assert!(message(2.0, 1.0).contains("must be below `process.sigma_max`"));
    assert!(message(1.0, f64::INFINITY).contains("`process.sigma_max`"));
}
