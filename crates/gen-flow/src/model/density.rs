use gen_core::data::Batch;
use gen_core::distributions::{effective_sample_size, log_mean_exp};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};
use tch::Tensor;

use super::architecture::Architecture;
use super::flow_model::FlowModel;
use crate::conditions::Conditions;
use crate::given::Given;

impl<A: Architecture> Density for FlowModel<A> {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        let (data, dequantiser) = (&self.card().data, &self.design.dequantiser);
        if dequantiser.sigma().is_some() {
            return Vec::new();
        }
        if !data.shape.is_image() && !data.is_dequantised() {
            return vec![LikelihoodKind::Exact];
        }
        // Where the data set drew the noise there are no other draws.
        let importance = A::IMPORTANCE_SAMPLES.filter(|_| dequantiser.draws_noise());
        let importance = importance.map(LikelihoodKind::DequantisedImportance);
        [LikelihoodKind::Dequantised].into_iter().chain(importance).collect()
    }

    fn is_marginal(&self) -> bool {
        self.design.conditions.as_ref().is_none_or(Conditions::are_marginal)
    }

    fn log_likelihood(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Tensor> {
        self.bound(batch, self.samples(kind)?, seed)
    }

    /// (Σ w)² / Σ w² of the importance weights of each row.
    fn effective_sample_size(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Option<Tensor>> {
        if !matches!(kind, LikelihoodKind::DequantisedImportance(_)) {
            return Ok(None);
        }
        self.estimate(batch, self.samples(kind)?, seed, |weights| effective_sample_size(weights, 1)).map(Some)
    }
}

impl<A: Architecture> FlowModel<A> {
    /// The log-likelihood of each row of `batch` by so many draws of the noise, or of the noisy rows where the density
    /// says nothing about clean ones: `[batch]`.
    pub(super) fn bound(&self, batch: &Batch, samples: u32, seed: u64) -> Result<Tensor> {
        self.estimate(batch, samples, seed, |weights| log_mean_exp(weights, 1))
    }

    /// `summary` of the log importance weights ln p(y) + ln volume - ln q(u | x) of each row, `[rows, samples]`.
    fn estimate(&self, batch: &Batch, samples: u32, seed: u64, summary: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        self.in_parts_given(batch, |x, context| {
            let weights: Vec<Tensor> = (0..samples).map(|_| self.log_weight(x, context, &rng)).collect();
            summary(&Tensor::stack(&weights, 1))
        })
    }

    /// ln p(y | context) + ln volume - ln q(u | x) of one draw of the noise.
    fn log_weight(&self, x: &Tensor, context: Option<&Tensor>, rng: &Generator) -> Tensor {
        let dequantiser = &self.design.dequantiser;
        let (y, log_q) = dequantiser.to_network(x, Given::NOTHING, rng);
        let log_volume = dequantiser.log_volume(self.card().data.shape.dimensions());
        let log_prob = self.design.log_prob(&y, context) + log_volume.unwrap_or_default();
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
            kind if kinds.first() == Some(&kind) => Ok(1),
            kind => {
                let names: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                let possible = match names.as_slice() {
                    [] => "no likelihood".to_owned(),
                    [one] => format!("the likelihood {one}"),
                    several => format!("the likelihoods {}", several.join(" and ")),
                };
                Err(Error::invalid(format!("`{}` has {possible} of such data, found `{kind}`", self.card().name)))
            }
        }
    }
}
