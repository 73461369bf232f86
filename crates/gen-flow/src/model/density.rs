use gen_core::model::{Density, LikelihoodKind};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};
use tch::Tensor;

use super::{Architecture, FlowModel};
use crate::bijection::Given;

/// Importance samples of the bound that is reported beside the main one.
const SAMPLES: u32 = 8;

impl<A: Architecture> Density for FlowModel<A> {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        match &self.dequantiser {
            Some(way) if way.draws_noise() => {
                vec![LikelihoodKind::Dequantised, LikelihoodKind::DequantisedImportance(SAMPLES)]
            }
            // The data set drew the noise.
            Some(_) => vec![LikelihoodKind::Dequantised],
            None if self.card.data.is_dequantised() => vec![LikelihoodKind::Dequantised],
            None => vec![LikelihoodKind::Exact],
        }
    }

    fn log_likelihood(&self, x: &Tensor, kind: LikelihoodKind, seed: u64) -> Result<Tensor> {
        self.estimate(x, kind, seed, |weights| {
            let k = weights.size()[1] as f64;
            weights.logsumexp([1], false) - k.ln()
        })
    }

    /// (Σ w)² / Σ w² of the importance weights of each row.
    fn effective_sample_size(&self, x: &Tensor, kind: LikelihoodKind, seed: u64) -> Result<Option<Tensor>> {
        if !matches!(kind, LikelihoodKind::DequantisedImportance(_)) {
            return Ok(None);
        }
        self.estimate(x, kind, seed, |weights| {
            (weights.logsumexp([1], false) * 2.0 - (weights * 2.0).logsumexp([1], false)).exp()
        })
        .map(Some)
    }
}

impl<A: Architecture> FlowModel<A> {
    /// `summary` of the log importance weights ln p(y) + ln volume - ln q(u | x) of each row, `[rows, samples]`.
    fn estimate(
        &self,
        x: &Tensor,
        kind: LikelihoodKind,
        seed: u64,
        summary: impl Fn(&Tensor) -> Tensor,
    ) -> Result<Tensor> {
        let samples = self.samples(kind)?;
        self.check_shape(x)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        let parts = x.split_with_sizes(&self.parts(x.size()[0])[..], 0);
        let estimates = parts.iter().map(|x| {
            let weights: Vec<Tensor> = (0..samples).map(|_| self.log_weight(x, &rng)).collect();
            summary(&Tensor::stack(&weights, 1))
        });
        Ok(Tensor::cat(&estimates.collect::<Vec<_>>(), 0))
    }

    /// ln p(y) + ln volume - ln q(u | x) of one draw of the noise.
    fn log_weight(&self, x: &Tensor, rng: &Generator) -> Tensor {
        let Some(way) = &self.dequantiser else {
            return self.flow.log_prob(x, Given::NOTHING);
        };
        let (y, log_q) = way.to_unit(x, Given::NOTHING, rng);
        let log_prob =
            self.flow.log_prob(&y, Given::NOTHING) + way.log_volume(self.card.data.shape.dimensions());
        match log_q {
            Some(log_q) => log_prob - log_q,
            None => log_prob,
        }
    }

    /// How many draws of the noise this kind of likelihood takes.
    fn samples(&self, kind: LikelihoodKind) -> Result<u32> {
        let kinds = self.kinds();
        match kind {
            LikelihoodKind::DequantisedImportance(k) if kinds.len() > 1 => Ok(k.max(1)),
            kind if kind == kinds[0] => Ok(1),
            kind => {
                let names: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                let what = match names.as_slice() {
                    [one] => format!("the likelihood {one}"),
                    several => format!("the likelihoods {}", several.join(" and ")),
                };
                Err(Error::invalid(format!("`{}` has {what} of such data, found `{kind}`", A::NAME)))
            }
        }
    }
}
