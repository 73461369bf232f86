use gen_core::data::{Batch, Values};
use gen_core::model::{Density, LikelihoodKind};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};
use tch::Tensor;

use super::Diffusion;
use super::conditions::Conditions;
use crate::bound::Decoder;
use crate::ode::{Divergence, log_density};
use crate::scales::Scales;
use crate::schedule::Level;

/// Steps of the solver of the probability flow.
const ODE_STEPS: usize = 40;

/// The variational bound, and for grey levels and real numbers the likelihood of the probability flow.
///
/// The flow has the network's estimates as they are, never clipped, as clipping would end the smoothness that its
/// solver relies on. Bytes are spread over their cells by uniform noise, so that its bits per dimension are those of a
/// flow.
impl Density for Diffusion {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        match self.card.data.values {
            Values::Binary => vec![LikelihoodKind::LowerBound],
            Values::Continuous if !self.card.data.is_dequantised() => {
                vec![LikelihoodKind::LowerBound, LikelihoodKind::Ode]
            }
            Values::Continuous | Values::Bytes | Values::Dequantised => {
                vec![LikelihoodKind::LowerBound, LikelihoodKind::DequantisedOde]
            }
        }
    }

    /// Without labels that were dropped in training the network knows nothing of p(x).
    fn is_marginal(&self) -> bool {
        self.conditions.as_ref().is_none_or(Conditions::are_marginal)
    }

    fn log_likelihood(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Tensor> {
        let x = &batch.x;
        self.card.check_batch(x)?;
        let given = match &self.conditions {
            Some(conditions) => conditions.of_batch(&self.card.data, batch)?,
            None => None,
        };
        let rng = stream(seed, Purpose::Evaluate, 0);
        match kind {
            LikelihoodKind::LowerBound => self.bound(x, given.as_ref(), &rng),
            LikelihoodKind::Ode | LikelihoodKind::DequantisedOde if self.kinds().contains(&kind) => {
                self.probability_flow(x, given.as_ref(), &rng)
            }
            _ => {
                let kinds: Vec<String> = self.kinds().iter().map(|kind| format!("`{kind}`")).collect();
                Err(Error::invalid(format!(
                    "the likelihood of {:?} values by `{}` is {}, not `{kind}`",
                    self.card.data.values,
                    self.card.name,
                    kinds.join(" or ")
                )))
            }
        }
    }
}

impl Diffusion {
    fn bound(&self, x: &Tensor, given: Option<&Tensor>, rng: &Generator) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let decoder = match self.card.data.values {
            Values::Bytes => Decoder::Discretised(256),
            Values::Binary => Decoder::Discretised(2),
            Values::Dequantised | Values::Continuous => Decoder::Gaussian,
        };
        let clip = |x0: Tensor| if self.sampling.clip { x0.clamp(-1.0, 1.0) } else { x0 };
        let evaluations = self.config.bound_evaluations;
        let bound = self.config.bound.of(&*self.process, decoder)?;
        self.in_chunks(x, given, |part, given| {
            let denoise = |x: &Tensor, scales: &Scales| clip(self.estimate(x, scales, given));
            let nats = bound.estimate(denoise, &self.units.to_network(part), evaluations, rng);
            Ok(self.units.log_prob_of_data(nats))
        })
    }

    fn probability_flow(&self, x: &Tensor, given: Option<&Tensor>, rng: &Generator) -> Result<Tensor> {
        let dimensions = self.card.data.shape.dimensions();
        let divergence = if dimensions <= 3 { Divergence::Exact } else { Divergence::Hutchinson };
        // The mass of a byte is the density in its cell times the width of it.
        let cell: Option<f64> = (self.card.data.values == Values::Bytes).then_some(2.0 / 255.0);
        let log_volume = cell.map_or(0.0, |width| width.ln() * dimensions as f64);
        self.in_chunks(x, given, |part, given| {
            let mut x = self.units.to_network(part);
            if let Some(width) = cell {
                x = &x + (rng.rand_like(&x) - 0.5) * width;
            }
            let denoise = |x: &Tensor, level: &Level| self.estimate(x, &Scales::of(level, x), given);
            let log_density = log_density(denoise, &x, &*self.process, ODE_STEPS, divergence, rng)?;
            Ok(self.units.log_prob_of_data(log_density) + log_volume)
        })
    }
}
