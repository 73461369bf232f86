//! Between the pixels that a data set delivers and densities on the unit cube.

use gen_core::data::Values;
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use tch::Tensor;

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
