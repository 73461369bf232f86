use gen_core::data::Values;
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::likelihoods::{
    bernoulli_log_prob, discretised_gaussian_log_prob, discretised_logistic_log_prob, gaussian_log_prob,
};

/// The family of p(x | z).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likelihood {
    /// Black or white with the decoder's probability; for [`Values::Binary`] alone.
    Bernoulli,
    /// N(μ, σ²) with a learned σ. For [`Values::Bytes`] its mass over the byte's bin, so that bits per dimension
    /// are sound; otherwise its density.
    Gaussian,
    /// A logistic distribution's mass over the byte's bin; for [`Values::Bytes`] alone.
    DiscretisedLogistic,
}

impl Likelihood {
    /// What fits `values`: Bernoulli for binary ones, the discretised logistic for bytes, else Gaussian.
    pub fn default_for(values: Values) -> Self {
        match values {
            Values::Binary => Likelihood::Bernoulli,
            Values::Bytes => Likelihood::DiscretisedLogistic,
            Values::Dequantised | Values::Continuous => Likelihood::Gaussian,
        }
    }

    /// # Errors
    /// When this is no probability of such values.
    pub(crate) fn check(self, values: Values) -> Result<()> {
        let fits = match self {
            Likelihood::Bernoulli => values == Values::Binary,
            Likelihood::DiscretisedLogistic => values == Values::Bytes,
            Likelihood::Gaussian => values != Values::Binary,
        };
        if fits {
            return Ok(());
        }
        let advice = match values {
            Values::Bytes => "`discretised-logistic` or `gaussian`, or binarise the data",
            Values::Binary => "`bernoulli`",
            Values::Dequantised | Values::Continuous => "`gaussian`",
        };
        Err(Error::invalid(format!(
            "the likelihood `{self}` is no probability of {values:?} values: use {advice}"
        )))
    }

    /// The standard deviation at scale 1.
    fn unit_deviation(self) -> f64 {
        match self {
            Likelihood::DiscretisedLogistic => std::f64::consts::PI / 3f64.sqrt(),
            Likelihood::Gaussian | Likelihood::Bernoulli => 1.0,
        }
    }

    /// log of the scale at which the standard deviation is `sigma`.
    pub(crate) fn log_scale_of(self, sigma: f64) -> f64 {
        (sigma / self.unit_deviation()).ln()
    }
}

impl std::fmt::Display for Likelihood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Likelihood::Bernoulli => "bernoulli",
            Likelihood::Gaussian => "gaussian",
            Likelihood::DiscretisedLogistic => "discretised-logistic",
        })
    }
}

/// p(x | z) for a batch of codes: what the decoder's output says of x.
#[derive(Debug)]
pub(crate) struct Observation {
    likelihood: Likelihood,
    values: Values,
    /// Logits or locations, `[batch, ...]`.
    location: Tensor,
    /// Broadcastable to the location; of no meaning to a Bernoulli.
    log_scale: Tensor,
}

impl Observation {
    pub(crate) fn new(likelihood: Likelihood, values: Values, location: Tensor, log_scale: Tensor) -> Self {
        Observation { likelihood, values, location, log_scale }
    }

    /// log p(x | z): `[batch, ...]` to `[batch]`, nats; masses for bytes and binary values, else densities.
    pub(crate) fn log_prob(&self, x: &Tensor) -> Tensor {
        let Observation { location, log_scale, .. } = self;
        match (self.likelihood, self.values) {
            (Likelihood::Bernoulli, _) => bernoulli_log_prob(location, &((x + 1.0) * 0.5)),
            (Likelihood::DiscretisedLogistic, _) => discretised_logistic_log_prob(location, log_scale, x),
            (Likelihood::Gaussian, Values::Bytes) => discretised_gaussian_log_prob(location, log_scale, x),
            (Likelihood::Gaussian, _) => gaussian_log_prob(location, log_scale, x),
        }
    }

    /// The centre of p(x | z): a Bernoulli's mean, otherwise mean and median in one, before the edges of the range
    /// cut the tails off.
    pub(crate) fn centre(&self) -> Tensor {
        match self.likelihood {
            Likelihood::Bernoulli => self.location.sigmoid() * 2.0 - 1.0,
            Likelihood::Gaussian | Likelihood::DiscretisedLogistic => self.location.shallow_clone(),
        }
    }

    /// x ~ p(x | z), before rounding to the grid and clamping to the range.
    pub(crate) fn sample(&self, rng: &Generator) -> Tensor {
        let Observation { location, log_scale, .. } = self;
        match self.likelihood {
            Likelihood::Bernoulli => {
                let white = rng.rand_like(location).lt_tensor(&location.sigmoid());
                white.to_kind(location.kind()) * 2.0 - 1.0
            }
            Likelihood::Gaussian => location + rng.randn_like(location) * log_scale.exp(),
            // The logit of a uniform number is a standard logistic one.
            Likelihood::DiscretisedLogistic => {
                location + rng.rand_like(location).logit(1e-6) * log_scale.exp()
            }
        }
    }

    /// The standard deviation of p(x | z), averaged over all values; `None` where it is not learned.
    pub(crate) fn sigma(&self) -> Option<Tensor> {
        let learned = self.likelihood != Likelihood::Bernoulli;
        learned.then(|| self.log_scale.exp().mean(Kind::Float) * self.likelihood.unit_deviation())
    }
}
