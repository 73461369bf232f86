use gen_core::rng::Generator;
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Classes as contexts of a flow: rows of an identity matrix, and zeros for no class.
#[derive(Debug)]
pub(super) struct Labels {
    /// The identity, `[classes, classes]`.
    one_hot: Tensor,
    /// The part of the training data that is shown without a class.
    dropout: f64,
}

impl Labels {
    pub(super) fn new(classes: i64, dropout: f64, device: Device) -> Self {
        Labels { one_hot: Tensor::eye(classes, (Kind::Float, device)), dropout }
    }

    /// How many classes there are.
    pub(super) fn classes(&self) -> i64 {
        self.one_hot.size()[0]
    }

    /// The contexts of `labels: [n]`, of which some are dropped, for training.
    ///
    /// # Errors
    /// When there are no labels.
    pub(super) fn of_batch(&self, labels: Option<&Tensor>, rng: &Generator) -> Result<Tensor> {
        let Some(labels) = labels else {
            return Err(Error::invalid(
                "a model with `labels = true` learns from batches with labels, found one without",
            ));
        };
        let context = self.one_hot.index_select(0, &labels.to_kind(Kind::Int64));
        let shown = rng.rand([context.size()[0], 1], (Kind::Float, context.device())).ge(self.dropout);
        Ok(context * shown)
    }

    /// The contexts of `n` classes, each as likely as the others.
    pub(super) fn draw(&self, n: i64, rng: &Generator) -> Tensor {
        let labels = rng.randint(0, self.classes(), [n], (Kind::Int64, self.one_hot.device()));
        self.one_hot.index_select(0, &labels)
    }

    /// The context of class `class` for `n` rows.
    pub(super) fn all_of(&self, class: i64, n: i64) -> Tensor {
        self.one_hot.narrow(0, class, 1).expand([n, -1], false)
    }
}
