//! The distributions of noise levels in training.

use gen_core::rng::Generator;
use gen_core::testing::assert_close_f64;
use gen_diffusion::noise::{LogitNormal, Lognormal, NoiseDistribution};
use gen_diffusion::schedule::{
    DiscreteVp, Level, NoiseSchedule, Process, RectifiedFlow, SigmaRange, VarianceExploding,
};
use tch::{Device, Tensor};

const ALL: [NoiseDistribution; 4] = [
    NoiseDistribution::Stratified,
    NoiseDistribution::Uniform,
    NoiseDistribution::Lognormal(Lognormal { mean: -1.2, std: 1.2 }),
    NoiseDistribution::LogitNormal(LogitNormal { mean: 0.0, std: 1.0 }),
];

fn draw(noise: NoiseDistribution, rows: i64, process: &dyn Process, rng: &Generator) -> Vec<Level> {
    noise.draw(rows, process, rng, Device::Cpu)
}

#[test]
fn levels_ascend_and_there_is_one_for_each_row() {
    let process = DiscreteVp::new(NoiseSchedule::Cosine, 1000).unwrap();
    for noise in ALL {
        for rows in [1, 7, 32] {
            let levels = draw(noise, rows, &process, &Generator::seeded(3));
            assert_eq!(levels.len() as i64, rows);
            assert!(levels.windows(2).all(|pair| pair[0].snr() >= pair[1].snr()), "{noise:?}");
        }
        assert!(draw(noise, 0, &process, &Generator::seeded(3)).is_empty());
    }
}

#[test]
fn every_timestep_is_trained_equally_often() {
    let process = DiscreteVp::new(NoiseSchedule::Linear, 10).unwrap();
    // 2,100 each. The standard deviation of independent draws is 43, and stratified ones spread less.
    for (noise, allowed) in [(NoiseDistribution::Stratified, 70), (NoiseDistribution::Uniform, 215)] {
        let rng = Generator::seeded(0);
        let mut counts = [0; 10];
        for _ in 0..3000 {
            draw(noise, 7, &process, &rng).iter().for_each(|level| counts[(level.time / 100.0) as usize] += 1);
        }
        assert!(counts.iter().all(|count| (2100i32 - count).abs() < allowed), "{noise:?}: {counts:?}");
    }
}

#[test]
fn one_draw_comes_from_each_of_the_equal_parts() {
    let levels = draw(NoiseDistribution::Stratified, 50, &RectifiedFlow, &Generator::seeded(0));
    for (part, level) in levels.iter().enumerate() {
        let place = (level.sigma - 1e-3) / 0.999 * 50.0;
        assert!((part as f64..=part as f64 + 1.0).contains(&place), "{part}: {level:?}");
    }
}

#[test]
fn logarithms_and_logits_are_normal() {
    let moments = |values: Vec<f64>| {
        let values = Tensor::from_slice(&values);
        (values.mean(tch::Kind::Double).double_value(&[]), values.std(true).double_value(&[]))
    };
    let rng = Generator::seeded(1);
    let edm = VarianceExploding::new(SigmaRange::default()).unwrap();
    let noise = NoiseDistribution::Lognormal(Lognormal { mean: -1.2, std: 1.2 });
    let (mean, std) = moments(draw(noise, 40_000, &edm, &rng).iter().map(|level| level.sigma.ln()).collect());
    // Five standard errors.
    assert_close_f64(mean, -1.2, 0.0, 0.03);
    assert_close_f64(std, 1.2, 0.0, 0.022);
    let noise = NoiseDistribution::LogitNormal(LogitNormal { mean: 0.5, std: 0.8 });
    let logit = |level: &Level| {
        let time = (level.sigma - 1e-3) / 0.999;
        (time / (1.0 - time)).ln()
    };
    let (mean, std) = moments(draw(noise, 40_000, &RectifiedFlow, &rng).iter().map(logit).collect());
    assert_close_f64(mean, 0.5, 0.0, 0.02);
    assert_close_f64(std, 0.8, 0.0, 0.015);
}
