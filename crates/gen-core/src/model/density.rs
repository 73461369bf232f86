use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};

/// How a log-likelihood was computed; numbers of different kinds are not comparable without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LikelihoodKind {
    /// By the change of variables. For bytes: of uniformly dequantised data, as papers on flows report it.
    Exact,
    /// A variational lower bound on the log-likelihood.
    LowerBound,
    /// An importance-weighted lower bound with this many samples (Burda et al. 2016).
    Importance(u32),
    /// By the change of variables along the probability flow of a diffusion model (Song et al. 2021, section 4.3), up to
    /// the error of the solver and of an estimated divergence; for bytes as [`LikelihoodKind::Exact`].
    Ode,
}

impl fmt::Display for LikelihoodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LikelihoodKind::Exact => f.write_str("exact"),
            LikelihoodKind::LowerBound => f.write_str("lower-bound"),
            LikelihoodKind::Importance(k) => write!(f, "importance-{k}"),
            LikelihoodKind::Ode => f.write_str("ode"),
        }
    }
}

impl FromStr for LikelihoodKind {
    type Err = Error;

    /// What [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self> {
        let samples = text.strip_prefix("importance-").and_then(|k| k.parse().ok()).filter(|k| *k > 0);
        match (text, samples) {
            (_, Some(k)) => Ok(LikelihoodKind::Importance(k)),
            ("exact", _) => Ok(LikelihoodKind::Exact),
            ("lower-bound", _) => Ok(LikelihoodKind::LowerBound),
            ("ode", _) => Ok(LikelihoodKind::Ode),
            _ => Err(Error::unknown(
                "kind of likelihood",
                text,
                ["exact", "lower-bound", "importance-64", "ode"],
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
    /// weighs samples: [`LikelihoodKind::Importance`] of K has from 1, where one sample is all there is to the estimate,
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
            LikelihoodKind::LowerBound,
            LikelihoodKind::Importance(64),
            LikelihoodKind::Ode,
        ];
        for kind in kinds {
            assert_eq!(kind.to_string().parse::<LikelihoodKind>().unwrap(), kind);
        }
        for wrong in ["importance-0", "importance-", "ODE", ""] {
            assert!(wrong.parse::<LikelihoodKind>().is_err(), "{wrong}");
        }
    }
}
