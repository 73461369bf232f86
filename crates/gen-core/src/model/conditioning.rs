use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::sampling::SampleRequest;
use crate::data::{Batch, Condition, DataSpec, Split};
use crate::error::{Error, Result};
use crate::nn::Standardise;
use crate::params::Scope;
use crate::rng::{Generator, Purpose, stream};

/// The parts of a [`Condition`] that a model learns from: the table `condition` of its hyperparameters.
///
/// A model ignores the other parts of a batch, as it learns p(x) then. It refuses them in a request for samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditioning {
    /// The classes of the data.
    pub labels: bool,
    /// The other images of pairs.
    pub image: bool,
    /// The columns that rows are given.
    pub context: bool,
}

impl Conditioning {
    /// No part.
    pub const NONE: Conditioning = Conditioning { labels: false, image: false, context: false };

    /// The parts without which `data` makes no sense: the other image of pairs and the given columns.
    pub fn needed_by(data: &DataSpec) -> Self {
        Conditioning { labels: false, image: data.pair.is_some(), context: !data.context.is_empty() }
    }

    /// Those parts, and the classes where there are two or more.
    pub fn all_of(data: &DataSpec) -> Self {
        Conditioning { labels: data.classes.len() > 1, ..Self::needed_by(data) }
    }

    /// Whether the model learns p(x), of nothing given.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Refuses parts that `data` does not have.
    ///
    /// # Errors
    /// When the model would learn from a part that is not there.
    pub fn check(&self, data: &DataSpec) -> Result<()> {
        let has = Self::all_of(data);
        let missing = [
            ("labels", "classes", self.labels && data.classes.is_empty()),
            ("image", "pairs of images", self.image && !has.image),
            ("context", "columns of context", self.context && !has.context),
        ];
        match missing.into_iter().find(|(.., is_missing)| *is_missing) {
            Some((key, what, _)) => {
                Err(Error::invalid(format!("`{}` has no {what}: set `condition.{key}` to false", data.name)))
            }
            None => Ok(()),
        }
    }

    /// The parts of the condition of `batch` that the model learns from.
    ///
    /// # Errors
    /// When one of them is absent, or does not fit the data.
    pub fn of_batch(&self, data: &DataSpec, batch: &Batch) -> Result<Condition> {
        let condition = self.used(&batch.condition);
        condition.check(data, batch.len() as i64)?;
        self.require(&condition)?;
        Ok(condition)
    }

    /// Refuses a request whose condition has a part that the model does not learn from, or that does not fit the data.
    ///
    /// # Errors
    /// When there is such a part.
    pub fn check_given(&self, data: &DataSpec, request: &SampleRequest) -> Result<()> {
        let condition = &request.condition;
        let unused = [
            ("labels", condition.labels.is_some() && !self.labels),
            ("images", condition.image.is_some() && !self.image),
            ("a context", condition.context.is_some() && !self.context),
        ];
        match unused.into_iter().find(|(_, is_unused)| *is_unused) {
            Some((part, _)) => {
                Err(Error::invalid(format!("this model does not learn from {part}, so samples cannot be given any")))
            }
            None => condition.check(data, request.n as i64),
        }
    }

    /// The condition of samples. Classes that `request` leaves open are drawn, each as likely as the others.
    ///
    /// # Errors
    /// When the request has a part that the model does not learn from, lacks another one that it needs, or a part does
    /// not fit the data.
    pub fn of_request(
        &self,
        data: &DataSpec,
        request: &SampleRequest,
        rng: &Generator,
        device: Device,
    ) -> Result<Condition> {
        self.check_given(data, request)?;
        let (n, mut condition) = (request.n as i64, request.condition.to_device(device));
        if self.labels && condition.labels.is_none() {
            condition.labels = Some(rng.randint(0, data.classes.len() as i64, [n], (Kind::Int64, device)));
        }
        self.require(&condition)?;
        Ok(condition)
    }

    /// The conditions of `n` rows of `split`, drawn at random by `seed`, as requests take them.
    ///
    /// # Panics
    /// When the model learns from a condition and the split has no rows.
    pub fn draw(&self, split: &Split, n: usize, seed: u64) -> Condition {
        let condition = self.used(&split.condition);
        let Some(rows) = condition.rows() else { return Condition::NONE };
        let index = stream(seed, Purpose::Condition, 0).randint(0, rows, [n as i64], (Kind::Int64, split.x.device()));
        condition.select(&index).to_model()
    }

    fn used(&self, condition: &Condition) -> Condition {
        let Condition { labels, image, context } = condition.clone();
        Condition {
            labels: labels.filter(|_| self.labels),
            image: image.filter(|_| self.image),
            context: context.filter(|_| self.context),
        }
    }

    fn require(&self, condition: &Condition) -> Result<()> {
        let absent = [
            ("labels", self.labels && condition.labels.is_none()),
            ("an image", self.image && condition.image.is_none()),
            ("a context", self.context && condition.context.is_none()),
        ];
        match absent.into_iter().find(|(_, is_absent)| *is_absent) {
            Some((part, _)) => Err(Error::invalid(format!("this model needs {part} for each row, found none"))),
            None => Ok(()),
        }
    }
}

/// Labels and context as one vector a row, for networks: classes one-hot, then standardised columns.
///
/// ```
/// use gen_core::data::{Condition, Dataset, Split};
/// use gen_core::model::{ConditionVector, Conditioning};
/// use gen_core::params::Params;
/// use tch::{Device, Kind, Tensor};
///
/// let rows = Split::labelled(Tensor::zeros([2, 1], (Kind::Double, Device::Cpu)), Tensor::from_slice(&[0i64, 2]));
/// let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
/// let data = Dataset::from_splits("mine", rows, None, None, classes)?.spec;
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let vector = ConditionVector::new(&params.root(), &data, Conditioning::all_of(&data))?.expect("classes");
/// let found = vector.forward(&Condition::of_labels(Tensor::from_slice(&[2i64])));
/// assert_eq!(found, Tensor::from_slice(&[0f32, 0.0, 1.0]).view([1, 3]));
/// # Ok::<(), gen_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ConditionVector {
    /// The identity, `[classes, classes]`.
    one_hot: Option<Tensor>,
    context: Option<Standardise>,
    width: i64,
}

impl ConditionVector {
    /// Of the parts of `conditioning`; `None` where it has neither labels nor context. The moments of the columns are
    /// registered in `scope` under `context`.
    ///
    /// # Errors
    /// When the moments are not finite.
    pub fn new(scope: &Scope<'_>, data: &DataSpec, conditioning: Conditioning) -> Result<Option<Self>> {
        let classes = data.classes.len() as i64;
        let one_hot = conditioning.labels.then(|| Tensor::eye(classes, (scope.kind(), scope.device())));
        let moments = |f: fn(&crate::data::ContextColumn) -> f64| data.context.iter().map(f).collect::<Vec<_>>();
        let context = conditioning.context.then(|| {
            Standardise::new(scope / "context", &moments(|column| column.mean), &moments(|column| column.std))
        });
        let width = if conditioning.labels { classes } else { 0 }
            + if conditioning.context { data.context.len() as i64 } else { 0 };
        if width == 0 {
            return Ok(None);
        }
        Ok(Some(ConditionVector { one_hot, context: context.transpose()?, width }))
    }

    /// The length of the vector.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// `[n, width]` of a condition that has the parts, see [`Conditioning::of_batch`].
    ///
    /// # Panics
    /// When a part is absent, or a label is no class.
    pub fn forward(&self, condition: &Condition) -> Tensor {
        let absent = "a condition that was checked has all parts that the model learns from";
        let labels = self.one_hot.as_ref().map(|one_hot| {
            let labels = condition.labels.as_ref().expect(absent).to_device(one_hot.device());
            one_hot.index_select(0, &labels)
        });
        let context = self.context.as_ref().map(|context| context.forward(condition.context.as_ref().expect(absent)));
        Tensor::cat(&labels.into_iter().chain(context).collect::<Vec<_>>(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::params::Params;
    use crate::rng::Generator;

    const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);
    const ALL: Conditioning = Conditioning { labels: true, image: false, context: true };

    /// 100 rows, a quarter of the second class, given the numbers from 0 to 99.
    fn data() -> Dataset {
        let labels = Tensor::arange(100, (Kind::Int64, Device::Cpu)).ge(75).to_kind(Kind::Int64);
        let condition = Condition { labels: Some(labels), image: None, context: Some(context(100)) };
        let split = Split { x: Tensor::zeros([100, 1], CPU), condition };
        Dataset::from_splits("mine", split, None, None, ["a", "b"].map(str::to_owned).to_vec()).unwrap()
    }

    fn context(n: i64) -> Tensor {
        Tensor::arange(n, CPU).view([n, 1])
    }

    #[test]
    fn data_says_what_can_be_learned() {
        let spec = data().spec;
        assert_eq!(Conditioning::all_of(&spec), ALL);
        assert_eq!(Conditioning::needed_by(&spec), Conditioning { labels: false, ..ALL });
        ALL.check(&spec).unwrap();
        let pairs = Conditioning { image: true, ..ALL };
        let message = pairs.check(&spec).unwrap_err().to_string();
        assert_eq!(message, "`mine` has no pairs of images: set `condition.image` to false");
    }

    #[test]
    fn a_batch_has_what_the_model_learns_from() {
        let data = data();
        let batch = data.train.to_batch(&data.spec, &Generator::seeded(0));
        assert_eq!(ALL.of_batch(&data.spec, &batch).unwrap(), batch.condition);
        let labels = Conditioning { context: false, ..ALL };
        let found = labels.of_batch(&data.spec, &batch).unwrap();
        assert_eq!(found, Condition { context: None, ..batch.condition.clone() });
        assert_eq!(Conditioning::NONE.of_batch(&data.spec, &batch).unwrap(), Condition::NONE);
        let without = Batch { condition: batch.condition.without_labels(), ..batch };
        let message = ALL.of_batch(&data.spec, &without).unwrap_err().to_string();
        assert_eq!(message, "this model needs labels for each row, found none");
    }

    #[test]
    fn samples_have_the_condition_that_is_asked_for() {
        let spec = data().spec;
        let rng = || Generator::seeded(3);
        let of = |conditioning: Conditioning, condition| {
            let request = SampleRequest::new(8, 0).given(condition);
            conditioning.of_request(&spec, &request, &rng(), Device::Cpu).map_err(|error| error.to_string())
        };
        let labels = Tensor::ones([8], (Kind::Int64, Device::Cpu));
        let whole = || Condition { labels: Some(labels.shallow_clone()), image: None, context: Some(context(8)) };
        assert_eq!(of(ALL, whole()).unwrap(), whole());
        // Open classes are drawn.
        let drawn = of(ALL, whole().without_labels()).unwrap().labels.unwrap();
        assert_eq!((drawn.size(), drawn.min().int64_value(&[]), drawn.max().int64_value(&[])), (vec![8], 0, 1));

        assert_eq!(of(ALL, Condition::NONE).unwrap_err(), "this model needs a context for each row, found none");
        assert_eq!(of(ALL, whole().narrow(0, 7)).unwrap_err(), "8 rows need a label for each of them, found [7]");
        let unused = of(Conditioning::NONE, whole()).unwrap_err();
        assert_eq!(unused, "this model does not learn from labels, so samples cannot be given any");
        let unused = of(Conditioning { context: false, ..ALL }, whole()).unwrap_err();
        assert_eq!(unused, "this model does not learn from a context, so samples cannot be given any");
    }

    #[test]
    fn drawn_conditions_are_rows_of_the_data_as_often_as_they_are_there() {
        let data = data();
        let drawn = ALL.draw(&data.train, 4000, 1);
        let labels = drawn.labels.as_ref().unwrap();
        // Class and number belong to one row.
        assert_eq!(drawn.context.as_ref().unwrap().ge(75.0).to_kind(Kind::Int64).view([-1]), *labels);
        let share = labels.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((share - 0.25).abs() < 0.03, "{share}");
        assert_eq!(drawn, ALL.draw(&data.train, 4000, 1));
        assert_ne!(drawn, ALL.draw(&data.train, 4000, 2));
        assert_eq!(Conditioning::NONE.draw(&data.train, 4000, 1), Condition::NONE);
    }

    #[test]
    fn a_vector_has_classes_and_standardised_columns() {
        let data = data();
        let params = Params::new(Kind::Float, Device::Cpu);
        let vector = ConditionVector::new(&params.root(), &data.spec, ALL).unwrap().unwrap();
        let found = vector.forward(&data.train.condition);
        assert_eq!((vector.width(), found.size()), (3, vec![100, 3]));
        assert_eq!(found.narrow(1, 0, 2).sum_dim_intlist(0, false, Kind::Float), Tensor::from_slice(&[75f32, 25.0]));
        let column = found.select(1, 2).to_kind(Kind::Double);
        assert!(column.mean(Kind::Double).double_value(&[]).abs() < 1e-6);
        assert!((column.std(false).double_value(&[]) - 1.0).abs() < 1e-6);
        assert!(ConditionVector::new(&params.root(), &data.spec, Conditioning::NONE).unwrap().is_none());
    }
}
