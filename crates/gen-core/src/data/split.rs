use tch::{Device, Kind, Tensor};

use super::condition::Condition;

/// One part of a data set.
#[derive(Debug)]
pub struct Split {
    /// `u8 [n, channels, height, width]`, or `f64 [n, dimension]` in the units of the file.
    pub x: Tensor,
    /// What each row is given: its class `i64 [n]`, where the set has classes, and so on.
    pub condition: Condition,
}

impl Split {
    /// Data without labels.
    pub fn unlabelled(x: Tensor) -> Self {
        Split { x, condition: Condition::NONE }
    }

    /// Data with a class for each row, `i64 [n]`.
    pub fn labelled(x: Tensor, labels: Tensor) -> Self {
        Split { x, condition: Condition::of_labels(labels) }
    }

    /// The class of each row, `i64 [n]`, where the set has classes.
    pub fn labels(&self) -> Option<&Tensor> {
        self.condition.labels.as_ref()
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
        let (start, length) = (start as i64, length as i64);
        Split { x: self.x.narrow(0, start, length), condition: self.condition.narrow(start, length) }
    }

    /// The rows of these indices, copied.
    pub fn select(&self, indices: &[i64]) -> Split {
        let index = Tensor::from_slice(indices).to_device(self.x.device());
        Split { x: self.x.index_select(0, &index), condition: self.condition.select(&index) }
    }

    /// Tables, of data and of what they are given, in `f64`; images as they are.
    pub(super) fn with_tables_in_f64(self) -> Split {
        let in_f64 = |table: Tensor| match table.dim() {
            2 if table.is_floating_point() => table.to_kind(Kind::Double),
            _ => table,
        };
        let context = self.condition.context.map(in_f64);
        Split { x: in_f64(self.x), condition: Condition { context, ..self.condition } }
    }

    pub(super) fn to_device(&self, device: Device) -> Split {
        Split { x: self.x.to_device(device), condition: self.condition.to_device(device) }
    }
}
