use tch::{Device, Kind, Tensor};

use super::condition::Condition;
use super::discrete::{DiscreteColumn, Grid, discrete_columns};
use super::finite::{Place, not_finite};
use super::moments::ColumnMoments;
use super::options::DataOptions;
use super::shape::Shape;
use super::spec::{ContextColumn, DataSpec};
use super::split::Split;
use super::splits::Splits;
use crate::error::{Error, Result};

/// A data set in memory: its specification and its three parts.
#[derive(Debug)]
pub struct Dataset {
    /// Name, shape, kind of values, classes.
    pub spec: DataSpec,
    /// Rows to train on.
    pub train: Split,
    /// Rows to choose models by.
    pub validation: Split,
    /// Rows to report results on.
    pub test: Split,
}

impl Dataset {
    /// A data set of one tensor, all of it for training.
    ///
    /// `x` is `u8 [n, channels, height, width]`, or floating-point `[n, dimension]`, which is kept in f64.
    ///
    /// ```
    /// use gen_core::data::Dataset;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// let x = Tensor::randn([1000, 2], (Kind::Float, Device::Cpu));
    /// let data = Dataset::from_tensor("mine", x).unwrap();
    /// assert_eq!(data.train.len(), 1000);
    /// ```
    ///
    /// # Errors
    /// When the tensor has another shape or kind, is empty, or holds values that are not finite.
    pub fn from_tensor(name: &str, x: Tensor) -> Result<Self> {
        Self::from_splits(name, Split::unlabelled(x), None, None, Vec::new())
    }

    /// A data set of the given parts. A missing part is empty.
    ///
    /// # Errors
    /// As [`Dataset::from_tensor`], and when the parts have different shapes.
    pub fn from_splits(
        name: &str,
        train: Split,
        validation: Option<Split>,
        test: Option<Split>,
        classes: Vec<String>,
    ) -> Result<Self> {
        for part in [Some(&train), validation.as_ref(), test.as_ref()].into_iter().flatten() {
            if !part.x.defined() || part.x.dim() == 0 {
                return Err(Error::invalid(format!(
                    "`{name}` should be u8 [n, channels, height, width] or floating-point [n, dimension]; found a \
                     tensor without rows"
                )));
            }
        }
        let train = train.with_tables_in_f64();
        let empty = || train.narrow(0, 0);
        let validation = validation.unwrap_or_else(empty).with_tables_in_f64();
        let test = test.unwrap_or_else(empty).with_tables_in_f64();
        for (part, split) in [("training", &train), ("validation", &validation), ("test", &test)] {
            for (of, table) in [("", Some(&split.x)), (" of the context", split.condition.context.as_ref())] {
                let found = table.map(not_finite).transpose()?.flatten();
                if let Some(Place { row, column, value }) = found {
                    return Err(Error::invalid(format!(
                        "`{name}` holds a value that is not finite: {part} row {}, column {}{of} is {value}",
                        row + 1,
                        column + 1
                    )));
                }
            }
        }
        let mut spec = DataSpec::of(name, &train.x, classes)?;
        for part in [&validation, &test] {
            if part.x.size()[1..] != train.x.size()[1..] || part.x.kind() != train.x.kind() {
                return Err(Error::invalid(format!(
                    "the parts of `{name}` differ: {:?} {:?} and {:?} {:?}",
                    train.x.kind(),
                    &train.x.size()[1..],
                    part.x.kind(),
                    &part.x.size()[1..]
                )));
            }
        }
        spec.context = context_columns(name, &train.condition)?;
        spec.pair = train.condition.image.as_ref().map(|image| pair_shape(name, image)).transpose()?;
        for split in [&train, &validation, &test] {
            split.condition.check(&spec, split.len() as i64)?;
            let has = |split: &Split| [&split.condition.context, &split.condition.image].map(Option::is_some);
            if has(split) != has(&train) {
                return Err(Error::invalid(format!(
                    "the parts of `{name}` differ: all or none have a context, and all or none have pairs"
                )));
            }
        }
        spec.splits = Splits { train: train.len(), validation: validation.len(), test: test.len() };
        Ok(Dataset { spec, train, validation, test })
    }

    /// Applies `options`: those that change the data once take effect here, the others with each batch.
    ///
    /// # Errors
    /// When an option does not fit the data.
    pub fn with_options(self, options: &DataOptions) -> Result<Self> {
        let spec = self.spec_with(options)?;
        let prepare = |split: Split, index: u64| {
            let image = split.condition.image.as_ref().map(|image| options.fit(image));
            Split { x: options.prepare(&split.x, index), condition: Condition { image, ..split.condition } }
        };
        Ok(Dataset {
            spec,
            train: prepare(self.train, 0),
            validation: prepare(self.validation, 1),
            test: prepare(self.test, 2),
        })
    }

    /// The specification of the data set after [`Dataset::with_options`].
    ///
    /// # Errors
    /// When an option does not fit the data.
    pub fn spec_with(&self, options: &DataOptions) -> Result<DataSpec> {
        options.check(&self.spec.name, self.spec.shape)?;
        let mut spec = self.spec.clone();
        if *options == DataOptions::default() {
            spec.options = options.clone();
            return Ok(spec);
        }
        if self.spec.shape.is_image() {
            // These rows are enough for the statistics of the changed images.
            let rows = self.train.narrow(0, self.train.len().min(10_000));
            spec = DataSpec::of(&spec.name, &options.prepare(&rows.x, 0), spec.classes)?;
            spec.sha256 = self.spec.sha256.clone();
            spec.splits = self.spec.splits;
            spec.context = self.spec.context.clone();
            spec.pair = self.spec.pair.map(|shape| options.fitted(shape));
            spec.values = options.values(spec.values);
        } else {
            spec.spread_over(self.grids()?);
        }
        spec.options = options.clone();
        Ok(spec)
    }

    /// The columns of tabular data whose training rows are discrete, or share one value in many rows, and to which no
    /// noise is added. Their density is unbounded, so likelihoods mean little.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn discrete_columns(&self) -> Result<Vec<DiscreteColumn>> {
        if self.spec.shape.is_image() {
            return Ok(Vec::new());
        }
        let is_spread = |column: usize| self.spec.grids.get(column).is_some_and(|grid| grid.step > 0.0);
        let found = discrete_columns(&self.train.x)?;
        Ok(found.into_iter().filter(|found| !is_spread(found.column)).collect())
    }

    /// The grid of each column when discrete columns are dequantised, including those that are dequantised already.
    fn grids(&self) -> Result<Vec<Grid>> {
        let mut grids = match self.spec.grids.is_empty() {
            true => vec![Grid::default(); self.spec.mean.len()],
            false => self.spec.grids.clone(),
        };
        for found in self.discrete_columns()? {
            grids[found.column] = found.grid.unwrap_or_default();
        }
        if grids.iter().all(|grid| grid.step == 0.0) {
            return Err(Error::invalid(format!(
                "no column of `{}` is discrete with equally spaced values: there is nothing to dequantise",
                self.spec.name
            )));
        }
        Ok(grids)
    }

    /// The names of the columns of the context, in the order of [`Condition::context`].
    ///
    /// # Errors
    /// When there are fewer or more names than columns.
    pub fn with_context_names(mut self, names: &[String]) -> Result<Self> {
        if names.len() != self.spec.context.len() {
            let columns = self.spec.context.len();
            return Err(Error::invalid(format!("{columns} columns of context need as many names, found {names:?}")));
        }
        for (column, name) in self.spec.context.iter_mut().zip(names) {
            column.name.clone_from(name);
        }
        Ok(self)
    }

    /// The data set on `device`.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Dataset {
        Dataset {
            spec: self.spec.clone(),
            train: self.train.to_device(device),
            validation: self.validation.to_device(device),
            test: self.test.to_device(device),
        }
    }
}

/// The shape of the other images of pairs.
fn pair_shape(name: &str, image: &Tensor) -> Result<Shape> {
    match (image.kind(), &image.size()[..]) {
        (Kind::Uint8, &[_, channels, height, width]) => Ok(Shape::Image { channels, height, width }),
        (kind, size) => Err(Error::invalid(format!(
            "the other images of `{name}` should be u8 [n, channels, height, width], found {kind:?} {size:?}"
        ))),
    }
}

/// The columns of the context of training rows, without names.
fn context_columns(name: &str, condition: &Condition) -> Result<Vec<ContextColumn>> {
    let Some(context) = &condition.context else { return Ok(Vec::new()) };
    if context.dim() != 2 || context.size()[1] == 0 || context.kind() != Kind::Double {
        return Err(Error::invalid(format!(
            "the context of `{name}` should be f64 [n, columns], found {:?} {:?}",
            context.kind(),
            context.size()
        )));
    }
    let ColumnMoments { mean, std } = ColumnMoments::of(context);
    let (mean, std) = (Vec::<f64>::try_from(mean)?, Vec::<f64>::try_from(std)?);
    Ok(mean.into_iter().zip(std).map(|(mean, std)| ContextColumn { name: String::new(), mean, std }).collect())
}
