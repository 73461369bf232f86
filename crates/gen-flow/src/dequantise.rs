//! Between the pixels that a data set delivers and densities on the unit cube.

use gen_core::data::Values;
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use tch::Tensor;

use crate::bijection::Given;
use crate::flow::Flow;

/// How the values of a batch become numbers y in [0, 1), and what a density of y says about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dequantise {
    /// Bytes on the grid `byte / 127.5 - 1`. Uniform noise u spreads each over its cell, y = (byte + u) / 256, so that
    /// ln P(byte) = E ln p(y) - D ln 256 at least (Theis et al. 2016, section 3.1).
    Bytes,
    /// Numbers x in [-1, 1) that are spread already: y = (x + 1) / 2, ln p(x) = ln p(y) - D ln 2.
    Already,
}

impl Dequantise {
    /// The way for these values.
    ///
    /// # Errors
    /// When they are not grey levels: a density says nothing about the probability of black and white.
    pub fn of(values: Values) -> Result<Self> {
        match values {
            Values::Bytes => Ok(Dequantise::Bytes),
            Values::Dequantised => Ok(Dequantise::Already),
            Values::Binary | Values::Continuous => Err(Error::invalid(format!(
                "a flow of images needs grey levels (`bytes` or `dequantised`), found `{}`: take the option away that made them so",
                if values == Values::Binary { "binary" } else { "continuous" }
            ))),
        }
    }

    /// y of `x: [batch, ...]`; the noise is drawn from `rng`.
    pub fn to_unit(self, x: &Tensor, rng: &Generator) -> Tensor {
        match self {
            Dequantise::Bytes => {
                let bytes = ((x + 1.0) * 127.5).round();
                let y = (&bytes + rng.rand_like(&bytes)) / 256.0;
                // In f32, 255 + u can round to 256; the last number below 1 is as good a draw.
                y.clamp_max(1.0 - f64::from(f32::EPSILON))
            }
            Dequantise::Already => (x + 1.0) / 2.0,
        }
    }

    /// The way back, to values in [-1, 1]: for bytes the grid point whose cell y lies in.
    pub fn from_unit(self, y: &Tensor) -> Tensor {
        match self {
            Dequantise::Bytes => (y * 256.0).floor().clamp(0.0, 255.0) / 127.5 - 1.0,
            Dequantise::Already => (y * 2.0 - 1.0).clamp(-1.0, 1.0),
        }
    }

    /// The way back without the rounding: continuous in y, and rounded to a byte what [`Dequantise::from_unit`] gives.
    pub fn from_unit_smooth(self, y: &Tensor) -> Tensor {
        match self {
            Dequantise::Bytes => (y * 256.0 - 0.5).clamp(0.0, 255.0) / 127.5 - 1.0,
            Dequantise::Already => self.from_unit(y),
        }
    }

    /// What is added to ln p(y) of an element of `dimensions` values to give the likelihood of what was delivered.
    pub fn log_volume(self, dimensions: i64) -> f64 {
        let cell: f64 = match self {
            Dequantise::Bytes => 256.0,
            Dequantise::Already => 2.0,
        };
        -(dimensions as f64) * cell.ln()
    }
}

/// What stands between a flow on the unit cube and the pixels that it is a model of.
///
/// Uniform noise is one way to spread a byte over its cell. Learned noise q(u | x) is a conditional flow itself, and
/// gives the variational bound (Ho et al. 2019, Flow++, equation 9)
///
/// > ln P(x) ≥ E_q \[ln p((x + u) / 256) - D ln 256 - ln q(u | x)\]
///
/// of which uniform noise, with ln q = 0, is a special case.
#[derive(Debug)]
pub struct Dequantiser {
    way: Dequantise,
    noise: Option<Noise>,
}

/// Learned noise: a flow of u in (0, 1), given the image.
#[derive(Debug)]
struct Noise {
    flow: Flow,
    parameters: usize,
}

impl Dequantiser {
    /// Uniform noise for bytes, none for values that are spread already.
    ///
    /// # Errors
    /// As [`Dequantise::of`].
    pub fn uniform(values: Values) -> Result<Self> {
        Ok(Dequantiser { way: Dequantise::of(values)?, noise: None })
    }

    /// Noise from `flow`, a distribution over (0, 1) in the shape of the images; its context is the image in [-1, 1].
    /// It has that many `parameters`.
    ///
    /// # Errors
    /// As [`Dequantise::of`], and when the values are spread already: then there is no noise to learn.
    pub fn learned(values: Values, flow: Flow, parameters: usize) -> Result<Self> {
        match Dequantise::of(values)? {
            way @ Dequantise::Bytes => Ok(Dequantiser { way, noise: Some(Noise { flow, parameters }) }),
            Dequantise::Already => Err(Error::invalid(
                "these images are spread by uniform noise already: take the option `dequantise` of the data away, or take `uniform` dequantisation",
            )),
        }
    }

    /// Whether there is noise, so that several draws of it give a tighter bound.
    pub fn draws_noise(&self) -> bool {
        self.way == Dequantise::Bytes
    }

    /// Whether the noise is learned.
    pub fn is_learned(&self) -> bool {
        self.noise.is_some()
    }

    /// How many parameters the noise has.
    pub fn parameters(&self) -> usize {
        self.noise.as_ref().map_or(0, |noise| noise.parameters)
    }

    /// y in [0, 1) of `x: [batch, ...]`, and ln q(u | x) of the noise, `[batch]`, unless that is 0. Both carry gradients.
    pub fn to_unit(&self, x: &Tensor, given: Given<'_>, rng: &Generator) -> (Tensor, Option<Tensor>) {
        let Some(Noise { flow, .. }) = &self.noise else {
            return (self.way.to_unit(x, rng), None);
        };
        let given = Given { context: Some(x), ..given };
        let (u, log_q) = flow.sample_with_log_prob(x.size()[0], given, rng);
        let bytes = ((x + 1.0) * 127.5).round();
        let y = (bytes + u) / 256.0;
        (y.clamp(0.0, 1.0 - f64::from(f32::EPSILON)), Some(log_q))
    }

    /// [`Dequantise::from_unit`].
    pub fn from_unit(&self, y: &Tensor) -> Tensor {
        self.way.from_unit(y)
    }

    /// [`Dequantise::from_unit_smooth`].
    pub fn from_unit_smooth(&self, y: &Tensor) -> Tensor {
        self.way.from_unit_smooth(y)
    }

    /// [`Dequantise::log_volume`].
    pub fn log_volume(&self, dimensions: i64) -> f64 {
        self.way.log_volume(dimensions)
    }
}
