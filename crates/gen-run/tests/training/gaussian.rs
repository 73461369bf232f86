//! A model of two parameters, a Gaussian fitted by maximum likelihood, and its training data.

use gen_core::Result;
use gen_core::data::{Batch, Dataset};
use gen_core::model::{
    Conditioning, GenerativeModel, Losses, ModelCard, NoOptions, SampleRequest, Step, ValidationLoss,
};
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{Init, NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable, Capabilities, Origin, Preset, Recipe};
use gen_core::rng::{Purpose, stream, torch_seed};
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

pub(crate) struct Gaussian {
    card: ModelCard,
    params: Params,
    mean: Tensor,
    log_std: Tensor,
    adam: Adam,
    fail_at: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) learning_rate: f64,
    /// The step whose loss becomes NaN; 0 is none.
    pub(crate) fail_at: u64,
}

pub(crate) static GAUSSIAN: Preset<Gaussian> = Preset {
    name: "gaussian",
    summary: "one Gaussian",
    origin: Origin::Paper,
    citation: "Gauss 1809",
    departures: &[],
    capabilities: Capabilities { images: false, ..Capabilities::SAMPLES },
    config: |_data| Config { learning_rate: 0.05, fail_at: 0 },
    training: |_data| TrainConfig {
        batch_size: 16,
        schedule: Schedule::Cosine,
        warmup_steps: 5,
        ema_decay: 0.9,
        log_every: 4,
        ..TrainConfig::default()
    },
    sampling: |_data| NoOptions {},
};

impl Buildable for Gaussian {
    type Config = Config;
    type Sampling = NoOptions;
    const FAMILY: &'static str = "baseline";

    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let Recipe { name, citation, config, .. } = recipe;
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let dimension = context.data.shape.dimensions();
        let mean = params.root().parameter("mean", &[dimension], Init::Normal { mean: 0.0, std: 1.0 });
        let log_std = params.root().parameter("log_std", &[dimension], Init::ZEROS);
        let adam = Adam::new(&params, AdamConfig { learning_rate: config.learning_rate, ..Default::default() })?;
        let card = ModelCard {
            name,
            family: "baseline",
            data: context.data.clone(),
            conditioning: Conditioning::NONE,
            citation,
            parameters: params.count(),
            sampling_parameters: params.count(),
        };
        Ok(Gaussian { card, params, mean, log_std, adam, fail_at: config.fail_at })
    }
}

impl GenerativeModel for Gaussian {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["nll", "lazy", "grad_norm"]
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        // Noise on the data, so that the test covers the randomness of a resumed run.
        let x = &batch.x + step.rng.randn_like(&batch.x) * 0.01;
        let z = (&x - &self.mean) * (-&self.log_std).exp();
        let nll = (&z * &z * 0.5 + &self.log_std).sum_dim_intlist(-1, false, Kind::Float).mean(Kind::Float);
        let nll = if step.index + 1 == self.fail_at { nll * f64::NAN } else { nll };
        let grad_norm = self.adam.step(&nll, step.lr_scale)?;
        let losses = Losses::new().with("nll", &nll).with("grad_norm", &grad_norm);
        // A loss of every sixth step, the number of the step; rows of the history have four steps.
        let is_due = step.index.is_multiple_of(6);
        Ok(if is_due { losses.with("lazy", &Tensor::from(step.index as f64)) } else { losses })
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        self.card.check_given(request)?;
        request.resolve(&NoOptions {})?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let z = rng.randn([request.n as i64, self.mean.size()[0]], (Kind::Float, self.mean.device()));
        Ok(z * self.log_std.exp() + &self.mean)
    }

    fn validation_loss(&self, batch: &Batch, _seed: u64) -> Result<Option<ValidationLoss>> {
        let _no_grad = tch::no_grad_guard();
        let rows = (&batch.x - &self.mean).square().sum_dim_intlist(1, false, Kind::Float);
        Ok(Some(ValidationLoss { objective: "squared-distance".to_owned(), rows }))
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.adam.state()
    }
}

pub(crate) fn data() -> Dataset {
    tch::manual_seed(torch_seed(0, Purpose::Data, 0));
    let x = Tensor::randn([200, 2], (Kind::Float, Device::Cpu)) * 0.5 + 2.0;
    Dataset::from_tensor("blob", x).unwrap()
}

pub(crate) fn build(data: &Dataset, config: Config) -> Gaussian {
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 1 };
    GAUSSIAN.build(config, &context).unwrap()
}

pub(crate) fn default(data: &Dataset) -> (Gaussian, TrainConfig) {
    (build(data, GAUSSIAN.config(&data.spec)), GAUSSIAN.training(&data.spec))
}
