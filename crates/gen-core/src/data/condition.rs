use tch::{Device, Kind, Tensor};

use super::bytes::bytes_to_signed;
use super::spec::DataSpec;
use crate::error::{Error, Result};

/// What rows of data, or samples, are given: p(x | labels, image, context). Any part may be absent.
///
/// ```
/// use gen_core::data::Condition;
/// use tch::Tensor;
///
/// let condition = Condition::of_labels(Tensor::from_slice(&[3i64, 3, 7]));
/// assert_eq!(condition.rows(), Some(3));
/// assert_eq!(condition.narrow(2, 1), Condition::of_labels(Tensor::from_slice(&[7i64])));
/// assert!(Condition::NONE.is_none());
/// ```
#[derive(Debug, Default, PartialEq)]
pub struct Condition {
    /// The class of each row, `i64 [n]`, from 0 up.
    pub labels: Option<Tensor>,
    /// The other image of a pair, `[n, channels, height, width]`: `u8` in a data set, `f32` in [-1, 1] in a batch.
    pub image: Option<Tensor>,
    /// Real numbers in the units of their file, `f64 [n, columns]`.
    pub context: Option<Tensor>,
}

impl Condition {
    /// Nothing is given.
    pub const NONE: Condition = Condition { labels: None, image: None, context: None };

    /// Given classes alone, `i64 [n]`.
    pub fn of_labels(labels: Tensor) -> Self {
        Condition { labels: Some(labels), ..Self::NONE }
    }

    /// Given real numbers alone, `f64 [n, columns]`.
    pub fn of_context(context: Tensor) -> Self {
        Condition { context: Some(context), ..Self::NONE }
    }

    /// Given images alone, `f32 [n, channels, height, width]` in [-1, 1].
    pub fn of_image(image: Tensor) -> Self {
        Condition { image: Some(image), ..Self::NONE }
    }

    /// Whether nothing is given.
    pub fn is_none(&self) -> bool {
        self.rows().is_none()
    }

    /// The number of rows, `None` where nothing is given.
    pub fn rows(&self) -> Option<i64> {
        self.parts().next().map(|(_, part)| part.size().first().copied().unwrap_or(0))
    }

    /// `f` of each part that there is.
    #[must_use]
    pub fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        let of = |part: &Option<Tensor>| part.as_ref().map(&f);
        Condition { labels: of(&self.labels), image: of(&self.image), context: of(&self.context) }
    }

    /// Rows `start..start + length`, sharing memory.
    #[must_use]
    pub fn narrow(&self, start: i64, length: i64) -> Self {
        self.map(|part| part.narrow(0, start, length))
    }

    /// The rows of these indices, `i64 [m]`, copied.
    #[must_use]
    pub fn select(&self, index: &Tensor) -> Self {
        self.map(|part| part.index_select(0, index))
    }

    /// The condition on `device`.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Self {
        self.map(|part| part.to_device(device))
    }

    /// The condition without classes. A model that learns from classes alone then gives data the likelihood p(x) of all
    /// classes together.
    #[must_use]
    pub fn without_labels(&self) -> Self {
        Condition { labels: None, ..self.clone() }
    }

    /// The condition of stored rows as the input of a model: images in [-1, 1].
    #[must_use]
    pub(crate) fn to_model(&self) -> Self {
        let image = self.image.as_ref().map(bytes_to_signed);
        Condition { image, ..self.clone() }
    }

    /// Refuses parts that `n` rows of this data cannot have: another number of rows, labels that are no class of it,
    /// another number of columns or another shape of image.
    ///
    /// # Errors
    /// When a part does not fit.
    pub fn check(&self, data: &DataSpec, n: i64) -> Result<()> {
        for (name, part) in self.parts() {
            if part.size().first() != Some(&n) {
                return Err(Error::invalid(format!("{n} rows need {name} for each of them, found {:?}", part.size())));
            }
        }
        if let Some(labels) = &self.labels {
            let classes = data.classes.len() as i64;
            if labels.dim() != 1 || labels.kind() != Kind::Int64 {
                return Err(Error::invalid(format!(
                    "labels should be i64 [n], found {:?} {:?}",
                    labels.kind(),
                    labels.size()
                )));
            }
            if n > 0 && (labels.min().int64_value(&[]) < 0 || labels.max().int64_value(&[]) >= classes) {
                return Err(Error::invalid(match classes {
                    0 => format!("`{}` has no classes, so no labels can be given", data.name),
                    _ => format!(
                        "a label of `{}` is from 0 to {}, found {} to {}",
                        data.name,
                        classes - 1,
                        labels.min().int64_value(&[]),
                        labels.max().int64_value(&[])
                    ),
                }));
            }
        }
        let expect = |name: &str, part: &Option<Tensor>, expected: Option<Vec<i64>>| match (part, expected) {
            (Some(part), Some(expected)) if part.size()[1..] != expected[..] => Err(Error::invalid(format!(
                "{name} of `{}` should be [n] of {expected:?}, found {:?}",
                data.name,
                part.size()
            ))),
            (Some(_), None) => Err(Error::invalid(format!("`{}` has no {name}, so none can be given", data.name))),
            _ => Ok(()),
        };
        let columns = (!data.context.is_empty()).then(|| vec![data.context.len() as i64]);
        expect("context", &self.context, columns)?;
        expect("image", &self.image, data.pair.map(|shape| shape.batch(1)[1..].to_vec()))
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let all = [("a label", &self.labels), ("an image", &self.image), ("a context", &self.context)];
        all.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?)))
    }
}

/// Handles to the same tensors, not copies.
impl Clone for Condition {
    fn clone(&self) -> Self {
        self.map(Tensor::shallow_clone)
    }
}
