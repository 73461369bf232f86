//! From the values that a data set delivers to those that a flow has a density of, and back.

use std::f64::consts::LN_2;

use gen_core::data::{DataSpec, Values};
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use tch::Tensor;

use crate::flow::Flow;
use crate::given::Given;

/// The interval that a flow has a density on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// [0, 1)
    Unit,
    /// [-1, 1)
    Signed,
}

/// How the values x of a batch become the numbers y that a flow has a density of, and what this density says about x.
///
/// Images come in [-1, 1]. Noise u spreads the bytes on the grid `byte / 127.5 - 1` over their cells, y = (byte + u)
/// / 256, so that the density of y bounds the probability of the bytes,
///
/// > ln P(byte) ≥ E_q \[ln p(y) - D ln 256 - ln q(u | byte)\]
///
/// where q is uniform and ln q = 0 (Theis et al. 2016, section 3.1), or a conditional flow (Ho et al. 2019, Flow++,
/// equation 9).
#[derive(Debug)]
pub struct Dequantiser {
    noise: Noise,
    interval: Interval,
}

#[derive(Debug)]
enum Noise {
    /// Tabular data: y = x.
    None,
    /// Numbers in [-1, 1) that their data set has spread already.
    Spread,
    /// u ~ U(0, 1).
    Uniform,
    /// u in (0, 1) from a flow that is given the image, and the number of its parameters.
    Learned(Flow, usize),
    /// y = x + σ ε, whose density says nothing about x.
    Gaussian(f64),
}

impl Dequantiser {
    /// Tabular data stay as they are.
    pub fn none() -> Self {
        Dequantiser { noise: Noise::None, interval: Interval::Signed }
    }

    /// N(0, `sigma`²) is added to images in [-1, 1].
    pub fn gaussian(sigma: f64) -> Self {
        Dequantiser { noise: Noise::Gaussian(sigma), interval: Interval::Signed }
    }

    /// Uniform noise for bytes, none for values that are spread already.
    ///
    /// # Errors
    /// When the values are not grey levels: a density says nothing about the probability of black and white.
    pub fn uniform(values: Values, interval: Interval) -> Result<Self> {
        let noise = match values {
            Values::Bytes => Noise::Uniform,
            Values::Dequantised => Noise::Spread,
            Values::Binary | Values::Continuous => {
                return Err(Error::invalid(format!(
                    "a flow of images needs grey levels (`bytes` or `dequantised`), found `{}`: \
                 remove the option that made them so",
                    if values == Values::Binary { "binary" } else { "continuous" }
                )));
            }
        };
        Ok(Dequantiser { noise, interval })
    }

    /// Noise from `flow`, a distribution over (0, 1) in the shape of the images; its context is the image in [-1, 1].
    /// It has that many `parameters`.
    ///
    /// # Errors
    /// As [`Dequantiser::uniform`], and when the values are spread already: then there is no noise to learn.
    pub fn learned(values: Values, flow: Flow, parameters: usize) -> Result<Self> {
        let uniform = Self::uniform(values, Interval::Unit)?;
        if !uniform.draws_noise() {
            return Err(Error::invalid(
                "these images are spread by uniform noise already: \
                 remove the option `dequantise` of the data, or take `uniform` dequantisation",
            ));
        }
        Ok(Dequantiser { noise: Noise::Learned(flow, parameters), ..uniform })
    }

    /// Whether bytes are spread by noise, so that several draws of it give a tighter bound.
    pub fn draws_noise(&self) -> bool {
        matches!(self.noise, Noise::Uniform | Noise::Learned(..))
    }

    /// The standard deviation of Gaussian noise.
    pub fn sigma(&self) -> Option<f64> {
        match self.noise {
            Noise::Gaussian(sigma) => Some(sigma),
            _ => None,
        }
    }

    /// How many parameters the noise has.
    pub fn parameters(&self) -> usize {
        match self.noise {
            Noise::Learned(_, parameters) => parameters,
            _ => 0,
        }
    }

    /// y of `x: [batch, ...]`, and ln q(u | x) of the noise, `[batch]`, unless that is 0. Both carry gradients.
    pub fn to_network(&self, x: &Tensor, given: Given<'_>, rng: &Generator) -> (Tensor, Option<Tensor>) {
        // In f32, 255 + u can round to 256; the last number below 1 is as good a draw.
        let last = 1.0 - f64::from(f32::EPSILON);
        let bytes = || ((x + 1.0) * 127.5).round();
        let (unit, log_q) = match &self.noise {
            Noise::None => return (x.shallow_clone(), None),
            Noise::Gaussian(sigma) => return (x + rng.randn_like(x) * *sigma, None),
            Noise::Spread => ((x + 1.0) / 2.0, None),
            Noise::Uniform => (((bytes() + rng.rand_like(x)) / 256.0).clamp_max(last), None),
            Noise::Learned(flow, _) => {
                let given = Given { context: Some(x), ..given };
                let (u, log_q) = flow.sample_with_log_prob(x.size()[0], given, rng);
                (((bytes() + u) / 256.0).clamp(0.0, last), Some(log_q))
            }
        };
        let y = match self.interval {
            Interval::Unit => unit,
            Interval::Signed => unit * 2.0 - 1.0,
        };
        (y, log_q)
    }

    /// The way back, for images to values in [-1, 1]: for bytes the grid point whose cell y lies in.
    pub fn to_data(&self, y: &Tensor) -> Tensor {
        match self.noise {
            Noise::Uniform | Noise::Learned(..) => (self.to_unit(y) * 256.0).floor().clamp(0.0, 255.0) / 127.5 - 1.0,
            _ => self.to_data_smooth(y),
        }
    }

    /// The way back without the rounding: continuous in y, and rounded to a byte the same as [`Dequantiser::to_data`].
    pub fn to_data_smooth(&self, y: &Tensor) -> Tensor {
        match self.noise {
            Noise::None => y.shallow_clone(),
            Noise::Gaussian(_) => y.clamp(-1.0, 1.0),
            Noise::Spread => (self.to_unit(y) * 2.0 - 1.0).clamp(-1.0, 1.0),
            Noise::Uniform | Noise::Learned(..) => (self.to_unit(y) * 256.0 - 0.5).clamp(0.0, 255.0) / 127.5 - 1.0,
        }
    }

    fn to_unit(&self, y: &Tensor) -> Tensor {
        match self.interval {
            Interval::Unit => y.shallow_clone(),
            Interval::Signed => (y + 1.0) / 2.0,
        }
    }

    /// The term that is added to ln p(y) of an element of `dimensions` values to give the likelihood of x; `None`
    /// where the density says nothing about x.
    pub fn log_volume(&self, dimensions: i64) -> Option<f64> {
        let cell: f64 = match self.noise {
            Noise::None => return Some(0.0),
            Noise::Gaussian(_) => return None,
            Noise::Spread => 2.0,
            Noise::Uniform | Noise::Learned(..) => 256.0,
        };
        let in_unit = -(dimensions as f64) * cell.ln();
        Some(match self.interval {
            Interval::Unit => in_unit,
            // A density on [-1, 1) has half of the values of one on [0, 1).
            Interval::Signed => dimensions as f64 * LN_2 + in_unit,
        })
    }

    /// The name of the loss of [`Dequantiser::loss`].
    pub(crate) fn loss_name(&self) -> &'static str {
        match (&self.noise, self.log_volume(1)) {
            (Noise::None, _) => "nll",
            (_, None) => "nll_per_dim",
            (_, Some(_)) => "bits_per_dim",
        }
    }

    /// The mean ln p(y) of a batch of `data` as the loss that is reported: of tabular data in nats, of images in bits
    /// per dimension, and with Gaussian noise in nats per dimension of the noisy images.
    pub(crate) fn loss(&self, log_prob: &Tensor, data: &DataSpec) -> Tensor {
        let dimensions = data.shape.dimensions();
        match (&self.noise, self.log_volume(dimensions)) {
            (Noise::None, _) => -log_prob,
            (_, None) => log_prob / -(dimensions as f64),
            (_, Some(log_volume)) => {
                let offset = data.values.bits_per_dim(log_volume, dimensions);
                log_prob / -(dimensions as f64 * LN_2) + offset
            }
        }
    }
}
