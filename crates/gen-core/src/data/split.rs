use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// One part of a data set.
#[derive(Debug)]
pub struct Split {
    /// `u8 [n, channels, height, width]`, or `f64 [n, dimension]` in the units of the file.
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

    /// Tabular data in `f64`; images as they are.
    pub(super) fn with_tables_in_f64(self) -> Split {
        match self.x.dim() {
            2 if self.x.is_floating_point() => Split { x: self.x.to_kind(Kind::Double), ..self },
            _ => self,
        }
    }

    pub(super) fn to_device(&self, device: Device) -> Split {
        Split { x: self.x.to_device(device), labels: self.labels.as_ref().map(|t| t.to_device(device)) }
    }
}

/// The number of rows in each part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// Rows to train on.
    pub train: usize,
    /// Rows to choose models by.
    pub validation: usize,
    /// Rows to report results on.
    pub test: usize,
}
