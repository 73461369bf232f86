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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Shape, Split};

    const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn rows(n: i64) -> Condition {
        Condition {
            labels: Some(Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(3)),
            image: Some(Tensor::zeros([n, 1, 2, 2], (Kind::Uint8, Device::Cpu))),
            context: Some(Tensor::arange(2 * n, CPU).view([n, 2])),
        }
    }

    fn spec() -> DataSpec {
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let split = Split { x: Tensor::zeros([6, 1], CPU), condition: rows(6) };
        Dataset::from_splits("mine", split, None, None, classes).unwrap().spec
    }

    #[test]
    fn all_parts_are_cut_and_chosen_alike() {
        let all = rows(6);
        let index = Tensor::from_slice(&[4i64, 5]);
        assert_eq!(all.narrow(4, 2), all.select(&index));
        assert_eq!(all.narrow(4, 2).context, Some(Tensor::from_slice(&[8.0, 9.0, 10.0, 11.0]).view([2, 2])));
        assert_eq!(all.without_labels(), Condition { labels: None, ..rows(6) });
        assert_eq!((all.rows(), Condition::NONE.rows(), all.without_labels().rows()), (Some(6), None, Some(6)));
    }

    #[test]
    fn a_condition_that_rows_of_the_data_cannot_have_is_refused() {
        let spec = spec();
        assert_eq!(spec.pair, Some(Shape::Image { channels: 1, height: 2, width: 2 }));
        rows(4).check(&spec, 4).unwrap();
        Condition::NONE.check(&spec, 4).unwrap();
        let labels = |labels: Tensor| Condition { labels: Some(labels), ..rows(4) };
        let plain = Dataset::from_tensor("plain", Tensor::zeros([4, 1], CPU)).unwrap().spec;
        let cases = [
            (rows(3), &spec, "4 rows need a label for each of them, found [3]"),
            (labels(Tensor::from_slice(&[0i64, 1, 2, 3])), &spec, "a label of `mine` is from 0 to 2, found 0 to 3"),
            (labels(Tensor::from_slice(&[0i64, 1, 2, -1])), &spec, "found -1 to 2"),
            (labels(Tensor::zeros([4], CPU)), &spec, "labels should be i64 [n], found Double [4]"),
            (labels(Tensor::zeros([4, 1], CPU)), &spec, "found Double [4, 1]"),
            (Condition::of_context(Tensor::zeros([4, 3], CPU)), &spec, "context of `mine` should be [n] of [2]"),
            (Condition::of_context(Tensor::zeros([4], CPU)), &spec, "found [4]"),
            (
                Condition::of_image(Tensor::zeros([4, 1, 2, 3], CPU)),
                &spec,
                "image of `mine` should be [n] of [1, 2, 2]",
            ),
            (Condition::of_labels(Tensor::zeros([4], (Kind::Int64, Device::Cpu))), &plain, "`plain` has no classes"),
            (rows(4).without_labels(), &plain, "`plain` has no context, so none can be given"),
        ];
        for (condition, spec, expected) in cases {
            let message = condition.check(spec, 4).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_data_set_refuses_conditions_that_do_not_fit() {
        let set = |train: Condition, test: Condition| {
            let split = |condition| Split { x: Tensor::zeros([6, 1], CPU), condition };
            Dataset::from_splits("mine", split(train), None, Some(split(test)), Vec::new()).map(|data| data.spec)
        };
        let context = || Condition::of_context(Tensor::from_slice(&[0f32, 2.0, 4.0, 0.0, 2.0, 4.0]).view([6, 1]));
        let columns = set(context(), context()).unwrap().context;
        assert_eq!((columns.len(), columns[0].mean), (1, 2.0));
        assert!((columns[0].std - (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
        let holes = context();
        let _ = holes.context.as_ref().unwrap().get(4).fill_(f64::NAN);
        let cases = [
            (context(), Condition::NONE, "all or none have a context"),
            (context(), holes, "test row 5, column 1 of the context is NaN"),
            (context().narrow(0, 5), context(), "6 rows need a context for each of them"),
            (Condition::of_image(Tensor::zeros([6, 1, 2, 2], CPU)), Condition::NONE, "should be u8"),
            (Condition::of_context(Tensor::zeros([6], CPU)), Condition::NONE, "should be f64 [n, columns]"),
        ];
        for (train, test, expected) in cases {
            let message = set(train, test).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
