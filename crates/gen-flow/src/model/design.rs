use gen_core::data::DataSpec;
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use gen_core::params::Params;
use gen_core::rng::Generator;
use tch::{Kind, Tensor};

use super::plan::SamplePlan;
use crate::base::StandardNormal;
use crate::bijection::Layer;
use crate::conditions::Conditions;
use crate::dequantise::Dequantiser;
use crate::flow::Flow;
use crate::given::Given;

/// A flow, and all that stands between it and a data set.
#[derive(Debug)]
pub struct Design {
    /// From numbers that [`Design::dequantiser`] makes of data to latents, `[batch, dimension]`.
    pub flow: Flow,
    /// How data become numbers that have a density.
    pub dequantiser: Dequantiser,
    /// The optimizer of all parameters.
    pub optimizer: AdamConfig,
    /// What the flow is conditioned on.
    pub(crate) conditions: Option<Conditions>,
    /// Evaluations of the network for a sample without guidance, of a flow that always takes the same number.
    pub(crate) evaluations: usize,
}

/// Rows whose score is found at a time: a backward pass keeps all that the forward pass made.
const DENOISED_AT_A_TIME: i64 = 64;

impl Design {
    /// A flow onto N(0, I), of nothing given, a sample of which takes one evaluation.
    pub fn new(
        bijection: impl Layer + 'static,
        dequantiser: Dequantiser,
        optimizer: AdamConfig,
        params: &Params,
        data: &DataSpec,
    ) -> Self {
        let base = StandardNormal::new(data.shape.dimensions(), params.kind(), params.device());
        Design { flow: Flow::new(bijection, base), dequantiser, optimizer, conditions: None, evaluations: 1 }
    }

    /// The same flow, conditioned on `conditions`.
    pub(crate) fn given(self, conditions: Option<Conditions>) -> Self {
        Design { conditions, ..self }
    }

    /// The loss of `x` ([`Dequantiser::loss`]), a bound on the negative log-likelihood where noise is
    /// learned; and the mean penalty, of flows that have one.
    pub(super) fn loss(
        &self,
        data: &DataSpec,
        x: &Tensor,
        context: Option<&Tensor>,
        rng: &Generator,
    ) -> (Tensor, Option<Tensor>) {
        let given = Given::NOTHING.training(rng);
        let (y, log_q) = self.dequantiser.to_network(x, given, rng);
        let mut log_prob = self.flow.log_prob(&y, Given { context, ..given });
        if let Some(log_q) = log_q {
            log_prob -= log_q;
        }
        let loss = self.dequantiser.loss(&log_prob.mean(x.kind()), data);
        let penalty = self.flow.bijection().take_penalty();
        (loss, penalty.map(|penalty| penalty.mean(x.kind())))
    }

    /// ln p(y | context): `[batch]`. Of a flow with classes and no context it is ln Σ p(y | class) / classes, the
    /// density of samples without guidance.
    pub(super) fn log_prob(&self, y: &Tensor, context: Option<&Tensor>) -> Tensor {
        match &self.conditions {
            Some(conditions) if context.is_none() => {
                let contexts = conditions.of_each_class(y.size()[0]);
                let each: Vec<Tensor> =
                    contexts.map(|context| self.flow.log_prob(y, Given::context(&context))).collect();
                Tensor::stack(&each, 0).logsumexp(0, false) - (each.len() as f64).ln()
            }
            _ => self.flow.log_prob(y, Given { context, ..Given::NOTHING }),
        }
    }

    /// The parts of the condition that the flow learns from.
    pub(super) fn conditioning(&self) -> Conditioning {
        self.conditions.as_ref().map_or(Conditioning::NONE, Conditions::conditioning)
    }

    /// Evaluations of the network for a sample: guidance takes two where one would do, the removal of noise one more.
    pub(super) fn evaluations(&self, plan: &SamplePlan) -> usize {
        let predictions = if plan.guidance.is_some() { 2 } else { 1 };
        self.evaluations * predictions + usize::from(plan.denoises)
    }

    /// Latents to numbers that the dequantiser takes to data.
    pub(super) fn generate(&self, z: &Tensor, context: Option<&Tensor>, plan: &SamplePlan) -> Tensor {
        let y = self.flow.bijection().inverse(z, plan.given(context)).0;
        self.denoised(&y, context, plan).unwrap_or(y)
    }

    /// E[x | y] of y = x + N(0, σ²) by Tweedie's formula, y + σ² ∇ ln p(y), where samples take this step.
    ///
    /// Zhai et al. 2024, section 2.5.
    pub(super) fn denoised(&self, y: &Tensor, context: Option<&Tensor>, plan: &SamplePlan) -> Option<Tensor> {
        let sigma = self.dequantiser.sigma().filter(|_| plan.denoises)?;
        let contexts = context.map(|context| context.split(DENOISED_AT_A_TIME, 0));
        let part = |(i, y): (usize, &Tensor)| {
            let context = contexts.as_ref().map(|contexts| &contexts[i]);
            let y = y.detach().copy().set_requires_grad(true);
            let given = Given { context, ..Given::NOTHING };
            let log_prob = tch::with_grad(|| self.flow.log_prob(&y, given).sum(Kind::Float));
            let score = Tensor::run_backward(&[log_prob], &[&y], false, false).remove(0);
            y.detach() + score * (sigma * sigma)
        };
        let parts = y.split(DENOISED_AT_A_TIME, 0);
        Some(Tensor::cat(&parts.iter().enumerate().map(part).collect::<Vec<_>>(), 0))
    }
}
