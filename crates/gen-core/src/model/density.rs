use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};

/// How a log-likelihood was computed.
///
/// Numbers of one kind may be compared with each other. Every kind but `exact` and the two by the probability flow is a
/// lower bound on average, which better models need not raise: of two kinds, a difference tells the model from the bound
/// only where a bound is above an exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LikelihoodKind {
    /// By the change of variables, of what the data set delivers: points.
    Exact,
    /// By the change of variables, of bytes that noise spread over their cells, by one draw of it: a lower bound on the
    /// log-probability of the bytes (Theis et al. 2016, section 3.1; with learned noise Ho et al. 2019, equation 9). It is what
    /// papers on flows report.
    Dequantised,
    /// The importance-weighted bound of so many draws of that noise.
    DequantisedImportance(u32),
    /// A variational lower bound on the log-likelihood.
    LowerBound,
    /// An importance-weighted lower bound with this many samples (Burda et al. 2016).
    Importance(u32),
    /// By the change of variables along the probability flow of a diffusion model (Song et al. 2021, section 4.3), up to
    /// the error of the solver and of an estimated divergence: of points.
    Ode,
    /// The same of bytes, by one draw of noise as [`LikelihoodKind::Dequantised`].
    DequantisedOde,
}

impl fmt::Display for LikelihoodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LikelihoodKind::Exact => f.write_str("exact"),
            LikelihoodKind::Dequantised => f.write_str("dequantised"),
            LikelihoodKind::DequantisedImportance(k) => write!(f, "dequantised-importance-{k}"),
            LikelihoodKind::LowerBound => f.write_str("lower-bound"),
            LikelihoodKind::Importance(k) => write!(f, "importance-{k}"),
            LikelihoodKind::Ode => f.write_str("ode"),
            LikelihoodKind::DequantisedOde => f.write_str("dequantised-ode"),
        }
    }
}

impl FromStr for LikelihoodKind {
    type Err = Error;

    /// What [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self> {
        let samples = |prefix: &str| text.strip_prefix(prefix)?.parse().ok().filter(|k| *k > 0);
        if let Some(k) = samples("importance-") {
            return Ok(LikelihoodKind::Importance(k));
        }
        if let Some(k) = samples("dequantised-importance-") {
            return Ok(LikelihoodKind::DequantisedImportance(k));
        }
        match text {
            "exact" => Ok(LikelihoodKind::Exact),
            "dequantised" => Ok(LikelihoodKind::Dequantised),
            "lower-bound" => Ok(LikelihoodKind::LowerBound),
            "ode" => Ok(LikelihoodKind::Ode),
            "dequantised-ode" => Ok(LikelihoodKind::DequantisedOde),
            _ => Err(Error::unknown(
                "kind of likelihood",
                text,
                [
                    "exact",
                    "dequantised",
                    "dequantised-importance-8",
                    "lower-bound",
                    "importance-64",
                    "ode",
                    "dequantised-ode",
                ],
            )),
        }
    }
}

/// A model that gives data a likelihood.
pub trait Density {
    /// The kinds that this model can compute, the main one first.
    fn kinds(&self) -> Vec<LikelihoodKind>;

    /// log p of each row of `x`, which is as a data set delivers it: `[batch]`, in nats, without gradients.
    ///
    /// For values on the 256-level grid this is the log of a probability mass (or its bound); for binary values
    /// too; for continuous values of a density. See [`Values`](crate::data::Values).
    ///
    /// # Errors
    /// When `kind` is not one of [`Density::kinds`] or `x` has the wrong shape.
    fn log_likelihood(&self, x: &Tensor, kind: LikelihoodKind, seed: u64) -> Result<Tensor>;

    /// How many of the samples behind the estimate of each row carry it, `[batch]`, for likelihoods of a `kind` that
    /// weighs samples: an importance-weighted bound of K has from 1, where one sample is all there is to the estimate,
    /// to K. `None` for others. The same `seed` looks at the samples of [`Density::log_likelihood`].
    ///
    /// # Errors
    /// As [`Density::log_likelihood`].
    fn effective_sample_size(&self, x: &Tensor, kind: LikelihoodKind, seed: u64) -> Result<Option<Tensor>> {
        let _ = (x, kind, seed);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        let kinds = [
            LikelihoodKind::Exact,
            LikelihoodKind::Dequantised,
            LikelihoodKind::DequantisedImportance(8),
            LikelihoodKind::LowerBound,
            LikelihoodKind::Importance(64),
            LikelihoodKind::Ode,
            LikelihoodKind::DequantisedOde,
        ];
        for kind in kinds {
            assert_eq!(kind.to_string().parse::<LikelihoodKind>().unwrap(), kind);
        }
        for wrong in ["importance-0", "importance-", "dequantised-importance-0", "ODE", ""] {
            assert!(wrong.parse::<LikelihoodKind>().is_err(), "{wrong}");
        }
    }
}
