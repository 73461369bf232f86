use gen_core::rng::Generator;
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// The classes of a data set as contexts of a flow: rows of an identity matrix, and zeros for no class.
#[derive(Debug)]
pub(crate) struct Classes {
    /// The identity, `[classes, classes]`.
    one_hot: Tensor,
    /// The part of the training data that is shown without a class, in [0, 1].
    dropout: f64,
}

impl Classes {
    pub(crate) fn new(count: i64, dropout: f64, device: Device) -> Self {
        Classes { one_hot: Tensor::eye(count, (Kind::Float, device)), dropout }
    }

    /// How many classes there are.
    pub(crate) fn count(&self) -> i64 {
        self.one_hot.size()[0]
    }

    /// The contexts of the `labels: [rows]` of a batch for training, some of which are dropped.
    ///
    /// # Errors
    /// When there is no label for each row, or a label is no class.
    pub(crate) fn of_batch(&self, labels: Option<&Tensor>, rows: i64, rng: &Generator) -> Result<Tensor> {
        let found = match labels {
            Some(labels) if labels.size() == [rows] => {
                let context = self.one_hot.f_index_select(0, &labels.to_kind(Kind::Int64))?;
                let shown = rng.rand([rows, 1], (Kind::Float, context.device())).ge(self.dropout);
                return Ok(context * shown);
            }
            Some(labels) => format!("labels of {:?}", labels.size()),
            None => "no labels".to_owned(),
        };
        Err(Error::invalid(format!(
            "a model with `labels = true` learns from batches with a label for each of the {rows} rows, found {found}"
        )))
    }

    /// The contexts of `n` classes, each as likely as the others.
    pub(crate) fn draw(&self, n: i64, rng: &Generator) -> Tensor {
        let labels = rng.randint(0, self.count(), [n], (Kind::Int64, self.one_hot.device()));
        self.one_hot.index_select(0, &labels)
    }

    /// The context of class `class` for `n` rows.
    pub(crate) fn all_of(&self, class: i64, n: i64) -> Tensor {
        self.one_hot.narrow(0, class, 1).expand([n, -1], false)
    }
}
