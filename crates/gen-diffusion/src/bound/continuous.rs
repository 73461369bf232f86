//! The bound in continuous time, over the signal-to-noise ratio (Kingma et al. 2021, Variational Diffusion Models,
//! section 5).
//!
//! With λ = ln SNR between the last level of a process and its first,
//!
//! > -log p(x_0) ≤ KL(q(x_last | x_0) ‖ N(0, I)) + E[-log p(x_0 | x_first)] + ½ ∫ e^λ E‖x_0 - D(x_λ)‖² dλ
//!
//! which is their equation 18 with v = e^λ. A schedule has no part in it beyond its two ends, and no term is lost
//! to the variance of steps: with a perfect denoiser of a Gaussian the bound is its entropy, up to terms at the two
//! ends.

use gen_core::rng::Generator;
use tch::{Kind, Tensor};

use super::decoder::Decoder;
use super::terms::{prior, squared_error};
use crate::scales::{Scales, numbers};
use crate::schedule::{Level, Process};

/// The bound of a process that goes through all levels between its first and its last. All results are `f64 [batch]`.
///
/// ```
/// use gen_core::rng::Generator;
/// use gen_diffusion::bound::{ContinuousBound, Decoder};
/// use gen_diffusion::schedule::{DiscreteVp, NoiseSchedule};
/// use tch::{Device, Kind, Tensor};
///
/// // The best estimate of x_0 ~ N(0, I) is α x.
/// let process = DiscreteVp::new(NoiseSchedule::Cosine, 1000)?;
/// let bound = ContinuousBound::new(&process, Decoder::Gaussian);
/// let rng = Generator::seeded(0);
/// let x0 = rng.randn([1000, 2], (Kind::Double, Device::Cpu));
/// let log_p = bound.estimate(|x, scales| x * &scales.alpha, &x0, 20, &rng);
/// let entropy = (std::f64::consts::TAU * std::f64::consts::E).ln();
/// assert!((log_p.mean(Kind::Double).double_value(&[]) + entropy).abs() < 0.2);
/// # Ok::<(), gen_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ContinuousBound<'p> {
    process: &'p dyn Process,
    first: Level,
    last: Level,
    decoder: Decoder,
    decoder_std: f64,
}

impl<'p> ContinuousBound<'p> {
    /// The bound of `process` in continuous time.
    pub fn new(process: &'p dyn Process, decoder: Decoder) -> Self {
        let (first, last) = (process.at(0.0), process.at(1.0));
        // Of x_0 given x_first where data varies as much as N(0, I). Where it varies less, which only a process of few
        // steps feels, the variance is smaller.
        let variance = 1.0 / (1.0 + first.snr());
        let decoder_variance = match decoder {
            Decoder::Gaussian => variance,
            // A Gaussian cut into cells varies by a twelfth of their squared width more than the values on their grid
            // (Sheppard 1898); cells far wider than the noise are not filled by it.
            Decoder::Discretised(levels) => {
                let width = 2.0 / (f64::from(levels) - 1.0);
                variance - (width.powi(2) / 12.0).min(variance / 2.0)
            }
        };
        ContinuousBound { process, first, last, decoder, decoder_std: decoder_variance.sqrt() }
    }

    /// The KL divergence of the last state given `x0: [batch, ...]` from the noise that sampling starts with. No
    /// network has a part in it.
    pub fn prior(&self, x0: &Tensor) -> Tensor {
        prior(x0, &self.last)
    }

    /// -log p(x_0 | x_first), where the network's estimate of x_0 is `estimate`.
    pub fn reconstruction(&self, x0: &Tensor, estimate: &Tensor) -> Tensor {
        self.decoder.nats(x0, estimate, self.decoder_std)
    }

    /// The level at a share of the way, 0 for the last and 1 for the first, and the weight of the squared error of x_0
    /// there in the mean over all shares.
    ///
    /// Equal shares are equal steps of ln(1 + SNR). The error of the best denoiser of N(0, I), 1 / (1 + SNR) for each
    /// value, has the same weighted size at all of them, and data that varies less has no larger one: draws of the
    /// share differ little.
    pub fn level(&self, share: f64) -> (Level, f64) {
        let [low, high] = [self.last, self.first].map(|level| level.snr().ln_1p());
        let place = low + share * (high - low);
        // Of place = ln(1 + e^λ): e^λ = e^place - 1.
        let snr = place.exp_m1();
        (self.process.at_log_snr(snr.ln()), 0.5 * (high - low) * (1.0 + snr))
    }

    /// An unbiased estimate of the lower bound on log p of each row of `x0: [batch, ...]` from `evaluations` calls of
    /// the network, at least 2: one for the reconstruction, the others for the integral.
    ///
    /// Noise and levels are drawn from `rng`, for each row by itself, so that the standard error of a mean over rows
    /// has that of the estimates in it. `denoise` estimates x_0 from x and its scales. The levels are cut into as many
    /// equal shares as there are calls for them, and one is drawn from each.
    pub fn estimate(
        &self,
        mut denoise: impl FnMut(&Tensor, &Scales) -> Tensor,
        x0: &Tensor,
        evaluations: usize,
        rng: &Generator,
    ) -> Tensor {
        let batch = x0.size()[0];
        let mut estimate_at = |levels: &[Level]| {
            let scales = Scales::of_rows(levels, x0);
            denoise(&scales.diffuse(x0, &rng.randn_like(x0)), &scales)
        };
        let first = vec![self.first; batch as usize];
        let mut bound = self.prior(x0) + self.reconstruction(x0, &estimate_at(&first));
        let parts = evaluations.saturating_sub(1).max(1);
        for part in 0..parts {
            let within = rng.rand([batch], (Kind::Double, x0.device()));
            let shares = numbers(&((within + part as f64) / parts as f64));
            let (levels, weights): (Vec<Level>, Vec<f64>) = shares.into_iter().map(|share| self.level(share)).unzip();
            let error = squared_error(x0, &estimate_at(&levels));
            let weights = Tensor::from_slice(&weights).to_device(x0.device());
            bound += error * weights / parts as f64;
        }
        -bound
    }
}
