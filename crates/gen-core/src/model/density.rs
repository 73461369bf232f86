use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::data::Batch;
use crate::error::{Error, Result};

/// The method by which a log-likelihood was computed.
///
/// Only numbers of one kind are comparable. Every kind but `exact` and the two by the probability flow is a lower bound
/// in expectation. A difference between two kinds may come from the gap of a bound rather than from the model, except
/// where a bound exceeds an exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LikelihoodKind {
    /// The change of variables, for tabular data.
    Exact,
    /// The change of variables for dequantised bytes, with one draw of the noise: a lower bound on the log-probability
    /// of the bytes (Theis et al. 2016, section 3.1; with learned noise Ho et al. 2019, equation 9). Papers on flows
    /// report it.
    Dequantised,
    /// The importance-weighted bound with this many draws of that noise.
    DequantisedImportance(u32),
    /// A variational lower bound on the log-likelihood.
    LowerBound,
    /// An importance-weighted lower bound with this many samples (Burda et al. 2016).
    Importance(u32),
    /// The change of variables along the probability flow of a diffusion model (Song et al. 2021, section 4.3), up to
    /// the errors of the solver and of the estimated divergence, for tabular data.
    Ode,
    /// The same for bytes, with one draw of noise as in [`LikelihoodKind::Dequantised`].
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

    /// Reads the output of [`fmt::Display`].
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

/// A model with a likelihood.
pub trait Density {
    /// The kinds of likelihood that the model computes, the main one first.
    fn kinds(&self) -> Vec<LikelihoodKind>;

    /// log p(x) of each row of a batch of a data set: `[batch]`, in nats, without gradients. A model that learns from a
    /// condition gives log p(x | condition), or p of all classes together where it learns from labels alone and the
    /// batch has none.
    ///
    /// For bytes and binary values it is the log of a probability mass or a bound on it; for continuous values, of a
    /// density. See [`Values`](crate::data::Values).
    ///
    /// # Errors
    /// When `kind` is not one of [`Density::kinds`], the batch has the wrong shape, or lacks a part of the condition.
    fn log_likelihood(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Tensor>;

    /// Whether rows without labels have the likelihood p(x). A model that has learned p(x | label) alone has none.
    fn is_marginal(&self) -> bool {
        true
    }

    /// The effective sample size of the estimate of each row, `[batch]`, for importance-weighted kinds; `None` for
    /// others. It ranges from 1, where a single sample dominates, to K, where all have equal weight. The same `seed`
    /// gives the samples of [`Density::log_likelihood`].
    ///
    /// # Errors
    /// As [`Density::log_likelihood`].
    fn effective_sample_size(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Option<Tensor>> {
        let _ = (batch, kind, seed);
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
