use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::file::{self, Content};
use crate::config::{Table, from_table, to_table};
use crate::data::{Condition, DataSpec, Split, signed_to_bytes};
use crate::error::{Error, Result};
use crate::model::SampleRequest;
use crate::registry::{BuildContext, Buildable, Preset};
use crate::rng::{Purpose, stream};

/// A trained model with the settings that it was built with.
#[derive(Debug)]
pub struct Fitted<M: Buildable> {
    preset: &'static Preset<M>,
    model: M,
    config: Table,
    sampling: Table,
    data: DataSpec,
}

/// The seed of estimates by [`Fitted::log_prob`].
const ESTIMATE: u64 = 0;

impl<M: Buildable> Fitted<M> {
    pub(super) fn new(preset: &'static Preset<M>, model: M, config: Table, sampling: Table, data: DataSpec) -> Self {
        Fitted { preset, model, config, sampling, data }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// `n` samples in the form of the data: images `u8 [n, channels, height, width]`, or points `f64 [n, dimension]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn sample(&self, n: usize, seed: u64) -> Result<Tensor> {
        self.sample_with(&SampleRequest::new(n, seed))
    }

    /// A sample for each row of `condition`, whose images are in the form of the data.
    ///
    /// # Errors
    /// When the model does not learn from a part of the condition, lacks one that it needs, or a part does not fit the
    /// data.
    pub fn sample_given(&self, condition: &Condition, seed: u64) -> Result<Tensor> {
        let rows = condition.rows().ok_or_else(|| Error::invalid("samples are given something: found nothing"))?;
        self.sample_with(&SampleRequest::new(rows as usize, seed).given(condition.to_model()))
    }

    /// As [`Fitted::sample`], with sampling options.
    ///
    /// # Errors
    /// When the model does not have an option, or its value is out of range.
    pub fn sample_with(&self, request: &SampleRequest) -> Result<Tensor> {
        let x = self.model.sample(request)?;
        Ok(if self.data.shape.is_image() { signed_to_bytes(&x) } else { x.to_kind(Kind::Double) })
    }

    /// ln p of each row of `x`, in the form of the data, by the model's main kind of likelihood: `[n]`, in nats. An
    /// estimate draws the same noise in each call.
    ///
    /// # Errors
    /// When the model gives data no likelihood, or `x` is of another form.
    pub fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        self.log_prob_given(x, &Condition::NONE)
    }

    /// ln p(x | condition) of each row, as [`Fitted::log_prob`].
    ///
    /// # Errors
    /// As [`Fitted::log_prob`], when the model does not learn from a part of the condition, lacks one that it needs, or
    /// a part does not fit the data.
    pub fn log_prob_given(&self, x: &Tensor, condition: &Condition) -> Result<Tensor> {
        let name = self.preset.name;
        self.preset.capabilities.check_given(name, condition)?;
        let without = || Error::invalid(format!("`{name}` gives no likelihood to this data"));
        let density = self.model.density().ok_or_else(without)?;
        let kind = density.kinds().first().copied().ok_or_else(without)?;
        let (shape, found) = (self.data.shape.batch(0), x.size());
        let is_kind = if self.data.shape.is_image() { x.kind() == Kind::Uint8 } else { x.is_floating_point() };
        if found.is_empty() || found[1..] != shape[1..] || !is_kind {
            let expected = if self.data.shape.is_image() { "u8" } else { "floating-point" };
            return Err(Error::invalid(format!(
                "the model was trained on {expected} [n] of {:?}, found {:?} {found:?}",
                &shape[1..],
                x.kind()
            )));
        }
        let rows = Split { x: x.shallow_clone(), condition: condition.clone() };
        let batch = rows.to_batch(&self.data, &stream(ESTIMATE, Purpose::Data, 0));
        density.log_likelihood(&batch, kind, ESTIMATE)
    }

    /// Writes the model to one safetensors file, with its settings inside. The file appears whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let content = Content {
            model: self.preset.name.to_owned(),
            config: self.config.clone(),
            sampling: self.sampling.clone(),
            data: to_table(&self.data)?,
        };
        file::write(path.as_ref(), &content, &self.model.weights())
    }

    /// Reads a model of this preset that [`Fitted::save`] wrote, on `device`.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or holds another model.
    pub fn load(preset: &'static Preset<M>, path: impl AsRef<Path>, device: Device) -> Result<Self> {
        let path = path.as_ref();
        let (Content { model: name, config, sampling, data }, weights) = file::read(path)?;
        if name != preset.name {
            return Err(Error::format(path, format!("the file holds the model `{name}`, not `{}`", preset.name)));
        }
        let data: DataSpec = from_table(&data)?;
        let context = BuildContext { data: data.clone(), device, seed: 0 };
        let mut model = preset.build(from_table(&config)?, &context)?;
        model.set_sampling_options(&sampling)?;
        model.weights().assign(&weights).map_err(Error::file(path))?;
        Ok(Fitted { preset, model, config, sampling, data })
    }
}
