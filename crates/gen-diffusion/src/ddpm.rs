//! Denoising diffusion probabilistic models (Ho et al. 2020).

mod config;
mod density;
mod latent;
mod sampling;

use gen_core::Result;
use gen_core::config::{Table, to_table};
use gen_core::data::{Batch, DataSpec};
use gen_core::model::{
    Conditioning, Density, Frame, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step,
    Trajectory, Units,
};
use gen_core::native::as_convolved;
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable, Capabilities, Origin, Preset, Recipe};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::train::TrainConfig;
use tch::{Device, Kind, Tensor};

use crate::bound::Bound;
use crate::network::{Network, NetworkConfig};
use crate::objective::{Objective, stratified_timesteps};
use crate::prediction::{Prediction, Scales};
use crate::samplers::{ancestral, ddim};
use crate::schedule::{DiscreteVp, Level, NoiseSchedule};
use crate::weighting::Weighting;

pub use config::DdpmConfig;
pub use sampling::{Ancestral, Ddim, DdpmSampling, Sampler};

/// The names of the losses of the four quarters of the timesteps, from the least noise to the most.
const QUARTERS: [&str; 4] = ["loss_q1", "loss_q2", "loss_q3", "loss_q4"];

/// A denoising diffusion probabilistic model, on images or points.
pub struct Ddpm {
    config: DdpmConfig,
    sampling: DdpmSampling,
    card: ModelCard,
    device: Device,
    params: Params,
    network: Network,
    process: DiscreteVp,
    objective: Objective,
    units: Units,
    optimizer: Adam,
}

impl Ddpm {
    /// Rows that go through the network at a time when no gradient is needed. More feature maps than that would fall
    /// out of a processor's cache, and fewer would not fill its vectors; a GPU wants more.
    fn chunk(&self) -> i64 {
        match (&self.network, self.device) {
            (Network::Unet(_), Device::Cpu) => 64,
            _ => 250,
        }
    }

    /// The estimate D(x, level) of x_0, clipped to [-1, 1] or as it is.
    fn denoise(&self, x: &Tensor, level: &Level, clip: bool) -> Tensor {
        let x0 = self.estimate(x, level);
        if clip { x0.clamp(-1.0, 1.0) } else { x0 }
    }

    /// The estimate of x_0 as it is.
    fn estimate(&self, x: &Tensor, level: &Level) -> Tensor {
        let scales = Scales::of(level, x);
        let time = Tensor::full([x.size()[0]], level.time, (x.kind(), x.device()));
        self.config.prediction.x0(&self.network.forward(x, &time, None), x, &scales)
    }

    fn resolved(&self, request: &SampleRequest) -> Result<DdpmSampling> {
        self.card.check_given(request)?;
        let sampling = request.resolve(&self.sampling)?;
        sampling.check(self.config.timesteps, self.card.data.shape)?;
        Ok(sampling)
    }

    /// The samples of `request`. `observe` gets the number of each step, x before it, and the estimate of x_0 there.
    fn draw(&self, request: &SampleRequest, observe: &mut dyn FnMut(usize, &Tensor, &Tensor)) -> Result<Tensor> {
        let DdpmSampling { sampler, temperature, clip } = self.resolved(request)?;
        let levels = self.process.levels(&sampler.timesteps(self.config.timesteps)?);
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let noise = |like: &Tensor| noise_like(&rng, like);
        let none = Tensor::zeros(self.card.data.shape.batch(0), (Kind::Float, self.device));
        let mut parts = vec![self.units.to_data(&none)];
        for rows in self.parts(request.n) {
            let x = as_convolved(&(self.start(rows, &rng) * temperature));
            let mut step = 0;
            let denoise = |x: &Tensor, level: &Level| {
                let x0 = self.denoise(x, level, clip);
                observe(step, x, &x0);
                step += 1;
                x0
            };
            let x = match sampler {
                Sampler::Ddim(Ddim { eta, .. }) => ddim(denoise, x, &levels, eta, noise),
                Sampler::Ancestral(Ancestral { variance, .. }) => ancestral(denoise, x, &levels, variance, noise),
            };
            parts.push(self.units.to_data(&x));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// x_T of `rows` samples.
    fn start(&self, rows: i64, rng: &Generator) -> Tensor {
        rng.randn(self.card.data.shape.batch(rows), (Kind::Float, self.device))
    }

    /// `n` rows in parts that go through the network together.
    fn parts(&self, n: usize) -> impl Iterator<Item = i64> {
        let (n, chunk) = (n as i64, self.chunk());
        (0..n).step_by(chunk as usize).map(move |start| chunk.min(n - start))
    }
}

/// ε ~ N(0, I) of the shape of `x`, in the memory layout that the network prefers. The numbers do not depend on the
/// layout of `x`.
fn noise_like(rng: &Generator, x: &Tensor) -> Tensor {
    as_convolved(&rng.randn(x.size(), (x.kind(), x.device())))
}

/// The parts end to end; no rows of the kind of `like` where there are none.
fn joined(parts: &[Tensor], like: &Tensor) -> Tensor {
    if parts.is_empty() { like.shallow_clone() } else { Tensor::cat(parts, 0) }
}

impl GenerativeModel for Ddpm {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        ["loss"].into_iter().chain(QUARTERS).chain(["grad_norm"]).collect()
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        self.card.check_batch(&batch.x)?;
        let x0 = as_convolved(&self.units.to_network(&batch.x));
        let rows = x0.size()[0];
        let t = stratified_timesteps(rows, self.config.timesteps, &x0, &step.rng);
        let noise = noise_like(&step.rng, &x0);
        let network = |x: &Tensor, time: &Tensor| self.network.forward(x, time, Some(&step.rng));
        let losses = self.objective.loss(network, &x0, &noise, &t);
        let loss = losses.mean(Kind::Float);
        let norm = self.optimizer.step(&loss, step.lr_scale)?;
        let mut result = Losses::new().with("loss", &loss);
        if rows >= 4 {
            // Timesteps ascend with the rows.
            for (name, quarter) in QUARTERS.into_iter().zip(losses.chunk(4, 0)) {
                result = result.with(name, &quarter.mean(Kind::Float));
            }
        }
        Ok(result.with("grad_norm", &norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        self.draw(request, &mut |_, _, _| ())
    }

    fn sampling(&self, request: &SampleRequest) -> Result<Sampling> {
        let DdpmSampling { sampler, .. } = self.resolved(request)?;
        let timesteps = sampler.timesteps(self.config.timesteps)?;
        Ok(Sampling { sampler: Some(sampler.name()), evaluations: timesteps.len() })
    }

    fn sampling_options(&self, request: &SampleRequest) -> Result<Table> {
        to_table(&self.resolved(request)?)
    }

    fn set_sampling_options(&mut self, options: &Table) -> Result<()> {
        self.sampling = self.resolved(&SampleRequest::of(options))?;
        Ok(())
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.optimizer.state().prefixed("optimizer")
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }

    fn latent(&self) -> Option<&dyn Latent> {
        Some(self)
    }

    fn trajectory(&self, request: &SampleRequest, frames: usize) -> Result<Option<Trajectory>> {
        let timesteps = self.resolved(request)?.sampler.timesteps(self.config.timesteps)?;
        // The last state is the samples, from which no step starts.
        let chosen = Trajectory::choose(timesteps.len() + 1, frames)?;
        let mut seen: Vec<[Vec<Tensor>; 2]> = chosen.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        let samples = self.draw(request, &mut |step, x, x0| {
            if let Ok(place) = chosen.binary_search(&step) {
                seen[place][0].push(self.units.to_data_unclamped(x));
                seen[place][1].push(self.units.to_data_unclamped(x0));
            }
        })?;
        let frame = |(&step, [states, estimates]): (&usize, &[Vec<Tensor>; 2])| {
            let (label, state, estimate) = match timesteps.get(step) {
                Some(t) => (format!("t = {t}"), joined(states, &samples), joined(estimates, &samples)),
                None => ("sample".to_owned(), samples.shallow_clone(), samples.shallow_clone()),
            };
            Frame { label, state, estimate: Some(estimate) }
        };
        Ok(Some(Trajectory { frames: chosen.iter().zip(&seen).map(frame).collect() }))
    }
}

/// The preset of [`Ddpm`].
pub static QUICK_DIFFUSION: Preset<Ddpm> = Preset {
    name: "quick-diffusion",
    summary: "denoising diffusion: a U-Net (an MLP for points) removes noise step by step",
    origin: Origin::House,
    citation: "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models",
    departures: &[],
    capabilities: Capabilities {
        likelihood: true,
        latents: true,
        samplers: &["ddim", "ancestral"],
        ..Capabilities::SAMPLES
    },
    config: DdpmConfig::of,
    training,
    sampling: |data| DdpmSampling::of(data),
};

impl DdpmConfig {
    /// Chosen for minutes on a processor without a GPU, not for days on several; the README lists the differences from
    /// Ho et al. (2020), with reasons.
    pub fn of(data: &DataSpec) -> Self {
        DdpmConfig {
            timesteps: 1000,
            schedule: NoiseSchedule::Cosine,
            prediction: Prediction::V,
            weighting: Weighting::Uniform,
            bound: Bound::Continuous,
            bound_evaluations: 20,
            network: NetworkConfig::of(data.shape),
            optimizer: AdamConfig {
                learning_rate: if data.shape.is_image() { 4e-3 } else { 1e-2 },
                clip_norm: 1.0,
                ..AdamConfig::default()
            },
        }
    }
}

/// Training settings for this kind of data.
fn training(data: &DataSpec) -> TrainConfig {
    TrainConfig {
        batch_size: if data.shape.is_image() { 32 } else { 512 },
        schedule: Schedule::Cosine,
        warmup_steps: 100,
        ema_decay: 0.99,
        // An estimate takes `bound_evaluations` passes of the network.
        validation_rows: if data.shape.is_image() { 64 } else { 256 },
        ..TrainConfig::default()
    }
}

impl Buildable for Ddpm {
    type Config = DdpmConfig;
    type Sampling = DdpmSampling;

    const FAMILY: &'static str = "diffusion";
    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let Recipe { name, citation, config, sampling } = recipe;
        let BuildContext { data, device, seed } = context;
        let process = DiscreteVp::new(config.schedule, config.timesteps)?;
        config.check()?;
        let params = Params::drawn_from(stream(*seed, Purpose::Init, 0), Kind::Float, *device);
        let network = Network::new(params.root(), &config.network, data.shape)?;
        let parameters = params.count();
        let units = Units::new(&params.root(), data)?;
        Ok(Ddpm {
            objective: Objective::new(&process, config.prediction, config.weighting),
            optimizer: Adam::new(&params, config.optimizer)?,
            card: ModelCard {
                name,
                family: Self::FAMILY,
                data: data.clone(),
                conditioning: Conditioning::NONE,
                citation,
                parameters,
                sampling_parameters: parameters,
            },
            device: *device,
            sampling,
            config,
            params,
            network,
            process,
            units,
        })
    }
}
