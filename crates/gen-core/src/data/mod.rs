//! Data sets in memory and the batches drawn from them.
//!
//! A data set holds images as one `u8` tensor, or tabular data as one `f64` tensor. A batch is an index-select and a
//! conversion.

mod batches;
mod bytes;
mod condition;
mod dataset;
mod discrete;
mod finite;
mod moments;
mod options;
pub mod points;
mod shape;
mod spec;
mod split;
mod splits;
mod values;

pub use batches::{Batch, Batches};
pub use bytes::{bytes_to_signed, signed_to_bytes};
pub use condition::Condition;
pub use dataset::Dataset;
pub use discrete::{DiscreteColumn, Grid};
pub use finite::{Place, not_finite};
pub use moments::ColumnMoments;
pub use options::{Binarise, DataOptions};
pub use points::PointSet;
pub use shape::Shape;
pub use spec::{ContextColumn, DataSpec};
pub use split::Split;
pub use splits::Splits;
pub use values::Values;
