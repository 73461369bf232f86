use gen_core::Result;
use gen_core::data::{Batch, Condition, DataSpec};
use gen_core::model::{ConditionVector, Conditioning, SampleRequest};
use gen_core::params::{Params, Scope};
use gen_core::rng::Generator;
use tch::{Device, Kind, Tensor};

/// The conditions of rows of a data set as contexts of a flow: one-hot classes and standardised columns. Zeros stand
/// for no class.
#[derive(Debug)]
pub(crate) struct Conditions {
    conditioning: Conditioning,
    vector: ConditionVector,
    /// The classes, of a flow that learns from nothing else.
    classes: Option<i64>,
    /// The part of the training data that is shown without a condition, in [0, 1].
    dropout: f64,
    device: Device,
}

impl Conditions {
    /// `None` of a flow that learns from no condition.
    ///
    /// # Errors
    /// When the data does not have what the flow should learn from.
    pub(crate) fn new(
        scope: &Scope<'_>,
        data: &DataSpec,
        conditioning: Conditioning,
        dropout: f64,
    ) -> Result<Option<Self>> {
        conditioning.check(data)?;
        let vector = ConditionVector::new(scope, data, conditioning)?;
        let is_classes = conditioning.labels && !conditioning.context;
        Ok(vector.map(|vector| Conditions {
            conditioning,
            vector,
            classes: is_classes.then_some(data.classes.len() as i64),
            dropout,
            device: scope.device(),
        }))
    }

    /// Those of a flow that is shown every row with its condition.
    ///
    /// # Errors
    /// As [`Conditions::new`].
    pub(crate) fn shown(params: &Params, data: &DataSpec, conditioning: Conditioning) -> Result<Option<Self>> {
        Self::new(&params.root(), data, conditioning, 0.0)
    }

    pub(crate) fn conditioning(&self) -> Conditioning {
        self.conditioning
    }

    /// Whether rows without labels have a likelihood, that of all classes together: of a flow that learns from labels
    /// and a context alike they have none.
    pub(crate) fn are_marginal(&self) -> bool {
        self.classes.is_some() || !self.conditioning.labels
    }

    /// The length of a context, 0 of a flow without conditions.
    pub(crate) fn width(conditions: &Option<Self>) -> i64 {
        conditions.as_ref().map_or(0, |conditions| conditions.vector.width())
    }

    /// The contexts of a batch for training, some of which are dropped: `[batch, width]`.
    ///
    /// # Errors
    /// When a part of the condition is absent or does not fit the data.
    pub(crate) fn of_training(&self, data: &DataSpec, batch: &Batch, rng: &Generator) -> Result<Tensor> {
        let context = self.vector.forward(&self.conditioning.of_batch(data, batch)?);
        if self.dropout == 0.0 {
            return Ok(context);
        }
        let shown = rng.rand([batch.len() as i64, 1], (Kind::Float, context.device())).ge(self.dropout);
        Ok(context * shown)
    }

    /// The contexts of a batch; `None` where labels are all that the flow learns from and the batch has none.
    ///
    /// # Errors
    /// When another part of the condition is absent, or one does not fit the data.
    pub(crate) fn of_batch(&self, data: &DataSpec, batch: &Batch) -> Result<Option<Tensor>> {
        if self.classes.is_some() && batch.condition.labels.is_none() {
            return Ok(None);
        }
        Ok(Some(self.vector.forward(&self.conditioning.of_batch(data, batch)?)))
    }

    /// The contexts of samples. Classes that the request leaves open are drawn, each as likely as the others.
    ///
    /// # Errors
    /// As [`Conditioning::of_request`].
    pub(crate) fn of_request(&self, data: &DataSpec, request: &SampleRequest, rng: &Generator) -> Result<Tensor> {
        Ok(self.vector.forward(&self.conditioning.of_request(data, request, rng, self.device)?))
    }

    /// For each class its context for `n` rows, of a flow that learns from classes alone.
    pub(crate) fn of_each_class(&self, n: i64) -> impl Iterator<Item = Tensor> {
        (0..self.classes.unwrap_or(0)).map(move |class| {
            let label = Tensor::from_slice(&[class]).to_device(self.device);
            self.vector.forward(&Condition::of_labels(label)).expand([n, -1], false)
        })
    }
}
