use gen_core::data::{Batch, Condition, DataSpec};
use gen_core::model::{ConditionVector, Conditioning, SampleRequest};
use gen_core::params::Scope;
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// The conditions of rows as the network takes them: `[batch, width]`, one-hot classes, standardised columns, and a 1.
/// Zeros stand for no condition.
#[derive(Debug)]
pub(super) struct Conditions {
    conditioning: Conditioning,
    vector: ConditionVector,
    dropout: f64,
    device: Device,
}

impl Conditions {
    /// `None` of a model that learns from no condition.
    pub(super) fn new(
        scope: &Scope<'_>,
        data: &DataSpec,
        conditioning: Conditioning,
        dropout: f64,
    ) -> Result<Option<Self>> {
        let vector = ConditionVector::new(scope, data, conditioning)?;
        Ok(vector.map(|vector| Conditions { conditioning, vector, dropout, device: scope.device() }))
    }

    /// The length of the vector of a row.
    pub(super) fn width(&self) -> i64 {
        self.vector.width() + 1
    }

    /// Whether the network learns p(x) of rows without a condition.
    pub(super) fn are_dropped(&self) -> bool {
        self.dropout > 0.0
    }

    /// Whether rows without labels have a likelihood: always, if the network learns from none.
    pub(super) fn are_marginal(&self) -> bool {
        !self.conditioning.labels || self.are_dropped() && !self.conditioning.context
    }

    /// Those of a batch in training, where some are dropped.
    pub(super) fn of_training(&self, data: &DataSpec, batch: &Batch, rng: &Generator) -> Result<Tensor> {
        let given = self.rows(&self.conditioning.of_batch(data, batch)?);
        if !self.are_dropped() {
            return Ok(given);
        }
        let kept = rng.rand([batch.len() as i64, 1], (given.kind(), given.device())).ge(self.dropout);
        Ok(given * kept)
    }

    /// Those of a batch for its likelihood. `None` stands for p(x), of a batch without labels and a model that learns
    /// from nothing else.
    pub(super) fn of_batch(&self, data: &DataSpec, batch: &Batch) -> Result<Option<Tensor>> {
        let lacks_labels = batch.condition.labels.is_none() && self.conditioning.labels;
        if lacks_labels && !self.conditioning.context {
            if !self.are_dropped() {
                return Err(Error::invalid(
                    "the likelihood without labels needs a model that was trained with `condition_dropout` above 0",
                ));
            }
            return Ok(None);
        }
        Ok(Some(self.rows(&self.conditioning.of_batch(data, batch)?)))
    }

    /// Those of samples. Classes that the request leaves open are drawn.
    pub(super) fn of_request(&self, data: &DataSpec, request: &SampleRequest) -> Result<Tensor> {
        let rng = stream(request.seed, Purpose::Condition, 0);
        Ok(self.rows(&self.conditioning.of_request(data, request, &rng, self.device)?))
    }

    fn rows(&self, condition: &Condition) -> Tensor {
        let vector = self.vector.forward(condition);
        let ones = Tensor::ones([vector.size()[0], 1], (Kind::Float, vector.device()));
        Tensor::cat(&[vector, ones], 1)
    }
}
