//! The traits of generative models, common to all families.

mod conditioning;
mod density;
mod latent;
mod sampling;
mod trajectory;
mod units;

use tch::Tensor;

use crate::config::Table;
use crate::data::{Batch, DataSpec};
use crate::error::{Error, Result};
use crate::params::NamedTensors;
use crate::rng::{Generator, Purpose, stream};

pub use conditioning::{ConditionVector, Conditioning};
pub use density::{Density, LikelihoodKind};
pub use latent::{Interpolation, Latent};
pub use sampling::{NoOptions, OnePass, SampleRequest, Sampling};
pub use trajectory::{Frame, Trajectory};
pub use units::Units;

/// The properties of a model that are known without running it.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// The name in the registry.
    pub name: &'static str,
    /// Its family: `gan`, `vae`, `flow`, `diffusion`, or `baseline` for a model shown beside them.
    pub family: &'static str,
    /// The data that it was built for.
    pub data: DataSpec,
    /// The parts of the condition that it learns from.
    pub conditioning: Conditioning,
    /// Author, year and title of the source.
    pub citation: &'static str,
    /// Trainable parameters, all networks together.
    pub parameters: usize,
    /// Trainable parameters that sampling needs (the generator, the decoder).
    pub sampling_parameters: usize,
}

impl ModelCard {
    /// Refuses a batch of another shape than that of the data: `[batch, channels, height, width]` or
    /// `[batch, dimension]`.
    ///
    /// # Errors
    /// When the shape is another; any number of rows will do.
    pub fn check_batch(&self, x: &Tensor) -> Result<()> {
        let (expected, found) = (self.data.shape.batch(0), x.size());
        if found.is_empty() || found[1..] != expected[1..] {
            return Err(Error::invalid(format!(
                "`{}` was built for batches of {:?}, found a tensor of {found:?}",
                self.name,
                &expected[1..]
            )));
        }
        Ok(())
    }

    /// Refuses a request whose condition has a part that the model does not learn from, or that does not fit the data.
    ///
    /// # Errors
    /// When there is such a part.
    pub fn check_given(&self, request: &SampleRequest) -> Result<()> {
        self.conditioning.check_given(&self.data, request)
    }
}

/// `f` of each run of at most `rows` rows of `x`, end to end: what is too large for one pass in parts that bound the
/// memory. Of no rows, `f` of none.
///
/// # Errors
/// Those of `f`.
///
/// # Panics
/// When `rows` is not positive.
pub fn map_chunks(x: &Tensor, rows: i64, f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let chunks = x.split(rows, 0).iter().map(f).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&chunks, 0))
}

/// The context of a training step.
#[derive(Debug)]
pub struct Step {
    /// The number of this step, counted from 0.
    pub index: u64,
    /// The used share of the budget, in [0, 1].
    pub progress: f64,
    /// The factor on every learning rate: warm-up times schedule.
    pub lr_scale: f64,
    /// The generator for all randomness in the step.
    pub rng: Generator,
}

impl Step {
    /// Step `index` at the full learning rate, for loops without a schedule. `rng` is seeded by `index`; a loop with a
    /// seed of its own replaces it by [`rng::stream`](crate::rng::stream).
    pub fn new(index: u64) -> Self {
        Step { index, progress: 0.0, lr_scale: 1.0, rng: stream(0, Purpose::Train, index) }
    }
}

/// The named scalar results of a training step, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Losses(Vec<(&'static str, Tensor)>);

impl Losses {
    /// No losses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a scalar, detached so that its graph is freed.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &Tensor) -> Self {
        self.0.push((name, value.detach()));
        self
    }

    /// Names and scalar tensors.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (*name, tensor))
    }

    /// The values on the host.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        self.0.iter().map(|(name, tensor)| (*name, tensor.double_value(&[]))).collect()
    }
}

/// A model that can be trained step by step and sampled.
pub trait GenerativeModel {
    /// Name, family, size.
    fn card(&self) -> &ModelCard;

    /// The names of all losses that training steps of this model report, in the order of the columns of the history. A
    /// step may leave out those that it has not computed.
    fn losses(&self) -> Vec<&'static str>;

    /// Takes one optimizer step (a GAN: one of each network) on a batch.
    ///
    /// # Errors
    /// When the batch has another shape than the model was built for, or libtorch fails.
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses>;

    /// Draws samples without gradients: `[n, channels, height, width]` in [-1, 1], or `[n, dimension]`.
    ///
    /// # Errors
    /// When the request has an option that the model does not support, or a value out of range.
    fn sample(&self, request: &SampleRequest) -> Result<Tensor>;

    /// The sampler and the cost of `request`, for records; by default one pass.
    ///
    /// # Errors
    /// As [`GenerativeModel::sample`].
    fn sampling(&self, request: &SampleRequest) -> Result<Sampling> {
        let _ = request;
        Ok(Sampling { sampler: None, evaluations: 1 })
    }

    /// The sampling options of `request`, with the model's own where it leaves them open. By default there are none.
    ///
    /// # Errors
    /// As [`GenerativeModel::sample`].
    fn sampling_options(&self, request: &SampleRequest) -> Result<Table> {
        request.resolve(&NoOptions {})?;
        Ok(Table::new())
    }

    /// Changes the model's own sampling options, which a request need not repeat. Other options keep their values.
    ///
    /// # Errors
    /// When there is no such option, or a value is out of range; nothing is changed then.
    fn set_sampling_options(&mut self, options: &Table) -> Result<()> {
        SampleRequest::of(options).resolve(&NoOptions {})?;
        Ok(())
    }

    /// The parameters and buffers for sampling and densities. They are averaged, saved and loaded.
    fn weights(&self) -> NamedTensors;

    /// The further state of training, for a resumed run: optimizer moments, a discriminator.
    fn training_state(&self) -> NamedTensors;

    /// The likelihood of data, for families that have one.
    fn density(&self) -> Option<&dyn Density> {
        None
    }

    /// The latents that samples are made of, for models that have such.
    fn latent(&self) -> Option<&dyn Latent> {
        None
    }

    /// The samples of `request` at up to `frames` moments on their way from noise to data. The last moment is the
    /// result of [`GenerativeModel::sample`]. `None` for a model that samples in one pass.
    ///
    /// # Errors
    /// As [`GenerativeModel::sample`], and when there are fewer than 2 frames.
    fn trajectory(&self, request: &SampleRequest, frames: usize) -> Result<Option<Trajectory>> {
        let _ = (request, frames);
        Ok(None)
    }

    /// The loss by which the best weights are chosen, of each row of a held-out batch: `[batch]`, lower is better,
    /// without gradients. By default the negative log-likelihood of the main kind; `None` for a model without a
    /// meaningful validation loss, such as a GAN.
    ///
    /// # Errors
    /// When the batch has the wrong shape.
    fn validation_loss(&self, batch: &Batch, seed: u64) -> Result<Option<ValidationLoss>> {
        let Some(density) = self.density() else { return Ok(None) };
        let Some(kind) = density.kinds().first().copied() else { return Ok(None) };
        let rows = density.log_likelihood(batch, kind, seed)?.neg();
        Ok(Some(ValidationLoss { objective: format!("nll-{kind}"), rows }))
    }
}

/// The result of [`GenerativeModel::validation_loss`].
#[derive(Debug)]
pub struct ValidationLoss {
    /// The name of the loss: `nll-exact`, `nll-dequantised`, `nll-lower-bound`, `squared-error`.
    pub objective: String,
    /// The loss of each row: `[batch]`.
    pub rows: Tensor,
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::data::Dataset;

    #[test]
    fn batches_of_another_shape_are_refused() {
        let points = Dataset::from_tensor("points", Tensor::zeros([3, 2], (Kind::Double, Device::Cpu)));
        let card = ModelCard {
            name: "tiny",
            family: "flow",
            data: points.unwrap().spec,
            conditioning: Conditioning::NONE,
            citation: "",
            parameters: 0,
            sampling_parameters: 0,
        };
        let check = |size: &[i64]| card.check_batch(&Tensor::zeros(size, (Kind::Float, Device::Cpu)));
        assert!(check(&[7, 2]).is_ok() && check(&[0, 2]).is_ok());
        for wrong in [&[][..], &[2], &[4, 3], &[4, 2, 1]] {
            let message = check(wrong).unwrap_err().to_string();
            let expected = format!("`tiny` was built for batches of [2], found a tensor of {wrong:?}");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn chunks_are_put_end_to_end() {
        let x = Tensor::arange(7, (Kind::Float, Device::Cpu)).unsqueeze(1);
        let mut sizes = Vec::new();
        let double = |x: &Tensor| {
            sizes.push(x.size()[0]);
            Ok(x * 2.0)
        };
        assert_eq!(map_chunks(&x, 3, double).unwrap(), &x * 2.0);
        assert_eq!(sizes, [3, 3, 1]);
        let none = map_chunks(&x.narrow(0, 0, 0), 3, |x| Ok(x * 2.0)).unwrap();
        assert_eq!(none.size(), [0, 1]);
        assert!(map_chunks(&x, 3, |_| Err(Error::invalid("wrong"))).is_err());
    }
}
