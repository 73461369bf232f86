//! Denoising diffusion probabilistic models (Ho et al. 2020).

mod config;
mod density;
mod latent;

use gen_core::data::{Batch, DataSpec};
use gen_core::model::{
    Density, Frame, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step, Trajectory, Units,
};
use gen_core::native::as_convolved;
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

use crate::bound::Bound;
use crate::network::{Network, NetworkConfig};
use crate::prediction::{Objective, Prediction, Scales, stratified_timesteps};
use crate::samplers::{Variance, ancestral, ddim};
use crate::schedule::{DiscreteVp, Level, NoiseSchedule, Spacing};
use crate::weighting::Weighting;

pub use config::{DdpmConfig, Sampler};

/// A denoising diffusion probabilistic model, on images or points.
pub struct Ddpm {
    config: DdpmConfig,
    card: ModelCard,
    device: Device,
    params: Params,
    network: Network,
    process: DiscreteVp,
    objective: Objective,
    units: Units,
    optimizer: Adam,
}

/// A request for samples, resolved.
struct Plan {
    sampler: Sampler,
    timesteps: Vec<usize>,
    temperature: f64,
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

    fn clip(&self, x0: Tensor) -> Tensor {
        if self.config.clip { x0.clamp(-1.0, 1.0) } else { x0 }
    }

    /// The estimate D(x, level) of x_0.
    fn denoise(&self, x: &Tensor, level: &Level) -> Tensor {
        self.clip(self.estimate(x, level))
    }

    /// [`Ddpm::denoise`] without the clipping.
    fn estimate(&self, x: &Tensor, level: &Level) -> Tensor {
        let scales = Scales::of(level, x);
        let time = Tensor::full([x.size()[0]], level.time, (x.kind(), x.device()));
        self.config.prediction.x0(&self.network.forward(x, &time, None), x, &scales)
    }

    /// # Errors
    /// When the model cannot honour the request.
    fn plan(&self, request: &SampleRequest) -> Result<Plan> {
        let named = request.sampler.as_deref().map(Sampler::named).transpose()?;
        let sampler = named.unwrap_or(self.config.sampler);
        let steps = request.steps.unwrap_or(match sampler {
            Sampler::Ddim => self.config.ddim_steps,
            Sampler::Ancestral => self.config.timesteps,
        });
        let timesteps = self.config.spacing.timesteps(self.config.timesteps, steps)?;
        let deterministic = sampler == Sampler::Ddim && self.config.ddim_eta == 0.0;
        if request.temperature.is_some() && !deterministic {
            return Err(Error::invalid(
                "a temperature scales the noise that sampling starts from: it needs the sampler `ddim` with \
                 `ddim_eta = 0`, where there is no other noise",
            ));
        }
        Ok(Plan { sampler, timesteps, temperature: request.checked_temperature()? })
    }

    /// The samples of `plan`. `observe` gets the number of each step, x before it, and the estimate of x_0 there.
    fn draw(&self, plan: &Plan, request: &SampleRequest, observe: &mut dyn FnMut(usize, &Tensor, &Tensor)) -> Tensor {
        let levels = self.process.levels(&plan.timesteps);
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let noise = |like: &Tensor| noise_like(&rng, like);
        let none = Tensor::zeros(self.card.data.shape.batch(0), (Kind::Float, self.device));
        let mut parts = vec![self.units.to_data(&none)];
        for rows in self.parts(request.n) {
            let x = as_convolved(&(self.start(rows, &rng) * plan.temperature));
            let mut step = 0;
            let denoise = |x: &Tensor, level: &Level| {
                let x0 = self.denoise(x, level);
                observe(step, x, &x0);
                step += 1;
                x0
            };
            let x = match plan.sampler {
                Sampler::Ddim => ddim(denoise, x, &levels, self.config.ddim_eta, noise),
                Sampler::Ancestral => ancestral(denoise, x, &levels, self.config.variance, noise),
            };
            parts.push(self.units.to_data(&x));
        }
        Tensor::cat(&parts, 0)
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
            for (name, quarter) in ["loss_q1", "loss_q2", "loss_q3", "loss_q4"].into_iter().zip(losses.chunk(4, 0)) {
                result = result.with(name, &quarter.mean(Kind::Float));
            }
        }
        Ok(result.with("grad_norm", &norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let plan = self.plan(request)?;
        Ok(self.draw(&plan, request, &mut |_, _, _| ()))
    }

    fn sampling(&self, request: &SampleRequest) -> Result<Sampling> {
        let Plan { sampler, timesteps, .. } = self.plan(request)?;
        Ok(Sampling { sampler: Some(sampler.name()), evaluations: timesteps.len() })
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
        let plan = self.plan(request)?;
        // The last state is the samples, from which no step starts.
        let chosen = Trajectory::choose(plan.timesteps.len() + 1, frames)?;
        let mut seen: Vec<[Vec<Tensor>; 2]> = chosen.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        let samples = self.draw(&plan, request, &mut |step, x, x0| {
            if let Ok(place) = chosen.binary_search(&step) {
                seen[place][0].push(self.units.to_data_unclamped(x));
                seen[place][1].push(self.units.to_data_unclamped(x0));
            }
        });
        let frame = |(&step, [states, estimates]): (&usize, &[Vec<Tensor>; 2])| {
            let (label, state, estimate) = match plan.timesteps.get(step) {
                Some(t) => (format!("t = {t}"), joined(states, &samples), joined(estimates, &samples)),
                None => ("sample".to_owned(), samples.shallow_clone(), samples.shallow_clone()),
            };
            Frame { label, state, estimate: Some(estimate) }
        };
        Ok(Some(Trajectory { frames: chosen.iter().zip(&seen).map(frame).collect() }))
    }
}

impl Buildable for Ddpm {
    type Config = DdpmConfig;

    const NAME: &'static str = "ddpm";
    const SUMMARY: &'static str = "denoising diffusion: a U-Net (an MLP for points) removes noise step by step";
    const FAMILY: &'static str = "diffusion";

    /// Chosen for minutes on a processor without a GPU, not for days on several; the README lists the differences from
    /// Ho et al. (2020), with reasons.
    fn default_config(data: &DataSpec) -> DdpmConfig {
        DdpmConfig {
            timesteps: 1000,
            schedule: NoiseSchedule::Cosine,
            prediction: Prediction::V,
            weighting: Weighting::Uniform,
            sampler: Sampler::Ddim,
            ddim_steps: 25,
            ddim_eta: 0.0,
            spacing: Spacing::Trailing,
            variance: Variance::FixedLarge,
            clip: data.shape.is_image(),
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

    fn default_training(data: &DataSpec) -> TrainConfig {
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

    fn build(config: DdpmConfig, context: &BuildContext) -> Result<Self> {
        let BuildContext { data, device, seed } = context;
        let process = DiscreteVp::new(config.schedule, config.timesteps)?;
        config.check(data)?;
        let params = Params::drawn_from(stream(*seed, Purpose::Init, 0), Kind::Float, *device);
        let network = Network::new(params.root(), &config.network, data.shape)?;
        let parameters = params.count();
        let units = Units::new(&params.root(), data)?;
        Ok(Ddpm {
            objective: Objective::new(&process, config.prediction, config.weighting),
            optimizer: Adam::new(&params, config.optimizer)?,
            card: ModelCard {
                name: Self::NAME,
                family: Self::FAMILY,
                data: data.clone(),
                citation: "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models",
                parameters,
                sampling_parameters: parameters,
            },
            device: *device,
            config,
            params,
            network,
            process,
            units,
        })
    }
}
