use gen_core::data::Values;
use gen_core::distributions::{Bernoulli, DiscretisedGaussian, DiscretisedLogistic, Gaussian};
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

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
    /// The default for `values`: Bernoulli for binary ones, the discretised logistic for bytes, else Gaussian.
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
        Err(Error::invalid(format!("the likelihood `{self}` is no probability of {values:?} values: use {advice}")))
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

/// Grey levels of a byte.
const LEVELS: u32 = 256;

/// p(x | z) of a batch of latents, over data in [-1, 1] or standardised points.
#[derive(Debug)]
pub(crate) enum Observation {
    /// Of black, -1, and white, 1.
    Bernoulli(Bernoulli),
    Gaussian(Gaussian),
    DiscretisedGaussian(DiscretisedGaussian),
    DiscretisedLogistic(DiscretisedLogistic),
}

impl Observation {
    /// `location`: logits or centres, `[batch, ...]`; `log_scale` broadcasts to it, and a Bernoulli has no use for it.
    pub(crate) fn new(likelihood: Likelihood, values: Values, location: Tensor, log_scale: Tensor) -> Self {
        match (likelihood, values) {
            (Likelihood::Bernoulli, _) => Observation::Bernoulli(Bernoulli::new(location)),
            (Likelihood::DiscretisedLogistic, _) => {
                Observation::DiscretisedLogistic(DiscretisedLogistic::new(location, log_scale, LEVELS))
            }
            (Likelihood::Gaussian, Values::Bytes) => {
                let gaussian = Gaussian::new(location, log_scale);
                Observation::DiscretisedGaussian(DiscretisedGaussian::new(gaussian, LEVELS))
            }
            (Likelihood::Gaussian, _) => Observation::Gaussian(Gaussian::new(location, log_scale)),
        }
    }

    /// ln p(x | z): `[batch, ...]` to `[batch]`, nats; masses for bytes and binary values, else densities.
    pub(crate) fn log_prob(&self, x: &Tensor) -> Tensor {
        match self {
            Observation::Bernoulli(bernoulli) => bernoulli.log_prob(&((x + 1.0) * 0.5)),
            Observation::Gaussian(gaussian) => gaussian.log_prob(x),
            Observation::DiscretisedGaussian(gaussian) => gaussian.log_prob(x),
            Observation::DiscretisedLogistic(logistic) => logistic.log_prob(x),
        }
    }

    /// The centre of p(x | z): a Bernoulli's mean, otherwise mean and median in one, before the edges of the range
    /// cut the tails off.
    pub(crate) fn centre(&self) -> Tensor {
        match self {
            Observation::Bernoulli(bernoulli) => bernoulli.mean() * 2.0 - 1.0,
            Observation::Gaussian(gaussian) => gaussian.mean.shallow_clone(),
            Observation::DiscretisedGaussian(gaussian) => gaussian.gaussian.mean.shallow_clone(),
            Observation::DiscretisedLogistic(logistic) => logistic.location.shallow_clone(),
        }
    }

    /// x ~ p(x | z), before rounding to the grid and clamping to the range.
    pub(crate) fn sample(&self, rng: &Generator) -> Tensor {
        match self {
            Observation::Bernoulli(bernoulli) => bernoulli.sample(rng) * 2.0 - 1.0,
            Observation::Gaussian(gaussian) => gaussian.sample(rng),
            Observation::DiscretisedGaussian(gaussian) => gaussian.gaussian.sample(rng),
            Observation::DiscretisedLogistic(logistic) => logistic.sample_uncut(rng),
        }
    }

    /// The standard deviation of p(x | z), averaged over all values; `None` where it is not learned.
    pub(crate) fn sigma(&self) -> Option<Tensor> {
        let (log_scale, likelihood) = match self {
            Observation::Bernoulli(_) => return None,
            Observation::Gaussian(gaussian) => (&gaussian.log_std, Likelihood::Gaussian),
            Observation::DiscretisedGaussian(gaussian) => (&gaussian.gaussian.log_std, Likelihood::Gaussian),
            Observation::DiscretisedLogistic(logistic) => (&logistic.log_scale, Likelihood::DiscretisedLogistic),
        };
        Some(log_scale.exp().mean(Kind::Float) * likelihood.unit_deviation())
    }
}
