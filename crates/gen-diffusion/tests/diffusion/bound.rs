//! Variational bounds against their closed forms.

use gen_core::distributions::{DiscretisedGaussian, Gaussian};
use gen_core::rng::Generator;
use gen_core::testing::assert_close_f64;
use gen_diffusion::bound::{ContinuousBound, Decoder, VariationalBound};
use gen_diffusion::samplers::Variance;
use gen_diffusion::scales::Scales;
use gen_diffusion::schedule::{DiscreteVp, Level, NoiseSchedule, Process};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);
const SCHEDULES: [NoiseSchedule; 2] = [NoiseSchedule::Linear, NoiseSchedule::Cosine];

fn process(schedule: NoiseSchedule, timesteps: usize) -> DiscreteVp {
    DiscreteVp::new(schedule, timesteps).unwrap()
}

/// Data N(MEAN, STD²), for which everything is known.
const MEAN: f64 = 0.3;
const STD: f64 = 0.5;

fn entropy(std: f64) -> f64 {
    0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * std.powi(2)).ln()
}

/// The root mean squared error of the best denoiser of data N(MEAN, std²).
fn error(level: &Level, std: f64) -> f64 {
    (std.powi(-2) + level.snr()).recip().sqrt()
}

/// The best denoiser of data N(MEAN, STD²).
fn exact(x: &Tensor, scales: &Scales) -> Tensor {
    let variance = (&scales.alpha * STD).square() + scales.sigma.square();
    (x - &scales.alpha * MEAN) * &scales.alpha * STD.powi(2) / variance + MEAN
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// The expected discrete bound on -log p(x_0) for data N(MEAN, STD²) and its exact denoiser.
///
/// Every term is quadratic in x_0 and linear in the squared error of its estimate, so the expectation is the mean
/// over x_0 = MEAN ± STD with the expected squared error.
fn discrete(process: &DiscreteVp, variance: Variance) -> f64 {
    let bound = VariationalBound::new(process.all_levels().unwrap(), variance, Decoder::Gaussian);
    let x0 = Tensor::from_slice(&[MEAN - STD, MEAN + STD]).unsqueeze(1);
    let mut total = bound.prior(&x0);
    for t in 0..process.timesteps() {
        let level = process.level(t);
        let estimate = &x0 - error(&level, STD);
        total += match t {
            0 => bound.reconstruction(&x0, &estimate),
            t => bound.transition(&Tensor::from_slice(&[t as i64; 2]), &x0, &estimate),
        };
    }
    mean(&total)
}

/// By the same sum written out in Python's floats, from the β on.
#[test]
fn the_discrete_bound_has_its_exact_values() {
    use NoiseSchedule::{Cosine, Linear};
    use Variance::{FixedLarge, FixedSmall};
    for (schedule, timesteps, variance, expected) in [
        (Linear, 1, FixedSmall, 1.0065539178200575),
        (Linear, 2, FixedSmall, 2.2303301680330696),
        (Linear, 2, FixedLarge, 0.997256873295475),
        (Linear, 10, FixedSmall, 6.11555649826624),
        (Linear, 10, FixedLarge, 0.8475431446833893),
        (Linear, 100, FixedSmall, 1.9979918901016172),
        (Linear, 100, FixedLarge, 0.7588190619901405),
        (Linear, 1000, FixedSmall, 1.2957191002850088),
        (Linear, 1000, FixedLarge, 0.8404629196352973),
        (Cosine, 1, FixedLarge, 1.0437023535699468),
        (Cosine, 2, FixedSmall, 0.8988308126443132),
        (Cosine, 2, FixedLarge, 0.9320814806463481),
        (Cosine, 10, FixedSmall, 1.3050277397209933),
        (Cosine, 10, FixedLarge, 0.7933609499296134),
        (Cosine, 100, FixedSmall, 1.51922833058424),
        (Cosine, 100, FixedLarge, 0.7898189072876907),
        (Cosine, 1000, FixedSmall, 1.2557847737530938),
        (Cosine, 1000, FixedLarge, 0.8541640610691781),
    ] {
        println!("{schedule:?} {timesteps} {variance:?}");
        assert_close_f64(discrete(&process(schedule, timesteps), variance), expected, 1e-9, 0.0);
    }
}

#[test]
fn any_number_of_evaluations_estimates_the_discrete_bound() {
    let rng = Generator::seeded(0);
    let process = process(NoiseSchedule::Cosine, 50);
    let bound = VariationalBound::new(process.all_levels().unwrap(), Variance::FixedSmall, Decoder::Gaussian);
    let expected = discrete(&process, Variance::FixedSmall);
    let x0 = rng.randn([40_000, 1], F64) * STD + MEAN;
    for evaluations in [2, 6, 50, 99] {
        let bounds = -bound.estimate(exact, &x0, evaluations, &rng);
        let error = bounds.std(true).double_value(&[]) / 200.0;
        assert!(error < 0.1, "{evaluations} evaluations: standard error {error}");
        assert_close_f64(mean(&bounds), expected, 0.0, 4.0 * error);
    }
}

/// Shares at which an integral over them is taken by its midpoints.
const SHARES: usize = 2000;

/// The expected continuous bound on -log p(x_0) for data N(MEAN, std²) and its exact denoiser.
fn continuous(process: &DiscreteVp, std: f64) -> f64 {
    let bound = ContinuousBound::new(process, Decoder::Gaussian);
    let x0 = Tensor::from_slice(&[MEAN - std, MEAN + std]).unsqueeze(1);
    let ends = bound.prior(&x0) + bound.reconstruction(&x0, &(&x0 - error(&process.level(0), std)));
    let between = (0..SHARES).map(|part| {
        let (level, weight) = bound.level((part as f64 + 0.5) / SHARES as f64);
        weight * error(&level, std).powi(2) / SHARES as f64
    });
    mean(&ends) + between.sum::<f64>()
}

/// A perfect denoiser pays no more than the entropy, whatever the schedule, where the process begins with less noise
/// than the data varies.
#[test]
fn the_continuous_bound_of_a_gaussian_is_its_entropy() {
    for schedule in SCHEDULES {
        for timesteps in [100, 1000, 4000] {
            for std in [0.1, STD, 1.0] {
                let gap = continuous(&process(schedule, timesteps), std) - entropy(std);
                assert!((-1e-5..0.005).contains(&gap), "{schedule:?} {timesteps} {std}: {gap}");
            }
        }
        // The defaults would waste this otherwise.
        let process = process(schedule, 1000);
        let saved = discrete(&process, Variance::FixedLarge) - continuous(&process, STD);
        assert!(saved > 0.11, "{schedule:?}: {saved}");
    }
}

#[test]
fn levels_go_from_the_last_to_the_first() {
    for schedule in SCHEDULES {
        let process = process(schedule, 1000);
        let bound = ContinuousBound::new(&process, Decoder::Gaussian);
        for (share, timestep) in [(0.0, 999), (1.0, 0)] {
            let (found, expected) = (bound.level(share).0, process.level(timestep));
            assert_close_f64(found.snr(), expected.snr(), 1e-6, 0.0);
            assert_close_f64(found.time, expected.time, 1e-6, 1e-6);
        }
        let levels: Vec<Level> = (0..=50).map(|part| bound.level(f64::from(part) / 50.0).0).collect();
        assert!(levels.windows(2).all(|pair| pair[1].snr() > pair[0].snr() && pair[1].time < pair[0].time));
    }
}

/// Unbiased for any number of evaluations, and the standard error over rows is that of the mean.
#[test]
fn any_number_of_evaluations_estimates_the_continuous_bound() {
    let process = process(NoiseSchedule::Cosine, 1000);
    let bound = ContinuousBound::new(&process, Decoder::Gaussian);
    let expected = continuous(&process, STD);
    let rng = Generator::seeded(0);
    for evaluations in [2, 3, 20] {
        let repeats: Vec<(f64, f64)> = (0..40)
            .map(|_| {
                let x0 = rng.randn([500, 2], F64) * STD + MEAN;
                let mut calls = 0;
                let denoise = |x: &Tensor, scales: &Scales| {
                    calls += 1;
                    assert_eq!(scales.time.size(), [500]);
                    exact(x, scales)
                };
                let nats = -bound.estimate(denoise, &x0, evaluations, &rng) / 2.0;
                assert_eq!(calls, evaluations);
                (mean(&nats), nats.std(true).double_value(&[]) / 500f64.sqrt())
            })
            .collect();
        let values = Tensor::from_slice(&repeats.iter().map(|repeat| repeat.0).collect::<Vec<_>>());
        let told = repeats.iter().map(|repeat| repeat.1).sum::<f64>() / 40.0;
        let found = values.std(true).double_value(&[]);
        // The standard deviation of 40 values is known to 11 %.
        assert!((0.65..1.45).contains(&(found / told)), "{evaluations} evaluations: {found} by {told}");
        assert_close_f64(mean(&values), expected, 0.0, 4.0 * told / 40f64.sqrt());
    }
}

/// A distribution over `LEVELS` values: a Gaussian cut into cells.
const LEVELS: u32 = 256;

/// How far the continuous bound of a byte ~ N(mean, std²), cut into cells, is above its entropy, with the exact
/// denoiser: all expectations by quadrature.
fn gap_of_bytes(process: &DiscreteVp, centre: f64, std: f64) -> f64 {
    let grid = Tensor::linspace(-1.0, 1.0, i64::from(LEVELS), F64);
    let gaussian = Gaussian::new(grid.unsqueeze(1).full_like(centre), Tensor::from(std.ln()));
    let log_p = DiscretisedGaussian::new(gaussian, LEVELS).log_prob(&grid.unsqueeze(1));
    let p = log_p.exp();
    let noise = Tensor::linspace(-6.0, 6.0, 25, F64);
    let density = Gaussian::standard(&noise).log_prob(&noise.unsqueeze(1)).exp() * 0.5;
    // Of every value with every noise, [values, noise].
    let x0 = grid.unsqueeze(1).expand([-1, 25], false);
    let weights = p.unsqueeze(1) * density.unsqueeze(0);
    let estimate = |level: &Level| {
        let x = (&x0 * level.alpha + noise.unsqueeze(0) * level.sigma).unsqueeze(2);
        let distance = (x - &grid * level.alpha).square() / (-2.0 * level.sigma.powi(2));
        ((distance + &log_p).softmax(-1, Kind::Double) * &grid).sum_dim_intlist(2, false, Kind::Double)
    };
    let expectation = |of: &Tensor| (of * &weights).sum(Kind::Double).double_value(&[]);
    let bound = ContinuousBound::new(process, Decoder::Discretised(LEVELS));
    let rows = |x: &Tensor| x.contiguous().view([-1, 1]);
    let of_rows = |x: Tensor| expectation(&x.view_as(&x0));
    let ends = of_rows(bound.prior(&rows(&x0)))
        + of_rows(bound.reconstruction(&rows(&x0), &rows(&estimate(&process.level(0)))));
    let between = (0..40).map(|part| {
        let (level, weight) = bound.level((f64::from(part) + 0.5) / 40.0);
        weight * expectation(&(&x0 - estimate(&level)).square()) / 40.0
    });
    ends + between.sum::<f64>() + (p * log_p).sum(Kind::Double).double_value(&[])
}

#[test]
fn the_continuous_bound_of_bytes_is_near_their_entropy() {
    for (schedule, timesteps) in [(NoiseSchedule::Linear, 1000), (NoiseSchedule::Cosine, 1000)] {
        let process = process(schedule, timesteps);
        let gap = gap_of_bytes(&process, 0.1, 0.2);
        assert!((-1e-4..1e-3).contains(&gap), "{schedule:?} {timesteps}: {gap}");
    }
    // A twelfth of these bytes are 255: no Gaussian around one estimate has such a posterior.
    let with_an_atom = gap_of_bytes(&process(NoiseSchedule::Cosine, 1000), MEAN, STD);
    assert!((0.0..0.03).contains(&with_an_atom), "{with_an_atom}");
}
