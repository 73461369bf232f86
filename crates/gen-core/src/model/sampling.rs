use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{self, complete, from_table, overlay, to_table};
use crate::data::Condition;
use crate::error::{Error, Result};

/// The number of samples, their seed, and the sampling options that differ from the model's own.
///
/// ```
/// use gen_core::model::SampleRequest;
/// let request = SampleRequest::new(64, 0).with("temperature", 0.7);
/// assert_eq!(request.options, toml::toml! { temperature = 0.7 });
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRequest {
    /// The number of samples.
    pub n: usize,
    /// The seed; the same request gives the same samples on the same machine.
    pub seed: u64,
    /// What the samples are given, a row for each.
    pub condition: Condition,
    /// Sampling options by name. A model refuses those that it does not have; it ignores none.
    pub options: Table,
}

impl SampleRequest {
    /// `n` samples with the model's own options.
    pub fn new(n: usize, seed: u64) -> Self {
        SampleRequest { n, seed, condition: Condition::NONE, options: Table::new() }
    }

    /// A request for these options, and no samples.
    pub fn of(options: &Table) -> Self {
        SampleRequest { options: options.clone(), ..Self::new(0, 0) }
    }

    /// The same request with this value of an option. A dotted name is that of an option of a choice: `sampler.steps`.
    /// A choice itself takes the name of a kind.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        let (path, name) = option.rsplit_once('.').map_or((None, option), |(path, name)| (Some(path), name));
        let mut table = &mut self.options;
        for part in path.into_iter().flat_map(|path| path.split('.')) {
            let entry = table.entry(part).or_insert_with(|| Table::new().into());
            if let Value::String(kind) = entry {
                *entry = Table::from_iter([(config::KIND.to_owned(), Value::String(std::mem::take(kind)))]).into();
            }
            let Value::Table(inner) = entry else { return self };
            table = inner;
        }
        table.insert(name.to_owned(), value.into());
        self
    }

    /// The same request with a condition for each sample. A model refuses parts that it does not learn from.
    #[must_use]
    pub fn given(self, condition: Condition) -> Self {
        SampleRequest { condition, ..self }
    }

    /// The request for `n` of these samples from number `start` on, with another seed.
    #[must_use]
    pub fn part(&self, start: usize, n: usize, seed: u64) -> Self {
        let condition = self.condition.narrow(start as i64, n as i64);
        SampleRequest { n, seed, condition, options: self.options.clone() }
    }

    /// The options of a model whose own are `defaults`, with those of the request in their places.
    ///
    /// # Errors
    /// When the model has no such option, or the type of a value is wrong.
    pub fn resolve<S: Clone + Serialize + DeserializeOwned>(&self, defaults: &S) -> Result<S> {
        if self.options.is_empty() {
            return Ok(defaults.clone());
        }
        let mut table = to_table(defaults)?;
        let resolved = overlay(&mut table, &self.options, complete::<S>).and_then(|()| from_table(&table));
        resolved.map_err(|error| match error {
            Error::Unknown { what: "key", name, nearest, known } => {
                Error::Unknown { what: "sampling option", name, nearest, known }
            }
            error => error,
        })
    }
}

/// The options of a model that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// The sampling options of a model that takes latent noise to samples in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnePass {
    /// Factor on the standard deviation of the latent noise, from 0 up.
    pub temperature: f64,
}

impl Default for OnePass {
    fn default() -> Self {
        OnePass { temperature: 1.0 }
    }
}

impl OnePass {
    /// Refuses options out of range.
    ///
    /// # Errors
    /// When the temperature is negative or not finite.
    pub fn checked(self) -> Result<Self> {
        config::not_negative("temperature", self.temperature)?;
        Ok(self)
    }
}

/// The cost of a [`SampleRequest`], for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// The sampler, where the model has several.
    pub sampler: Option<&'static str>,
    /// The number of network evaluations for one sample (NFE).
    pub evaluations: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_request_win_over_the_models_own() {
        let own = OnePass { temperature: 0.5 };
        let request = SampleRequest::new(1, 0);
        assert_eq!(request.resolve(&own).unwrap(), own);
        // A whole number is a number.
        assert_eq!(request.clone().with("temperature", 2).resolve(&own).unwrap().temperature, 2.0);
        let error = request.clone().with("temprature", 2.0).resolve(&own).unwrap_err();
        assert_eq!(error.to_string(), "unknown sampling option `temprature`: did you mean `temperature`?");
        assert!(request.clone().with("temperature", "warm").resolve(&own).is_err());
        assert!(request.with("steps", 3).resolve(&NoOptions {}).is_err());
    }

    #[test]
    fn dotted_options_belong_to_a_choice() {
        let request = SampleRequest::new(1, 0).with("sampler", "ddim").with("sampler.steps", 3).with("a.b.c", true);
        let expected = toml::toml! {
            sampler = { kind = "ddim", steps = 3 }
            a = { b = { c = true } }
        };
        assert_eq!(request.options, expected);
    }

    #[test]
    fn a_temperature_is_a_number_from_0_up() {
        assert!(OnePass { temperature: 0.0 }.checked().is_ok());
        for temperature in [-1.0, f64::NAN, f64::INFINITY] {
            let message = OnePass { temperature }.checked().unwrap_err().to_string();
            assert_eq!(message, format!("`temperature` must be a number from 0 up, found {temperature}"));
        }
    }
}
