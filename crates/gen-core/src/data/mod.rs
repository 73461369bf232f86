//! Data sets in memory and the batches drawn from them.
//!
//! A set is one `u8` tensor of images or one `f64` tensor of points; a batch is an index-select and a convert.

mod batches;
mod discrete;
pub mod points;
mod spec;

pub use batches::{Batch, Batches};
pub use discrete::{DiscreteColumn, Grid};
pub use points::PointSet;
pub use spec::{Binarise, DataOptions, DataSpec, Shape, Splits, Values, column_moments};

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// One part of a data set.
#[derive(Debug)]
pub struct Split {
    /// `u8 [n, channels, height, width]`, or `f64 [n, dimension]` in the units that the points came in.
    pub x: Tensor,
    /// `i64 [n]`, where the set has classes.
    pub labels: Option<Tensor>,
}

impl Split {
    /// Data without labels.
    pub fn unlabelled(x: Tensor) -> Self {
        Split { x, labels: None }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.x.size().first().map_or(0, |n| *n as usize)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows `start..start + length`, sharing memory.
    pub fn narrow(&self, start: usize, length: usize) -> Split {
        let cut = |t: &Tensor| t.narrow(0, start as i64, length as i64);
        Split { x: cut(&self.x), labels: self.labels.as_ref().map(cut) }
    }

    /// The rows of these indices, copied.
    pub fn select(&self, indices: &[i64]) -> Split {
        let index = Tensor::from_slice(indices).to_device(self.x.device());
        let pick = |t: &Tensor| t.index_select(0, &index);
        Split { x: pick(&self.x), labels: self.labels.as_ref().map(pick) }
    }

    fn with_points_in_f64(self) -> Split {
        match self.x.dim() {
            2 if self.x.is_floating_point() => Split { x: self.x.to_kind(Kind::Double), ..self },
            _ => self,
        }
    }

    fn to_device(&self, device: Device) -> Split {
        Split { x: self.x.to_device(device), labels: self.labels.as_ref().map(|t| t.to_device(device)) }
    }
}

/// A data set: what it is, and its three parts.
#[derive(Debug)]
pub struct Dataset {
    /// Name, shape, values, classes.
    pub spec: DataSpec,
    /// What models learn from.
    pub train: Split,
    /// What choices are made on.
    pub validation: Split,
    /// What is reported on.
    pub test: Split,
}

impl Dataset {
    /// A data set of the caller's own tensor, all of it for training.
    ///
    /// `x` is `u8 [n, channels, height, width]`, or floating-point `[n, dimension]`, which is kept in f64.
    ///
    /// ```
    /// use gen_core::data::Dataset;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// let points = Tensor::randn([1000, 2], (Kind::Float, Device::Cpu));
    /// let data = Dataset::from_tensor("mine", points).unwrap();
    /// assert_eq!(data.train.len(), 1000);
    /// ```
    ///
    /// # Errors
    /// When the tensor has another shape or kind, is empty, or holds values that are not finite.
    pub fn from_tensor(name: &str, x: Tensor) -> Result<Self> {
        Self::from_splits(name, Split::unlabelled(x), None, None, Vec::new())
    }

    /// A data set of parts that the caller has. A missing part is empty.
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
        let train = train.with_points_in_f64();
        let empty = || train.narrow(0, 0);
        let validation = validation.unwrap_or_else(empty).with_points_in_f64();
        let test = test.unwrap_or_else(empty).with_points_in_f64();
        for (part, split) in [("training", &train), ("validation", &validation), ("test", &test)] {
            if let Some(Place { row, column, value }) = not_finite(&split.x)? {
                return Err(Error::invalid(format!(
                    "`{name}` holds a value that is not finite: {part} row {}, column {} is {value}",
                    row + 1,
                    column + 1
                )));
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
        spec.splits = Splits { train: train.len(), validation: validation.len(), test: test.len() };
        Ok(Dataset { spec, train, validation, test })
    }

    /// The data set with `options` applied: what they change for good is done here, the rest a batch at a time.
    ///
    /// # Errors
    /// When an option does not fit the data.
    pub fn with_options(self, options: &DataOptions) -> Result<Self> {
        let spec = self.spec_with(options)?;
        let prepare =
            |split: Split, index: u64| Split { x: options.prepare(&split.x, index), labels: split.labels };
        Ok(Dataset {
            spec,
            train: prepare(self.train, 0),
            validation: prepare(self.validation, 1),
            test: prepare(self.test, 2),
        })
    }

    /// What [`Dataset::spec`] would be with `options` applied.
    ///
    /// # Errors
    /// When an option does not fit the data.
    pub fn spec_with(&self, options: &DataOptions) -> Result<DataSpec> {
        options.check(&self.spec)?;
        let mut spec = self.spec.clone();
        if *options == DataOptions::default() {
            spec.options = options.clone();
            return Ok(spec);
        }
        if self.spec.shape.is_image() {
            // Enough rows for the statistics of the changed images.
            let rows = self.train.narrow(0, self.train.len().min(10_000));
            spec = DataSpec::of(&spec.name, &options.prepare(&rows.x, 0), spec.classes)?;
            spec.sha256 = self.spec.sha256.clone();
            spec.splits = self.spec.splits;
            spec.values = options.values(spec.values);
        } else {
            spec.spread_over(self.grids()?);
        }
        spec.options = options.clone();
        Ok(spec)
    }

    /// The columns of points that are discrete in the training rows, or have a value that many of them share, and to which
    /// no noise is added: a density of them has no bound, so that likelihoods mean little.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn discrete_columns(&self) -> Result<Vec<DiscreteColumn>> {
        if self.spec.shape.is_image() {
            return Ok(Vec::new());
        }
        let is_spread = |column: usize| self.spec.grids.get(column).is_some_and(|grid| grid.step > 0.0);
        let found = discrete::discrete_columns(&self.train.x)?;
        Ok(found.into_iter().filter(|found| !is_spread(found.column)).collect())
    }

    /// What noise is added to when discrete columns are dequantised, with the columns to which it is added already.
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

/// Where a value of a table stands, counted from 0, and what it is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The row.
    pub row: usize,
    /// The column.
    pub column: usize,
    /// The value.
    pub value: f64,
}

/// The first value of `x: [n, columns]`, row by row, that is not finite. Bytes always are.
///
/// # Errors
/// When libtorch cannot hand over the values.
pub fn not_finite(x: &Tensor) -> Result<Option<Place>> {
    if x.dim() != 2 || !x.is_floating_point() || bool::try_from(x.isfinite().all())? {
        return Ok(None);
    }
    // In the order of rows, and of columns in each.
    let places = x.isfinite().logical_not().nonzero();
    let [row, column] = [0, 1].map(|axis| places.int64_value(&[0, axis]));
    let value = x.double_value(&[row, column]);
    Ok(Some(Place { row: row as usize, column: column as usize, value }))
}

/// Bytes to [-1, 1]: `byte / 127.5 - 1`, so that 0 and 255 are the ends.
pub fn bytes_to_signed(bytes: &Tensor) -> Tensor {
    bytes.to_kind(Kind::Float) / 127.5 - 1.0
}

/// [-1, 1] to bytes, rounded as an image file stores them; values outside are clamped.
pub fn signed_to_bytes(x: &Tensor) -> Tensor {
    ((x.to_kind(Kind::Float) + 1.0) * 127.5).round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}
