//! A flow as a model that is trained, sampled and asked: the same for every architecture.

mod density;
mod latent;

use std::cell::Cell;
use std::marker::PhantomData;

use gen_core::data::{Batch, DataSpec};
use gen_core::model::{
    Density, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step, Trajectory,
};
use gen_core::optim::{Adam, AdamConfig};
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

use crate::base::{Base, StandardNormal};
use crate::bijection::{Bijection, Given};
use crate::dequantise::Dequantiser;
use crate::flow::Flow;

/// What makes one flow differ from another: its hyperparameters, and the bijection that they describe.
pub trait Architecture: 'static {
    /// The hyperparameters.
    type Config: Serialize + DeserializeOwned;

    /// The name on the command line.
    const NAME: &'static str;
    /// One line for `gen list`.
    const SUMMARY: &'static str;
    /// Author, year and title of the source.
    const CITATION: &'static str;

    /// Images that go through the flow together on a processor: few enough for its caches to hold their feature maps.
    const IMAGES_IN_CACHE: i64 = 128;

    /// The default hyperparameters for this kind of data.
    fn default_config(data: &DataSpec) -> Self::Config;

    /// The default training settings for this kind of data.
    fn default_training(data: &DataSpec) -> TrainConfig;

    /// The flow with fresh weights, registered in `params`.
    ///
    /// # Errors
    /// When the configuration or the data shape is not possible; the message says what is.
    fn design(config: &Self::Config, params: &Params, data: &DataSpec) -> Result<Design>;
}

/// The parts of a flow.
#[derive(Debug)]
pub struct Design {
    /// From data to latents, `[batch, dimension]`: of points as they come, of images scaled to [0, 1).
    pub bijection: Box<dyn Bijection>,
    /// The distribution of the latents.
    pub base: Box<dyn Base>,
    /// How pixels become numbers in [0, 1); `None` for points.
    pub dequantiser: Option<Dequantiser>,
    /// The optimizer of all parameters.
    pub optimizer: AdamConfig,
}

impl Design {
    /// A flow onto N(0, I).
    pub fn new(
        bijection: impl Bijection + 'static,
        dequantiser: Option<Dequantiser>,
        optimizer: AdamConfig,
        params: &Params,
        data: &DataSpec,
    ) -> Self {
        let base = StandardNormal::new(data.shape.dimensions(), params.kind(), params.device());
        Design { bijection: Box::new(bijection), base: Box::new(base), dequantiser, optimizer }
    }
}

/// What is wrong where a configuration is for points and the data are images, or the other way round.
pub(crate) fn other_data(kind: &str, data: &DataSpec) -> Error {
    Error::invalid(format!("the configuration is for {kind}, `{}` has {:?}", data.name, data.shape))
}

/// A normalizing flow of the architecture `A`, trained by maximum likelihood.
///
/// Its likelihood is exact for points. For images it is that of dequantised bytes by one draw of the noise, uniform or
/// learned: a lower bound on that of the bytes, of which importance samples give a tighter one.
pub struct FlowModel<A> {
    card: ModelCard,
    params: Params,
    flow: Flow,
    dequantiser: Option<Dequantiser>,
    adam: Adam,
    initialised: Cell<bool>,
    architecture: PhantomData<A>,
}

impl<A: Architecture> FlowModel<A> {
    /// The density and its bijection: of points as they come, of images scaled to [0, 1).
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// All that is learned or saved.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether the feature maps of a pass should stay in a cache.
    fn is_in_cache(&self) -> bool {
        self.card.data.shape.is_image() && self.params.device() == Device::Cpu
    }

    /// How many of so many rows each pass has: enough to keep the machine busy, few enough for memory or a cache. The last
    /// one has what is left over as well, so that none is small.
    fn parts(&self, rows: i64) -> Vec<i64> {
        let size = match (self.is_in_cache(), self.card.data.shape.is_image()) {
            (true, _) => A::IMAGES_IN_CACHE,
            (false, true) => 500,
            (false, false) => 10_000,
        };
        let mut parts = vec![size; (rows / size).max(1) as usize];
        let before = size * (parts.len() as i64 - 1);
        parts.last_mut().into_iter().for_each(|last| *last = rows - before);
        parts
    }

    /// Lets what starts from data start from the first batch. A model whose weights were loaded has started.
    fn initialise(&self, x: &Tensor, rng: &Generator) {
        if self.initialised.get() {
            return;
        }
        if !self.flow.bijection().is_initialised() {
            let _no_grad = tch::no_grad_guard();
            let y = self.dequantiser.as_ref().map(|way| way.to_unit(x, Given::NOTHING, rng).0);
            let _ = self.flow.bijection().initialise(y.as_ref().unwrap_or(x), Given::NOTHING);
        }
        self.initialised.set(true);
    }

    fn check_shape(&self, x: &Tensor) -> Result<()> {
        let shape = self.card.data.shape;
        let size = x.size();
        if size.is_empty() || size[1..] != shape.batch(0)[1..] {
            return Err(Error::invalid(format!(
                "`{}` was built for rows of {:?}, found a tensor of {size:?}",
                A::NAME,
                &shape.batch(0)[1..]
            )));
        }
        Ok(())
    }

    /// The temperature of a request that has no other options.
    fn temperature(request: &SampleRequest) -> Result<f64> {
        request.require_one_pass(A::NAME)?;
        let temperature = request.temperature.unwrap_or(1.0);
        if !(0.0..=f64::MAX).contains(&temperature) {
            return Err(Error::invalid(format!(
                "the temperature must be a number from 0 up, found {temperature}"
            )));
        }
        Ok(temperature)
    }
}

/// The mean negative log-likelihood of `x`: of points in nats, of images in bits per dimension. With a learned noise, a
/// bound on it. Then the mean penalty, of flows that have one.
fn loss(
    data: &DataSpec,
    flow: &Flow,
    dequantiser: Option<&Dequantiser>,
    x: &Tensor,
    rng: &Generator,
) -> (Tensor, Option<Tensor>) {
    let given = Given::NOTHING.training(rng);
    let penalty = || flow.bijection().take_penalty().map(|penalty| penalty.mean(x.kind()));
    let Some(dequantiser) = dequantiser else {
        return (-flow.log_prob(x, given).mean(x.kind()), penalty());
    };
    let (y, log_q) = dequantiser.to_unit(x, given, rng);
    let mut log_prob = flow.log_prob(&y, given);
    if let Some(log_q) = log_q {
        log_prob -= log_q;
    }
    let dimensions = data.shape.dimensions();
    let offset = data.values.bits_per_dim(dequantiser.log_volume(dimensions), dimensions);
    (log_prob.mean(x.kind()) / -(dimensions as f64 * std::f64::consts::LN_2) + offset, penalty())
}

impl<A: Architecture> GenerativeModel for FlowModel<A> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        let x = &batch.x;
        self.check_shape(x)?;
        self.initialise(x, &step.rng);
        let rows = x.size()[0];
        let sizes = if self.is_in_cache() { self.parts(rows) } else { vec![rows] };
        let parts = x.split_with_sizes(&sizes[..], 0);
        let mut penalties: Option<Tensor> = None;
        let losses = parts.iter().map(|part| {
            let (loss, penalty) =
                loss(&self.card.data, &self.flow, self.dequantiser.as_ref(), part, &step.rng);
            let share = part.size()[0] as f64 / rows as f64;
            let weighted = |x: Tensor| if parts.len() == 1 { x } else { x * share };
            let loss = weighted(loss);
            let Some(penalty) = penalty.map(weighted) else { return loss };
            let total = loss + &penalty;
            let penalty = penalty.detach();
            penalties = Some(penalties.take().map_or_else(|| penalty.shallow_clone(), |sum| sum + &penalty));
            total
        });
        let (total, norm) = self.adam.step_in_parts(losses, step.lr_scale)?;
        let name = if self.dequantiser.is_some() { "bits_per_dim" } else { "nll" };
        let losses = match penalties {
            None => Losses::new().with(name, &total),
            Some(penalty) => Losses::new().with(name, &(total - &penalty)).with("penalty", &penalty),
        };
        let losses = losses.with("grad_norm", &norm);
        Ok(match self.flow.bijection().evaluations() {
            None => losses,
            Some(evaluations) => losses.with("nfe", &Tensor::from(evaluations as f64)),
        })
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let temperature = Self::temperature(request)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let size = self.card.data.shape.batch(request.n as i64);
        // Points come in the units of the data, which take f64.
        let kind = if self.card.data.shape.is_image() { self.params.kind() } else { Kind::Double };
        let samples = Tensor::zeros(size.as_slice(), (kind, self.params.device()));
        let parts = self.parts(request.n as i64);
        for part in samples.split_with_sizes(&parts[..], 0).iter_mut() {
            let x = self.flow.sample(part.size()[0], temperature, Given::NOTHING, &rng);
            part.copy_(&self.dequantiser.as_ref().map_or_else(|| x.shallow_clone(), |way| way.from_unit(&x)));
        }
        Ok(samples)
    }

    /// One evaluation, or those that a solver with steps of its own takes for up to 64 samples of the request.
    fn sampling(&self, request: &SampleRequest) -> Result<Sampling> {
        Self::temperature(request)?;
        let solves = self.flow.bijection().evaluations().is_some();
        if solves {
            let _samples = self.sample(&SampleRequest { n: request.n.clamp(1, 64), ..request.clone() })?;
        }
        Ok(Sampling { sampler: None, evaluations: self.flow.bijection().evaluations().unwrap_or(1) })
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.adam.state()
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }

    fn latent(&self) -> Option<&dyn Latent> {
        Some(self)
    }

    fn trajectory(&self, request: &SampleRequest, frames: usize) -> Result<Option<Trajectory>> {
        self.path(request, frames).map(Some)
    }
}

impl<A: Architecture> Buildable for FlowModel<A> {
    type Config = A::Config;

    const NAME: &'static str = A::NAME;
    const SUMMARY: &'static str = A::SUMMARY;
    const FAMILY: &'static str = "flow";

    fn default_config(data: &DataSpec) -> A::Config {
        A::default_config(data)
    }

    fn default_training(data: &DataSpec) -> TrainConfig {
        A::default_training(data)
    }

    fn build(config: A::Config, context: &BuildContext) -> Result<Self> {
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let Design { bijection, base, dequantiser, optimizer } = A::design(&config, &params, &context.data)?;
        let count = params.count();
        let of_noise = dequantiser.as_ref().map_or(0, Dequantiser::parameters);
        Ok(FlowModel {
            card: ModelCard {
                name: A::NAME,
                family: "flow",
                data: context.data.clone(),
                citation: A::CITATION,
                parameters: count,
                sampling_parameters: count - of_noise,
            },
            adam: Adam::new(&params, optimizer)?,
            flow: Flow::from_parts(bijection, base),
            params,
            dequantiser,
            initialised: Cell::new(false),
            architecture: PhantomData,
        })
    }
}
