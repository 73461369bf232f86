//! Data sets in memory and the batches drawn from them.
//!
//! A set is one `u8` tensor of images or one `f32` tensor of points; a batch is an index-select and a convert.
//!
//! With the feature `datasets`, a `Catalog` finds sets by name: those of its manifests, which it fetches and
//! checks, the [point sets](points), and a user's own files.

mod batches;
#[cfg(feature = "datasets")]
mod catalog;
#[cfg(feature = "datasets")]
mod cifar;
#[cfg(feature = "datasets")]
pub mod csv;
#[cfg(feature = "datasets")]
mod fetch;
#[cfg(feature = "datasets")]
pub mod folder;
#[cfg(feature = "datasets")]
pub mod idx;
#[cfg(feature = "datasets")]
mod manifest;
#[cfg(feature = "datasets")]
pub mod npy;
pub mod points;
#[cfg(feature = "datasets")]
mod source;
mod spec;

pub use batches::{Batch, Batches};
#[cfg(feature = "datasets")]
pub use catalog::{Catalog, FileState, Loaded};
#[cfg(feature = "pytorch-files")]
pub(crate) use fetch::fetch_url;
#[cfg(all(test, feature = "pytorch-files"))]
pub(crate) use fetch::tests as fetch_tests;
#[cfg(feature = "datasets")]
pub use fetch::{FetchEvent, OnFetch};
#[cfg(feature = "datasets")]
pub use manifest::{DataFile, Format, Manifest, Role, Source};
pub use points::PointSet;
pub use spec::{Binarise, DataOptions, DataSpec, Shape, Splits, Values};

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// One part of a data set.
#[derive(Debug)]
pub struct Split {
    /// `u8 [n, channels, height, width]` or `f32 [n, dimension]`.
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
    /// `x` is `u8 [n, channels, height, width]`, or floating-point `[n, dimension]`.
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
        let empty = || train.narrow(0, 0);
        let validation = validation.unwrap_or_else(empty);
        let test = test.unwrap_or_else(empty);
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
        if *options != DataOptions::default() {
            // Enough rows for the statistics of the changed images.
            let rows = self.train.narrow(0, self.train.len().min(10_000));
            spec = DataSpec::of(&spec.name, &options.prepare(&rows.x, 0), spec.classes)?;
            spec.sha256 = self.spec.sha256.clone();
            spec.splits = self.spec.splits;
        }
        spec.values = options.values(spec.values);
        spec.options = options.clone();
        Ok(spec)
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

/// Bytes to [-1, 1]: `byte / 127.5 - 1`, so that 0 and 255 are the ends.
pub fn bytes_to_signed(bytes: &Tensor) -> Tensor {
    bytes.to_kind(Kind::Float) / 127.5 - 1.0
}

/// [-1, 1] to bytes, rounded as an image file stores them; values outside are clamped.
pub fn signed_to_bytes(x: &Tensor) -> Tensor {
    ((x.to_kind(Kind::Float) + 1.0) * 127.5).round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}
