use tch::Tensor;

use crate::measurement::{Direction, Measurement};
use gen_core::params::NamedTensors;

/// The result of a metric, before its space and its floor are added.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) metric: String,
    pub(crate) parameter: String,
    pub(crate) value: f64,
    pub(crate) standard_error: Option<f64>,
    pub(crate) n_real: usize,
    pub(crate) n_fake: usize,
}

impl Found {
    /// A result of `rows` (real, fake). A standard error that is not finite, or one of a value that is not, is dropped.
    pub(crate) fn new(
        metric: &str,
        parameter: &str,
        value: f64,
        standard_error: Option<f64>,
        rows: (usize, usize),
    ) -> Self {
        Found {
            metric: metric.to_owned(),
            parameter: parameter.to_owned(),
            value,
            standard_error: standard_error.filter(|error| error.is_finite() && value.is_finite()),
            n_real: rows.0,
            n_fake: rows.1,
        }
    }

    /// Whether both are the same number with the same parameter.
    pub(super) fn is_of(&self, other: &Found) -> bool {
        (&self.metric, &self.parameter) == (&other.metric, &other.parameter)
    }

    /// The same number as NaN, for rows that have none.
    pub(super) fn without_number(&self, n_real: usize, n_fake: usize) -> Found {
        Found { value: f64::NAN, standard_error: None, n_real, n_fake, ..self.clone() }
    }

    /// The row of `metrics.csv`.
    pub(super) fn measured(self, space: &str, floor: Option<f64>, direction: Direction) -> Measurement {
        Measurement {
            metric: self.metric,
            space: space.to_owned(),
            parameter: self.parameter,
            value: self.value,
            standard_error: self.standard_error,
            floor,
            n_real: self.n_real,
            n_fake: self.n_fake,
            direction,
        }
    }

    /// The form in a cache: a tensor of one number each, named `metric|parameter`.
    pub(super) fn tensors(found: &[Found]) -> NamedTensors {
        let mut tensors = NamedTensors::new();
        for found in found {
            let name = format!("{}|{}", found.metric, found.parameter);
            tensors.insert(name, Tensor::from_slice(&[found.value]));
        }
        tensors
    }

    /// Values from a cache. A floor needs neither standard errors nor numbers of rows, so both are left out.
    pub(super) fn read(kept: &NamedTensors) -> Option<Vec<Found>> {
        let one = |(name, value): (&str, &Tensor)| {
            let (metric, parameter) = name.split_once('|')?;
            Some(Found::new(metric, parameter, value.double_value(&[0]), None, (0, 0)))
        };
        kept.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_numbers_are_read_back() {
        let found = vec![Found::new("vendi", "q=1", 3.25, None, (0, 0))];
        assert_eq!(Found::read(&Found::tensors(&found)).unwrap(), found);
    }
}
