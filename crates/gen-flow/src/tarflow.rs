//! TarFlow: autoregressive affine maps of patches, by transformers.

mod block;
mod config;
mod density;
mod guidance;
mod labels;
mod latent;
mod noise;
mod patches;
mod sampling;
mod transform;

use gen_core::data::{Batch, DataSpec, Shape};
use gen_core::model::{
    Density, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step, Trajectory,
    ValidationLoss,
};
use gen_core::optim::Adam;
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable};
use gen_core::rng::{Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use tch::{Kind, Tensor};

pub use block::{BlockSize, Direction, TransformerBlock};
pub use config::{Basis, Noise, TarFlowConfig};
pub use guidance::{Guidance, Weaker};

use self::labels::Labels;
use self::noise::Corruption;
use self::patches::{Coordinates, Patches};
use self::transform::{Rotated, Transform};
use crate::base::StandardNormal;
use crate::bijection::{Bijection, Chain, Standardise};

/// TarFlow (Zhai et al. 2024): a flow whose blocks are causal transformers over the patches of an image, trained by maximum
/// likelihood.
///
/// A block gives each patch a scale and a shift that depend on the patches before it, and the next one goes through them
/// from the other end. Images take Gaussian noise while it learns, and samples a step that removes it again; or uniform
/// noise, for likelihoods that are those of bytes. A data set with classes is learnt with them.
///
/// Training and likelihoods take one pass; a sample takes as many small ones as there are patches.
pub struct TarFlow {
    card: ModelCard,
    config: TarFlowConfig,
    params: Params,
    transform: Transform,
    base: StandardNormal,
    corruption: Corruption,
    labels: Option<Labels>,
    adam: Adam,
}

impl TarFlow {
    /// The blocks of the flow, from data to latent.
    pub fn blocks(&self) -> impl Iterator<Item = &TransformerBlock> {
        self.transform.steps.iter().map(|step| &step.block)
    }

    /// Rows in one pass where no gradient is kept.
    fn chunk(&self) -> usize {
        if self.card.data.shape.is_image() { 250 } else { 5_000 }
    }

    /// `f` of a part of the rows of `x` at a time, end to end; without rows nothing, of the size `empty`.
    fn in_parts(&self, x: &Tensor, empty: &[i64], f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let mut parts = vec![Tensor::zeros(empty, (self.params.kind(), self.params.device()))];
        if x.size()[0] > 0 {
            parts.extend(x.split(self.chunk() as i64, 0).iter().map(f));
        }
        Tensor::cat(&parts, 0)
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

impl GenerativeModel for TarFlow {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        self.check_shape(&batch.x)?;
        let (labels, rows) = (batch.labels.as_ref(), batch.x.size()[0]);
        let context = self.labels.as_ref().map(|way| way.of_batch(labels, rows, &step.rng)).transpose()?;
        let y = self.corruption.add(&batch.x, &step.rng);
        let log_prob = self.log_prob_given(&y, context.as_ref()).mean(y.kind());
        let data = &self.card.data;
        let dimensions = data.shape.dimensions();
        let (name, loss) = match self.corruption {
            Corruption::None => ("nll", -log_prob),
            // Nats per dimension of the noisy data, which are no likelihood of images.
            Corruption::Gaussian(_) => ("nll_per_dim", log_prob / -(dimensions as f64)),
            Corruption::Uniform(_) => {
                let log_volume = self.corruption.log_volume(dimensions).unwrap_or_default();
                let offset = data.values.bits_per_dim(log_volume, dimensions);
                let nats = dimensions as f64 * std::f64::consts::LN_2;
                ("bits_per_dim", log_prob / -nats + offset)
            }
        };
        let norm = self.adam.step(&loss, step.lr_scale)?;
        Ok(Losses::new().with(name, &loss).with("grad_norm", &norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        self.draw(request, &mut |_, _| ())
    }

    /// Each position but the first is an evaluation, of a transformer that looks at this position alone, and one more with
    /// guidance; removing the noise is one.
    fn sampling(&self, request: &SampleRequest) -> Result<Sampling> {
        Self::temperature(request)?;
        let positions = self.transform.size[0] as usize - 1;
        let predictions = if self.guidance().is_some() { 2 } else { 1 };
        Ok(Sampling {
            sampler: None,
            evaluations: positions * predictions + usize::from(self.config.denoise),
        })
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.adam.state()
    }

    fn density(&self) -> Option<&dyn Density> {
        self.corruption.log_volume(1).is_some().then_some(self as &dyn Density)
    }

    fn latent(&self) -> Option<&dyn Latent> {
        self.labels.is_none().then_some(self as &dyn Latent)
    }

    fn trajectory(&self, request: &SampleRequest, frames: usize) -> Result<Option<Trajectory>> {
        self.path(request, frames).map(Some)
    }

    fn validation_loss(&self, x: &Tensor, seed: u64) -> Result<Option<ValidationLoss>> {
        let rows = -self.log_prob_of_data(x, &stream(seed, Purpose::Evaluate, 0))?;
        let dimensions = self.card.data.shape.dimensions();
        Ok(Some(match self.corruption.log_volume(dimensions) {
            Some(log_volume) => {
                ValidationLoss { objective: format!("nll-{}", self.kind()), rows: rows - log_volume }
            }
            None => ValidationLoss { objective: "nll-noisy".to_owned(), rows },
        }))
    }
}

impl Buildable for TarFlow {
    type Config = TarFlowConfig;

    const NAME: &'static str = "tarflow";
    const SUMMARY: &'static str = "autoregressive transformers over patches; sharp samples, patch by patch";
    const FAMILY: &'static str = "flow";

    fn default_config(data: &DataSpec) -> TarFlowConfig {
        TarFlowConfig::of(data)
    }

    fn default_training(data: &DataSpec) -> TrainConfig {
        config::training(data)
    }

    fn build(config: TarFlowConfig, context: &BuildContext) -> Result<Self> {
        let BuildContext { data, device, seed } = context;
        config.check(data)?;
        let params = Params::drawn_from(stream(*seed, Purpose::Init, 0), Kind::Float, *device);
        let (arrange, size, cosines): (Box<dyn Bijection>, _, _) = match data.shape {
            Shape::Image { channels, height, width } => {
                let patches = Patches::new(config.patch, [channels, height, width]);
                let (size, cosines) = (patches.size(), patches.cosines(*device));
                (Box::new(patches), size, Some(cosines))
            }
            Shape::Points { dimension } => {
                let standardise = Standardise::new(params.root(), &data.mean, &data.std)?;
                (
                    Box::new(Chain::new(vec![Box::new(standardise), Box::new(Coordinates)])),
                    [dimension, 1],
                    None,
                )
            }
        };
        let labels =
            config.labels.then(|| Labels::new(data.classes.len() as i64, config.label_dropout, *device));
        let step = |(i, &layers): (usize, &usize)| {
            let size = BlockSize {
                length: size[0],
                values: size[1],
                context: labels.as_ref().map_or(0, Labels::classes),
                layers,
                width: config.width,
                heads: config.heads,
            };
            let place = params.root() / format!("blocks.{i}");
            Rotated {
                block: TransformerBlock::new(place, size, Direction::alternating(i)),
                basis: cosines.as_ref().filter(|_| config.basis.is_cosine(i)).map(Tensor::shallow_clone),
            }
        };
        let steps = config.layers.iter().enumerate().map(step).collect();
        let count = params.count();
        Ok(TarFlow {
            card: ModelCard {
                name: Self::NAME,
                family: Self::FAMILY,
                data: data.clone(),
                citation: "Zhai et al. 2024, Normalizing Flows are Capable Generative Models",
                parameters: count,
                sampling_parameters: count,
            },
            corruption: Corruption::of(&config, data)?,
            adam: Adam::new(&params, config.optimizer)?,
            base: StandardNormal::new(data.shape.dimensions(), Kind::Float, *device),
            transform: Transform { arrange: Chain::new(vec![arrange]), steps, size },
            labels,
            config,
            params,
        })
    }
}
