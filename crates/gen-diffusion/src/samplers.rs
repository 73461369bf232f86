//! Samplers: pure functions from noise to data.
//!
//! Each takes a denoiser D(x, level), which gives its estimate of x_0; the x of the first level; the levels, from
//! the noisiest to the cleanest, at which the sample arrives; and the source of its noise, which gives a tensor like
//! the one that it is shown. Nothing is kept between calls. A denoiser that clips its estimate needs nothing more:
//! every sampler derives ε from x and that estimate.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::schedule::{Level, Posterior};

/// The variance of an ancestral step: one of the two extremes of Ho et al. (2020, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variance {
    /// β̃, right for data of a single point.
    FixedSmall,
    /// β, right for data ~ N(0, I).
    FixedLarge,
}

impl Variance {
    /// Of the two variances of `posterior`, this one.
    pub fn of(self, posterior: &Posterior) -> f64 {
        match self {
            Variance::FixedSmall => posterior.variance,
            Variance::FixedLarge => posterior.beta,
        }
    }
}

/// Ancestral sampling (Ho et al. 2020, algorithm 2): each step draws from q(x_s | x_t, x_0 = D(x_t)), with the variance
/// of choice; a step to a level without noise adds none.
///
/// ```
/// use gen_diffusion::samplers::{Variance, ancestral};
/// use gen_diffusion::schedule::{DiscreteVp, NoiseSchedule, Spacing};
/// use tch::{Device, Kind, Tensor};
///
/// // All data is the point 0.7, so that the best estimate of x_0 is always 0.7.
/// let process = DiscreteVp::new(NoiseSchedule::Cosine, 1000).unwrap();
/// let levels = process.levels(&Spacing::Trailing.timesteps(1000, 10).unwrap());
/// let x = Tensor::randn([3, 1], (Kind::Double, Device::Cpu));
/// let x = ancestral(|x, _| x.full_like(0.7), x, &levels, Variance::FixedSmall, Tensor::randn_like);
/// assert_eq!(Vec::<f64>::try_from(x.view([-1])).unwrap(), [0.7; 3]);
/// ```
pub fn ancestral(
    mut denoise: impl FnMut(&Tensor, &Level) -> Tensor,
    mut x: Tensor,
    levels: &[Level],
    variance: Variance,
    mut noise: impl FnMut(&Tensor) -> Tensor,
) -> Tensor {
    for (from, to) in steps(levels) {
        let posterior = Posterior::between(from, to);
        let mean = denoise(&x, from) * posterior.coef_x0 + &x * posterior.coef_xt;
        x = if to.sigma > 0.0 { &mean + noise(&mean) * variance.of(&posterior).sqrt() } else { mean };
    }
    x
}

/// DDIM (Song et al. 2021, equations 12 and 16): `eta` of 0 is deterministic, 1 has the variance β̃ of
/// [`ancestral`] sampling. With 0 it is [`euler`].
pub fn ddim(
    mut denoise: impl FnMut(&Tensor, &Level) -> Tensor,
    mut x: Tensor,
    levels: &[Level],
    eta: f64,
    mut noise: impl FnMut(&Tensor) -> Tensor,
) -> Tensor {
    for (from, to) in steps(levels) {
        let x0 = denoise(&x, from);
        let epsilon = (&x - &x0 * from.alpha) / from.sigma;
        let added = eta.powi(2) * Posterior::between(from, to).variance;
        x = x0 * to.alpha + epsilon * (to.sigma.powi(2) - added).max(0.0).sqrt();
        if added > 0.0 {
            x = &x + noise(&x) * added.sqrt();
        }
    }
    x
}

/// Euler's method for the probability flow (Song et al. 2021, Score-Based Generative Modeling, section 4.3) of any
/// process. With D(x) and ε = (x - α D(x)) / σ at each level, the flow is
///
/// > dx = D dα + ε dσ
///
/// A step is the same in every parametrisation of the levels, as D and ε stay what they are at its start.
pub fn euler(denoise: impl FnMut(&Tensor, &Level) -> Tensor, x: Tensor, levels: &[Level]) -> Tensor {
    ddim(denoise, x, levels, 0.0, Tensor::zeros_like)
}

/// Heun's method for the flow of [`euler`]: each step is taken again with the means of D and of ε at its two ends. A
/// step to a level without noise, where ε is not known, is Euler's.
///
/// With α = 1 it is algorithm 1 of Karras et al. (2022). The error falls with the square of the number of steps.
pub fn heun(mut denoise: impl FnMut(&Tensor, &Level) -> Tensor, mut x: Tensor, levels: &[Level]) -> Tensor {
    let mut evaluate = |x: &Tensor, at: &Level| {
        let x0 = denoise(x, at);
        let epsilon = (x - &x0 * at.alpha) / at.sigma;
        (x0, epsilon)
    };
    for (from, to) in steps(levels) {
        let (x0, epsilon) = evaluate(&x, from);
        let end = &x0 * to.alpha + &epsilon * to.sigma;
        x = if to.sigma > 0.0 {
            let (x0_end, epsilon_end) = evaluate(&end, to);
            let (d_alpha, d_sigma) = (to.alpha - from.alpha, to.sigma - from.sigma);
            x + (x0 + x0_end) * (0.5 * d_alpha) + (epsilon + epsilon_end) * (0.5 * d_sigma)
        } else {
            end
        };
    }
    x
}

/// The x of the first level from which [`ddim`] with η = 0 comes to `x0`: its steps undone in reverse order.
///
/// A step is undone by a guess, that of Song et al. (2021, section 5.4), which takes the denoiser's estimate at the end
/// of the step for the one at its start, and `refinements` corrections, each of which takes the step again and moves
/// the start by the error at the end, over αα' + σσ'. For data that varies as much as N(0, I), that is the derivative
/// of the end by the start; elsewhere it is larger than the derivative, so that the corrections do not run away.
///
/// ```
/// use gen_diffusion::samplers::{ddim, ddim_inversion};
/// use gen_diffusion::schedule::{DiscreteVp, Level, NoiseSchedule, Spacing};
/// use tch::{Device, Kind, Tensor};
///
/// // The best estimate of x_0 ~ N(0, 1/4).
/// let denoise = |x: &Tensor, at: &Level| x * (at.alpha / (at.alpha.powi(2) + 4.0 * at.sigma.powi(2)));
/// let process = DiscreteVp::new(NoiseSchedule::Cosine, 1000)?;
/// let levels = process.levels(&Spacing::Trailing.timesteps(1000, 10)?);
/// let x0 = Tensor::randn([3, 1], (Kind::Double, Device::Cpu));
/// let noise = ddim_inversion(denoise, x0.shallow_clone(), &levels, 50);
/// assert!(ddim(denoise, noise, &levels, 0.0, Tensor::zeros_like).allclose(&x0, 1e-6, 1e-6, false));
/// # Ok::<(), gen_core::Error>(())
/// ```
pub fn ddim_inversion(
    mut denoise: impl FnMut(&Tensor, &Level) -> Tensor,
    x0: Tensor,
    levels: &[Level],
    refinements: usize,
) -> Tensor {
    let mut end = x0;
    for (from, to) in steps(levels).collect::<Vec<_>>().into_iter().rev() {
        let mut start = &end * (from.alpha / to.alpha);
        if to.sigma > 0.0 {
            let x0 = denoise(&start, from);
            start = (&end - &x0 * to.alpha) * (from.sigma / to.sigma) + x0 * from.alpha;
        }
        for _ in 0..refinements {
            let x0 = denoise(&start, from);
            let epsilon = (&start - &x0 * from.alpha) / from.sigma;
            let missed = &end - (x0 * to.alpha + epsilon * to.sigma);
            start += missed / (from.alpha * to.alpha + from.sigma * to.sigma);
        }
        end = start;
    }
    end
}

fn steps(levels: &[Level]) -> impl Iterator<Item = (&Level, &Level)> {
    levels.iter().zip(levels.iter().skip(1))
}
