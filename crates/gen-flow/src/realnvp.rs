//! RealNVP: affine couplings, multi-scale for images.

mod config;
mod images;
mod latent;
mod points;

use std::cell::Cell;

use gen_core::data::{Batch, DataSpec, Shape};
use gen_core::model::{
    BuildContext, Buildable, Density, Family, GenerativeModel, Latent, LikelihoodKind, Losses, ModelCard,
    SampleRequest, Step, Trajectory,
};
use gen_core::optim::Adam;
use gen_core::params::{NamedTensors, Params};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use tch::{Kind, Tensor};

pub use config::{ImageConfig, PointConfig, RealNvpConfig};

use crate::base::StandardNormal;
use crate::bijection::Chain;
use crate::dequantise::Dequantise;
use crate::flow::Flow;

/// RealNVP (Dinh et al. 2017): a chain of affine couplings, trained by maximum likelihood.
///
/// Points are standardised and go through couplings of alternating halves. Images are dequantised, taken to the real
/// line by a logit, squeezed, and go through couplings at each scale, half of what is left being factored out after
/// each but the last.
///
/// Its likelihood is exact and its samples cost one pass.
pub struct RealNvp {
    card: ModelCard,
    params: Params,
    flow: Flow,
    dequantise: Option<Dequantise>,
    adam: Adam,
    initialised: Cell<bool>,
}

impl RealNvp {
    /// The density and its bijection: of points as they come, of images scaled to [0, 1).
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Rows in one pass where no gradient is kept: enough to keep the processor busy, few enough for memory.
    fn chunk(&self) -> usize {
        if self.card.data.shape.is_image() { 500 } else { 10_000 }
    }

    /// What the density is of; for bytes with noise from `rng`.
    fn prepare(&self, x: &Tensor, rng: &Generator) -> Tensor {
        match self.dequantise {
            Some(dequantise) => dequantise.to_unit(x, rng),
            None => x.shallow_clone(),
        }
    }

    /// Lets what starts from data start from the first batch. A model whose weights were loaded has started.
    fn initialise(&self, x: &Tensor) {
        if self.initialised.get() {
            return;
        }
        if !self.flow.bijection().is_initialised() {
            let _no_grad = tch::no_grad_guard();
            let _ = self.flow.bijection().initialise(x, None);
        }
        self.initialised.set(true);
    }

    fn check_shape(&self, x: &Tensor) -> Result<()> {
        let shape = self.card.data.shape;
        let size = x.size();
        if size.is_empty() || size[1..] != shape.batch(0)[1..] {
            return Err(Error::invalid(format!(
                "`{}` was built for rows of {:?}, found a tensor of {size:?}",
                Self::NAME,
                &shape.batch(0)[1..]
            )));
        }
        Ok(())
    }
}

impl GenerativeModel for RealNvp {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        self.check_shape(&batch.x)?;
        let x = self.prepare(&batch.x, &step.rng);
        self.initialise(&x);
        let log_prob = self.flow.log_prob(&x, None).mean(x.kind());
        let (name, loss) = match self.dequantise {
            None => ("nll", -log_prob),
            Some(dequantise) => {
                let data = &self.card.data;
                let dimensions = data.shape.dimensions();
                let offset = data.values.bits_per_dim(dequantise.log_volume(dimensions), dimensions);
                let nats = dimensions as f64 * std::f64::consts::LN_2;
                ("bits_per_dim", log_prob / -nats + offset)
            }
        };
        let norm = self.adam.step(&loss, step.lr_scale)?;
        Ok(Losses::new().with(name, &loss).with("grad_norm", &norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let temperature = temperature(request)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let size = self.card.data.shape.batch(request.n as i64);
        let samples = Tensor::zeros(size.as_slice(), (self.params.kind(), self.params.device()));
        for start in (0..request.n).step_by(self.chunk()) {
            let n = self.chunk().min(request.n - start) as i64;
            let x = self.flow.sample(n, temperature, None, &rng);
            let x = self.dequantise.map_or_else(|| x.shallow_clone(), |dequantise| dequantise.from_unit(&x));
            samples.narrow(0, start as i64, n).copy_(&x);
        }
        Ok(samples)
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

/// The temperature of a request that has no other options.
fn temperature(request: &SampleRequest) -> Result<f64> {
    request.require_one_pass(RealNvp::NAME)?;
    let temperature = request.temperature.unwrap_or(1.0);
    if !(0.0..=f64::MAX).contains(&temperature) {
        return Err(Error::invalid(format!(
            "the temperature must be a number from 0 up, found {temperature}"
        )));
    }
    Ok(temperature)
}

impl Density for RealNvp {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        vec![LikelihoodKind::Exact]
    }

    fn log_likelihood(&self, x: &Tensor, kind: LikelihoodKind, seed: u64) -> Result<Tensor> {
        if kind != LikelihoodKind::Exact {
            return Err(Error::invalid(format!(
                "`{}` has an `exact` likelihood, which needs no `{kind}`",
                Self::NAME
            )));
        }
        self.check_shape(x)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        let rows = x.size()[0];
        let log_volume = self.dequantise.map_or(0.0, |way| way.log_volume(self.card.data.shape.dimensions()));
        let log_likelihood = Tensor::zeros([rows], (self.params.kind(), x.device()));
        for start in (0..rows).step_by(self.chunk()) {
            let n = (self.chunk() as i64).min(rows - start);
            let log_prob = self.flow.log_prob(&self.prepare(&x.narrow(0, start, n), &rng), None);
            log_likelihood.narrow(0, start, n).copy_(&(log_prob + log_volume));
        }
        Ok(log_likelihood)
    }
}

impl Buildable for RealNvp {
    type Config = RealNvpConfig;

    const NAME: &'static str = "realnvp";
    const SUMMARY: &'static str =
        "affine couplings, multi-scale for images; exact likelihood, samples in one pass";
    const FAMILY: Family = Family::Flow;

    fn default_config(data: &DataSpec) -> RealNvpConfig {
        RealNvpConfig::of(data)
    }

    fn default_training(data: &DataSpec) -> TrainConfig {
        config::training(data)
    }

    fn build(config: RealNvpConfig, context: &BuildContext) -> Result<Self> {
        let data = &context.data;
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let (chain, dequantise, optimizer): (Chain, _, _) = match (config, data.shape) {
            (RealNvpConfig::Points(config), Shape::Points { dimension }) => {
                config.check(dimension)?;
                (points::architecture(&params, &config, data)?, None, config.optimizer)
            }
            (RealNvpConfig::Images(config), Shape::Image { channels, height, width }) => {
                let shape = [channels, height, width];
                config.check(shape)?;
                (
                    images::architecture(&params, &config, shape),
                    Some(Dequantise::of(data.values)?),
                    config.optimizer,
                )
            }
            (config, shape) => {
                return Err(Error::invalid(format!(
                    "the configuration is for {}, `{}` has {shape:?}",
                    config.kind(),
                    data.name
                )));
            }
        };
        let base = StandardNormal::new(data.shape.dimensions(), Kind::Float, context.device);
        let count = params.count();
        Ok(RealNvp {
            card: ModelCard {
                name: Self::NAME,
                family: Self::FAMILY,
                data: data.clone(),
                citation: "Dinh, Sohl-Dickstein & Bengio 2017, Density estimation using Real NVP",
                parameters: count,
                sampling_parameters: count,
            },
            adam: Adam::new(&params, optimizer)?,
            flow: Flow::new(chain, base),
            params,
            dequantise,
            initialised: Cell::new(false),
        })
    }
}
