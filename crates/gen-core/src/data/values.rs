use serde::{Deserialize, Serialize};

/// The kind of the values in a batch, which decides what a likelihood of them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// 256 levels: `byte / 127.5 - 1`. A likelihood is the probability mass of the bytes.
    Bytes,
    /// `(byte + u) / 128 - 1` with u uniform on [0, 1). A likelihood is a density; bits per dimension add
    /// `log2(128) = 7`.
    Dequantised,
    /// -1 or 1. A likelihood is a probability mass.
    Binary,
    /// Real numbers. A likelihood is a density.
    Continuous,
}

impl Values {
    /// Bits per dimension from the log-likelihood of an element of `dimensions` values, in nats as
    /// [`Density`](crate::model::Density) gives it.
    ///
    /// ```
    /// use gen_core::data::Values;
    /// // The uniform distribution over bytes takes 8 bits for each.
    /// let uniform = -784.0 * 256f64.ln();
    /// assert!((Values::Bytes.bits_per_dim(uniform, 784) - 8.0).abs() < 1e-12);
    /// // The same distribution as a density on [-1, 1).
    /// let uniform = -784.0 * 2f64.ln();
    /// assert!((Values::Dequantised.bits_per_dim(uniform, 784) - 8.0).abs() < 1e-12);
    /// ```
    pub fn bits_per_dim(self, log_likelihood: f64, dimensions: i64) -> f64 {
        let bits = -log_likelihood / (dimensions as f64 * std::f64::consts::LN_2);
        match self {
            Values::Dequantised => bits + 7.0,
            Values::Bytes | Values::Binary | Values::Continuous => bits,
        }
    }
}
