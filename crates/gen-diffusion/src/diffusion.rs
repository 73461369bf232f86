//! Diffusion models: pieces chosen by a configuration, behind the interface of all generative models.

mod conditions;
mod config;
mod density;
mod latent;
mod sampling;
mod trajectory;

use gen_core::Result;
use gen_core::config::{Table, to_table};
use gen_core::data::Batch;
use gen_core::model::{
    Density, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step, Trajectory, Units, map_chunks,
};
use gen_core::native::as_convolved;
use gen_core::optim::Adam;
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable, Recipe};
use gen_core::rng::{Generator, Purpose, stream};
use tch::{Device, Kind, Tensor};

use crate::network::Network;
use crate::objective::Objective;
use crate::samplers::{ancestral, ddim, euler, heun};
use crate::scales::Scales;
use crate::schedule::{Level, Process};

use conditions::Conditions;
pub use config::DiffusionConfig;
pub use sampling::{Ancestral, Ddim, DiffusionSampling, Euler, Heun, Sampler};

/// The names of the losses of the four quarters of a batch, from the least noise to the most.
const QUARTERS: [&str; 4] = ["loss_q1", "loss_q2", "loss_q3", "loss_q4"];

/// A diffusion model, on images or points.
pub struct Diffusion {
    config: DiffusionConfig,
    sampling: DiffusionSampling,
    card: ModelCard,
    device: Device,
    params: Params,
    network: Network,
    conditions: Option<Conditions>,
    process: Box<dyn Process>,
    objective: Objective,
    units: Units,
    optimizer: Adam,
}

impl Diffusion {
    /// Rows that go through the network at a time when no gradient is needed. More feature maps than that would fall
    /// out of a processor's cache, and fewer would not fill its vectors; a GPU wants more.
    fn chunk(&self) -> i64 {
        if self.card.data.shape.is_image() && self.device == Device::Cpu { 64 } else { 250 }
    }

    /// The estimate D(x) of x_0 as it is, given conditions `[batch, width]` or none.
    fn estimate(&self, x: &Tensor, scales: &Scales, given: Option<&Tensor>) -> Tensor {
        let prediction = self.config.prediction;
        let output = self.network.forward(&prediction.input(x, scales), &scales.time, given, None);
        prediction.x0(&output, x, scales)
    }

    /// The estimate that samplers see: guided, and clipped to [-1, 1], where the options say so.
    fn denoise(&self, x: &Tensor, level: &Level, given: Option<&Tensor>, options: &DiffusionSampling) -> Tensor {
        let scales = Scales::of(level, x);
        let mut x0 = self.estimate(x, &scales, given);
        if options.guidance != 0.0 {
            x0 = &x0 + (&x0 - self.estimate(x, &scales, None)) * options.guidance;
        }
        if options.clip { x0.clamp(-1.0, 1.0) } else { x0 }
    }

    fn resolved(&self, request: &SampleRequest) -> Result<DiffusionSampling> {
        self.card.check_given(request)?;
        let sampling = request.resolve(&self.sampling)?;
        let can_be_guided = self.conditions.as_ref().is_some_and(Conditions::are_dropped);
        sampling.check(&*self.process, self.card.data.shape, can_be_guided)?;
        Ok(sampling)
    }

    /// The samples of `request`. `observe` gets the number of each estimate of x_0, x before it, and the estimate.
    fn draw(&self, request: &SampleRequest, observe: &mut dyn FnMut(usize, &Tensor, &Tensor)) -> Result<Tensor> {
        let options = self.resolved(request)?;
        let levels = options.sampler.levels(&*self.process)?;
        let conditions = self.conditions.as_ref();
        let given = conditions.map(|all| all.of_request(&self.card.data, request)).transpose()?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let noise = |like: &Tensor| noise_like(&rng, like);
        let none = Tensor::zeros(self.card.data.shape.batch(0), (Kind::Float, self.device));
        let mut parts = vec![self.units.to_data(&none)];
        let mut first = 0;
        for rows in self.parts(request.n) {
            let x = as_convolved(&(self.start(rows, &rng) * (options.temperature * levels[0].spread())));
            let given = given.as_ref().map(|given| given.narrow(0, first, rows));
            let mut estimates = 0;
            let denoise = |x: &Tensor, level: &Level| {
                let x0 = self.denoise(x, level, given.as_ref(), &options);
                observe(estimates, x, &x0);
                estimates += 1;
                x0
            };
            let x = match options.sampler {
                Sampler::Ddim(Ddim { eta, .. }) => ddim(denoise, x, &levels, eta, noise),
                Sampler::Ancestral(Ancestral { variance, .. }) => ancestral(denoise, x, &levels, variance, noise),
                Sampler::Euler(_) => euler(denoise, x, &levels),
                Sampler::Heun(_) => heun(denoise, x, &levels),
            };
            parts.push(self.units.to_data(&x));
            first += rows;
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// Standard normal noise for `rows` samples.
    fn start(&self, rows: i64, rng: &Generator) -> Tensor {
        rng.randn(self.card.data.shape.batch(rows), (Kind::Float, self.device))
    }

    /// `n` rows in parts that go through the network together.
    fn parts(&self, n: usize) -> impl Iterator<Item = i64> {
        let (n, chunk) = (n as i64, self.chunk());
        (0..n).step_by(chunk as usize).map(move |start| chunk.min(n - start))
    }

    /// `f` of rows that go through the network together and their conditions, end to end.
    fn in_chunks(
        &self,
        x: &Tensor,
        given: Option<&Tensor>,
        mut f: impl FnMut(&Tensor, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut first = 0;
        map_chunks(x, self.chunk(), |x| {
            let rows = x.size()[0];
            let given = given.map(|given| given.narrow(0, first, rows));
            first += rows;
            f(x, given.as_ref())
        })
    }
}

/// ε ~ N(0, I) of the shape of `x`, in the memory layout that the network prefers. The numbers do not depend on the
/// layout of `x`.
fn noise_like(rng: &Generator, x: &Tensor) -> Tensor {
    as_convolved(&rng.randn(x.size(), (x.kind(), x.device())))
}

impl GenerativeModel for Diffusion {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        ["loss"].into_iter().chain(QUARTERS).chain(["grad_norm"]).collect()
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        self.card.check_batch(&batch.x)?;
        let rng = &step.rng;
        let x0 = as_convolved(&self.units.to_network(&batch.x));
        let levels = self.config.noise.draw(batch.len() as i64, &*self.process, rng, self.device);
        let noise = noise_like(rng, &x0);
        let conditions = self.conditions.as_ref();
        let given = conditions.map(|all| all.of_training(&self.card.data, batch, rng)).transpose()?;
        let network = |x: &Tensor, time: &Tensor| self.network.forward(x, time, given.as_ref(), Some(rng));
        let losses = self.objective.loss(network, &x0, &noise, &levels);
        let loss = losses.mean(Kind::Float);
        let norm = self.optimizer.step(&loss, step.lr_scale)?;
        let mut result = Losses::new().with("loss", &loss);
        if levels.len() >= 4 {
            // Noise ascends with the rows.
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
        let DiffusionSampling { sampler, guidance, .. } = self.resolved(request)?;
        let steps = sampler.levels(&*self.process)?.len() - 1;
        let estimates = steps * sampler.estimates() + 1 - sampler.estimates();
        let evaluations = if guidance == 0.0 { estimates } else { 2 * estimates };
        Ok(Sampling { sampler: Some(sampler.name()), evaluations })
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

    /// Those of a model that learns from no condition: a latent alone would not decide the sample.
    fn latent(&self) -> Option<&dyn Latent> {
        if self.conditions.is_none() { Some(self) } else { None }
    }

    fn trajectory(&self, request: &SampleRequest, frames: usize) -> Result<Option<Trajectory>> {
        Ok(Some(self.trajectory_of(request, frames)?))
    }
}

impl Buildable for Diffusion {
    type Config = DiffusionConfig;
    type Sampling = DiffusionSampling;

    const FAMILY: &'static str = "diffusion";

    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let Recipe { name, citation, config, sampling } = recipe;
        let BuildContext { data, device, seed } = context;
        let process = config.process.build()?;
        config.check(&*process, data)?;
        let params = Params::drawn_from(stream(*seed, Purpose::Init, 0), Kind::Float, *device);
        let root = params.root();
        let conditions = Conditions::new(&(&root / "condition"), data, config.condition, config.condition_dropout)?;
        let given = conditions.as_ref().map(Conditions::width);
        let network = Network::new(params.root(), &config.network, data.shape, given)?;
        let parameters = params.count();
        Ok(Diffusion {
            units: Units::new(&root, data)?,
            objective: Objective { prediction: config.prediction, weighting: config.weighting },
            optimizer: Adam::new(&params, config.optimizer)?,
            card: ModelCard {
                name,
                family: Self::FAMILY,
                data: data.clone(),
                conditioning: config.condition,
                citation,
                parameters,
                sampling_parameters: parameters,
            },
            device: *device,
            sampling,
            config,
            params,
            network,
            conditions,
            process,
        })
    }
}
