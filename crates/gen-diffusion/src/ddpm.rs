//! Denoising diffusion probabilistic models (Ho et al. 2020).

mod density;
mod latent;

use gen_core::data::{Batch, DataSpec};
use gen_core::model::{
    Density, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step, Trajectory,
};
use gen_core::native::as_convolved;
use gen_core::nn::Standardise;
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::bound::Bound;
use crate::network::{Network, NetworkConfig};
use crate::prediction::{Objective, Prediction, Scales, stratified_timesteps};
use crate::samplers::{Variance, ancestral, ddim};
use crate::schedule::{DiscreteVp, Level, NoiseSchedule, Spacing};

/// Which sampler a [`Ddpm`] uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// [`ddim`].
    Ddim,
    /// [`ancestral`].
    Ancestral,
}

impl Sampler {
    /// All of them.
    const ALL: [Sampler; 2] = [Sampler::Ddim, Sampler::Ancestral];

    /// The name by which a request asks for it.
    fn name(self) -> &'static str {
        match self {
            Sampler::Ddim => "ddim",
            Sampler::Ancestral => "ancestral",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|sampler| sampler.name() == name);
        found.ok_or_else(|| Error::unknown("sampler", name, Self::ALL.map(Self::name)))
    }
}

/// Hyperparameters of [`Ddpm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DdpmConfig {
    /// Timesteps T of the process.
    pub timesteps: usize,
    /// The noise over the timesteps.
    pub schedule: NoiseSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// γ of the min-SNR weights of the loss; 0 leaves them out.
    pub min_snr_gamma: f64,
    /// The sampler where a request names none.
    pub sampler: Sampler,
    /// Steps of the DDIM sampler where a request gives no number. (The ancestral sampler then takes all T.)
    pub ddim_steps: usize,
    /// η of the DDIM sampler: 0 adds no noise, 1 as much as ancestral sampling.
    pub ddim_eta: f64,
    /// Which timesteps a sampler with fewer steps than T goes through.
    pub spacing: Spacing,
    /// The variance of ancestral steps, and of the process that the discrete bound is of.
    pub variance: Variance,
    /// Whether estimates of x_0 are clipped to [-1, 1]; for images only.
    pub clip: bool,
    /// Which bound on the likelihood is estimated.
    #[serde(default)]
    pub bound: Bound,
    /// Network evaluations a row in an estimate of the bound, 2 or more; from T on, every term of the discrete one is
    /// evaluated.
    pub bound_evaluations: usize,
    /// The network.
    pub network: NetworkConfig,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl DdpmConfig {
    fn check(&self, data: &DataSpec) -> Result<()> {
        self.spacing
            .timesteps(self.timesteps, self.ddim_steps)
            .map_err(|error| Error::invalid(format!("`ddim_steps`: {error}")))?;
        if !(0.0..=1.0).contains(&self.ddim_eta) {
            return Err(Error::invalid(format!("`ddim_eta` must be in [0, 1], found {}", self.ddim_eta)));
        }
        if self.bound_evaluations < 2 {
            return Err(Error::invalid(format!(
                "`bound_evaluations` must be at least 2, found {}",
                self.bound_evaluations
            )));
        }
        if self.clip && !data.shape.is_image() {
            return Err(Error::invalid(
                "`clip` is for images, whose values are in [-1, 1]: points have no such range",
            ));
        }
        Ok(())
    }
}

/// A denoising diffusion probabilistic model, on images or points.
pub struct Ddpm {
    config: DdpmConfig,
    card: ModelCard,
    device: Device,
    params: Params,
    network: Network,
    process: DiscreteVp,
    objective: Objective,
    /// For points.
    standardise: Option<Standardise>,
    adam: Adam,
}

/// A request for samples, resolved.
struct Plan {
    sampler: Sampler,
    timesteps: Vec<usize>,
    temperature: f64,
}

impl Ddpm {
    fn encode(&self, x: &Tensor) -> Tensor {
        match &self.standardise {
            Some(standardise) => standardise.forward(x),
            None => x.shallow_clone(),
        }
    }

    /// Rows that go through the network at a time when no gradient is needed. More feature maps than that would fall out
    /// of a processor's cache, and fewer would not fill its vectors; a GPU wants more.
    fn chunk(&self) -> i64 {
        match (&self.network, self.device) {
            (Network::Unet(_), Device::Cpu) => 64,
            _ => 250,
        }
    }

    fn decode(&self, x: &Tensor) -> Tensor {
        match &self.standardise {
            Some(standardise) => standardise.inverse(x),
            None => x.clamp(-1.0, 1.0),
        }
    }

    fn clip(&self, x0: Tensor) -> Tensor {
        if self.config.clip { x0.clamp(-1.0, 1.0) } else { x0 }
    }

    /// The estimate D(x, level) of x_0.
    fn denoise(&self, x: &Tensor, level: &Level) -> Tensor {
        self.clip(self.estimate(x, level))
    }

    /// [`Ddpm::denoise`] as the network has it, never clipped.
    fn estimate(&self, x: &Tensor, level: &Level) -> Tensor {
        let scales = Scales::of(level, x);
        let time = Tensor::full([x.size()[0]], level.time, (x.kind(), x.device()));
        self.config.prediction.x0(&self.network.forward(x, &time, None), x, &scales)
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let expected = self.card.data.shape.batch(-1);
        if x.size().len() != expected.len() || x.size()[1..] != expected[1..] {
            return Err(Error::invalid(format!(
                "`{}` was built for {:?}, found a batch of {:?}",
                Self::NAME,
                self.card.data.shape,
                x.size()
            )));
        }
        Ok(())
    }

    /// What a request asks for, or why it cannot be had.
    fn plan(&self, request: &SampleRequest) -> Result<Plan> {
        let named = request.sampler.as_deref().map(Sampler::named).transpose()?;
        let sampler = named.unwrap_or(self.config.sampler);
        let steps = request.steps.unwrap_or(match sampler {
            Sampler::Ddim => self.config.ddim_steps,
            Sampler::Ancestral => self.config.timesteps,
        });
        let timesteps = self.config.spacing.timesteps(self.config.timesteps, steps)?;
        let temperature = request.temperature.unwrap_or(1.0);
        let deterministic = sampler == Sampler::Ddim && self.config.ddim_eta == 0.0;
        if request.temperature.is_some() && !deterministic {
            return Err(Error::invalid(
                "a temperature scales the noise that sampling starts from: it needs the sampler `ddim` with \
                 `ddim_eta = 0`, where there is no other noise",
            ));
        }
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::invalid(format!("the temperature must be 0 or more, found {temperature}")));
        }
        Ok(Plan { sampler, timesteps, temperature })
    }

    /// The samples of `plan`. `observe` is shown each x on the way to them, which of the part's steps it is at, and the
    /// estimate of x_0 there.
    fn draw(
        &self,
        plan: &Plan,
        request: &SampleRequest,
        observe: &mut dyn FnMut(usize, &Tensor, &Tensor),
    ) -> Tensor {
        let levels = self.process.levels(&plan.timesteps);
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let noise = |like: &Tensor| noise_like(&rng, like);
        let none = Tensor::zeros(self.card.data.shape.batch(0), (Kind::Float, self.device));
        let mut parts = vec![self.decode(&none)];
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
            parts.push(self.decode(&x));
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

/// ε ~ N(0, I) of the shape of `x`, which the network takes best. What is drawn does not depend on how `x` lies.
fn noise_like(rng: &Generator, x: &Tensor) -> Tensor {
    as_convolved(&rng.randn(x.size(), (x.kind(), x.device())))
}

impl GenerativeModel for Ddpm {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        self.check(&batch.x)?;
        let x0 = as_convolved(&self.encode(&batch.x));
        let rows = x0.size()[0];
        let t = stratified_timesteps(rows, self.config.timesteps, &x0, &step.rng);
        let noise = noise_like(&step.rng, &x0);
        let network = |x: &Tensor, time: &Tensor| self.network.forward(x, time, Some(&step.rng));
        let losses = self.objective.loss(network, &x0, &noise, &t);
        let loss = losses.mean(Kind::Float);
        let norm = self.adam.step(&loss, step.lr_scale)?;
        let mut result = Losses::new().with("loss", &loss);
        if rows >= 4 {
            // Timesteps ascend with the rows.
            for (name, quarter) in
                ["loss_q1", "loss_q2", "loss_q3", "loss_q4"].into_iter().zip(losses.chunk(4, 0))
            {
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

impl Buildable for Ddpm {
    type Config = DdpmConfig;

    const NAME: &'static str = "ddpm";
    const SUMMARY: &'static str =
        "denoising diffusion: a U-Net (an MLP for points) removes noise step by step";
    const FAMILY: &'static str = "diffusion";

    /// Chosen for minutes on a processor without a GPU, not for days on several; the README says what differs from
    /// Ho et al. (2020) and why.
    fn default_config(data: &DataSpec) -> DdpmConfig {
        DdpmConfig {
            timesteps: 1000,
            schedule: NoiseSchedule::Cosine,
            prediction: Prediction::V,
            min_snr_gamma: 0.0,
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
            // An estimate takes as many passes of the network as `bound_evaluations` says.
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
        let standardise = Standardise::of(&params.root(), data)?;
        Ok(Ddpm {
            objective: Objective::new(&process, config.prediction, config.min_snr_gamma)?,
            adam: Adam::new(&params, config.optimizer)?,
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
            standardise,
        })
    }
}
