//! DCGAN (Radford et al. 2016), and the same game between MLPs for points.

use gen_core::config::{Table, at_least_one, to_table};
use gen_core::data::{Batch, DataSpec, Shape};
use gen_core::model::{
    Conditioning, GenerativeModel, Interpolation, Latent, Losses, ModelCard, OnePass, SampleRequest, Step, Units,
    map_chunks,
};
use gen_core::nn::{Activation, Mlp};
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{NamedTensors, Params, Scope};
use gen_core::registry::{BuildContext, Buildable, Capabilities, Origin, Preset, Recipe};
use gen_core::rng::{Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::losses::non_saturating;
use crate::networks::{ConvDiscriminator, ConvGenerator, Mode, Pyramid};
use crate::penalty::{Penalty, R1};

/// Hyperparameters of [`Dcgan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DcganConfig {
    /// Dimension of the noise z ~ N(0, I).
    pub latent_dim: i64,
    /// Images: channels of the generator's largest feature map, doubled with each halving of its sides. Points:
    /// units of its hidden layers.
    pub generator_width: i64,
    /// The same of the discriminator.
    pub discriminator_width: i64,
    /// Whether the discriminator has batch normalisation; for images only.
    pub discriminator_batch_norm: bool,
    /// The penalty on the discriminator.
    pub penalty: Penalty,
    /// The generator's optimizer.
    pub generator_optimizer: AdamConfig,
    /// The discriminator's optimizer.
    pub discriminator_optimizer: AdamConfig,
}

/// A generator and a discriminator that learn against each other.
pub struct Dcgan {
    config: DcganConfig,
    sampling: OnePass,
    card: ModelCard,
    device: Device,
    generator: Generator,
    generator_params: Params,
    generator_optimizer: Adam,
    discriminator: Discriminator,
    discriminator_params: Params,
    discriminator_optimizer: Adam,
    units: Units,
}

/// z to data.
enum Generator {
    Images(ConvGenerator),
    Points(Mlp),
}

/// Data to logits.
enum Discriminator {
    Images(ConvDiscriminator),
    Points(Mlp),
}

/// Hidden layers of the MLPs for points.
const HIDDEN_LAYERS: usize = 3;

/// Samples that go through the generator at a time.
const CHUNK: i64 = 500;

impl Generator {
    fn new(scope: Scope<'_>, config: &DcganConfig, shape: Shape) -> Result<Self> {
        let DcganConfig { latent_dim, generator_width: width, .. } = *config;
        Ok(match shape {
            Shape::Image { channels, height, width: wide } => {
                let pyramid = Pyramid::new([channels, height, wide])?;
                Generator::Images(ConvGenerator::new(scope, latent_dim, width, pyramid))
            }
            Shape::Points { dimension } => Generator::Points(mlp(scope, latent_dim, width, dimension)),
        })
    }

    /// `z: [batch, latent_dim]` to images, or to standardised points.
    fn forward(&self, z: &Tensor, mode: Mode) -> Tensor {
        match self {
            Generator::Images(network) => network.forward(z, mode),
            Generator::Points(network) => network.forward(z),
        }
    }
}

impl Discriminator {
    fn new(scope: Scope<'_>, config: &DcganConfig, shape: Shape) -> Result<Self> {
        let DcganConfig { discriminator_width: width, discriminator_batch_norm: batch_norm, .. } = *config;
        Ok(match shape {
            Shape::Image { channels, height, width: wide } => {
                let pyramid = Pyramid::new([channels, height, wide])?;
                Discriminator::Images(ConvDiscriminator::new(scope, width, pyramid, batch_norm))
            }
            Shape::Points { dimension } => Discriminator::Points(mlp(scope, dimension, width, 1)),
        })
    }

    /// Images, or standardised points, to logits `[batch]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Discriminator::Images(network) => network.forward(x),
            Discriminator::Points(network) => network.forward(x).squeeze_dim(1),
        }
    }
}

fn mlp(scope: Scope<'_>, inputs: i64, width: i64, outputs: i64) -> Mlp {
    let hidden = std::iter::repeat_n(width, HIDDEN_LAYERS);
    let sizes: Vec<_> = std::iter::once(inputs).chain(hidden).chain([outputs]).collect();
    Mlp::new(scope, &sizes, Activation::LeakyRelu)
}

impl DcganConfig {
    fn check(&self, shape: Shape) -> Result<()> {
        at_least_one("latent_dim", self.latent_dim)?;
        at_least_one("generator_width", self.generator_width)?;
        at_least_one("discriminator_width", self.discriminator_width)?;
        self.penalty.check()?;
        if self.discriminator_batch_norm && !shape.is_image() {
            return Err(Error::invalid("points have no batch normalisation: set discriminator_batch_norm=false"));
        }
        if self.discriminator_batch_norm && self.penalty.needs_gradients() {
            return Err(Error::invalid(
                "the penalty is on the gradient of each image alone, which batch normalisation mixes: set \
                 discriminator_batch_norm=false",
            ));
        }
        Ok(())
    }
}

impl Dcgan {
    /// A step of the discriminator alone, on fakes that carry no graph of the generator.
    fn discriminator_step(&mut self, real: &Tensor, step: &Step, losses: Losses) -> Result<Losses> {
        let penalty = self.config.penalty;
        let real = real.detach().set_requires_grad(penalty.needs_gradients());
        let fake = {
            let _no_grad = tch::no_grad_guard();
            self.generator.forward(&self.noise(real.size()[0], &step.rng), Mode::Frozen)
        };
        let real_logits = self.discriminator.forward(&real);
        let fake_logits = self.discriminator.forward(&fake);
        let loss = non_saturating::discriminator(&real_logits, &fake_logits);
        let losses = losses
            .with("loss_d", &loss)
            .with("d_real", &real_logits.sigmoid().mean(Kind::Float))
            .with("d_fake", &fake_logits.sigmoid().mean(Kind::Float));
        let (loss, losses) = match (penalty.name(), penalty.of(&real, &real_logits)) {
            (Some(name), Some(penalty)) => (loss + &penalty, losses.with(name, &penalty)),
            _ => (loss, losses),
        };
        Ok(losses.with("grad_norm_d", &self.discriminator_optimizer.step(&loss, step.lr_scale)?))
    }

    /// A step of the generator alone, on noise of its own.
    fn generator_step(&mut self, n: i64, step: &Step, losses: Losses) -> Result<Losses> {
        let fake = self.generator.forward(&self.noise(n, &step.rng), Mode::Train);
        let loss = non_saturating::generator(&self.discriminator.forward(&fake));
        Ok(losses.with("loss_g", &loss).with("grad_norm_g", &self.generator_optimizer.step(&loss, step.lr_scale)?))
    }

    fn resolved(&self, request: &SampleRequest) -> Result<OnePass> {
        self.card.check_given(request)?;
        request.resolve(&self.sampling)?.checked()
    }

    /// z ~ N(0, I): `[n, latent_dim]`.
    fn noise(&self, n: i64, rng: &gen_core::rng::Generator) -> Tensor {
        rng.randn([n, self.config.latent_dim], (Kind::Float, self.device))
    }
}

impl GenerativeModel for Dcgan {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        let penalty = self.config.penalty.name();
        let discriminator = ["loss_d", "d_real", "d_fake"].into_iter().chain(penalty).chain(["grad_norm_d"]);
        discriminator.chain(["loss_g", "grad_norm_g"]).collect()
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        self.card.check_batch(&batch.x)?;
        let real = self.units.to_network(&batch.x);
        let losses = self.discriminator_step(&real, step, Losses::new())?;
        self.generator_step(real.size()[0], step, losses)
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let OnePass { temperature } = self.resolved(request)?;
        // All noise at once, so that the samples do not depend on how they are divided.
        self.decode(&(self.prior(request.n, request.seed)? * temperature))
    }

    fn sampling_options(&self, request: &SampleRequest) -> Result<Table> {
        to_table(&self.resolved(request)?)
    }

    fn set_sampling_options(&mut self, options: &Table) -> Result<()> {
        self.sampling = self.resolved(&SampleRequest::of(options))?;
        Ok(())
    }

    fn weights(&self) -> NamedTensors {
        self.generator_params.all()
    }

    fn training_state(&self) -> NamedTensors {
        let mut state = self.discriminator_params.all().prefixed("discriminator");
        state.extend("discriminator_optimizer", self.discriminator_optimizer.state());
        state.extend("generator_optimizer", self.generator_optimizer.state());
        state
    }

    fn latent(&self) -> Option<&dyn Latent> {
        Some(self)
    }
}

/// The noise z ~ N(0, I). A GAN has no way back from data to noise.
impl Latent for Dcgan {
    fn latent_shape(&self) -> Vec<i64> {
        vec![self.config.latent_dim]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        Ok(self.noise(n as i64, &stream(seed, Purpose::Sample, 0)))
    }

    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.check_latents(latents)?;
        let _no_grad = tch::no_grad_guard();
        map_chunks(latents, CHUNK, |z| Ok(self.units.to_data(&self.generator.forward(z, Mode::Sample))))
    }

    fn encode(&self, _x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}

/// The preset of [`Dcgan`].
pub static QUICK_GAN: Preset<Dcgan> = Preset {
    name: "quick-gan",
    summary: "convolutional GAN with the non-saturating loss (Radford et al. 2016)",
    origin: Origin::House,
    citation: "Goodfellow et al. 2014, Generative Adversarial Nets; Radford et al. 2016, \
                                    Unsupervised Representation Learning with Deep Convolutional GANs",
    departures: &[],
    capabilities: Capabilities { latents: true, ..Capabilities::SAMPLES },
    config: DcganConfig::of,
    training,
    sampling: |_data| OnePass::default(),
};

impl DcganConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let adam = AdamConfig { beta1: 0.5, ..AdamConfig::default() };
        if data.shape.is_image() {
            DcganConfig {
                latent_dim: 100,
                generator_width: 32,
                discriminator_width: 32,
                discriminator_batch_norm: true,
                penalty: Penalty::None,
                generator_optimizer: AdamConfig { learning_rate: 2e-3, ..adam },
                discriminator_optimizer: AdamConfig { learning_rate: 1e-3, ..adam },
            }
        } else {
            DcganConfig {
                latent_dim: 16,
                generator_width: 128,
                discriminator_width: 128,
                discriminator_batch_norm: false,
                penalty: Penalty::R1(R1 { gamma: 0.1 }),
                generator_optimizer: AdamConfig { learning_rate: 5e-4, ..adam },
                discriminator_optimizer: AdamConfig { learning_rate: 5e-4, ..adam },
            }
        }
    }
}

/// Training settings for this kind of data.
fn training(data: &DataSpec) -> TrainConfig {
    TrainConfig {
        batch_size: if data.shape.is_image() { 64 } else { 256 },
        schedule: Schedule::Linear,
        ema_decay: 0.995,
        ..TrainConfig::default()
    }
}

impl Buildable for Dcgan {
    type Config = DcganConfig;
    type Sampling = OnePass;
    const FAMILY: &'static str = "gan";
    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let Recipe { name, citation, config, sampling } = recipe;
        let BuildContext { data, device, seed } = context;
        config.check(data.shape)?;
        let generator_params = Params::drawn_from(stream(*seed, Purpose::Init, 0), Kind::Float, *device);
        let generator = Generator::new(generator_params.root(), &config, data.shape)?;
        // One stream for both, the generator first.
        let rng = generator_params.root().rng().clone();
        let discriminator_params = Params::drawn_from(rng, Kind::Float, *device);
        let discriminator = Discriminator::new(discriminator_params.root(), &config, data.shape)?;
        let units = Units::new(&generator_params.root(), data)?;
        Ok(Dcgan {
            card: ModelCard {
                name,
                family: Self::FAMILY,
                data: data.clone(),
                conditioning: Conditioning::NONE,
                citation,
                parameters: generator_params.count() + discriminator_params.count(),
                sampling_parameters: generator_params.count(),
            },
            device: *device,
            generator_optimizer: Adam::new(&generator_params, config.generator_optimizer)?,
            discriminator_optimizer: Adam::new(&discriminator_params, config.discriminator_optimizer)?,
            generator,
            generator_params,
            discriminator,
            discriminator_params,
            units,
            sampling,
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use gen_core::data::Dataset;

    use super::*;

    fn small() -> (Dcgan, Tensor) {
        tch::manual_seed(0);
        let images = Tensor::randint(256, [16, 1, 8, 8], (Kind::Uint8, Device::Cpu));
        let data = Dataset::from_tensor("noise", images).unwrap();
        let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
        let config = DcganConfig { generator_width: 4, discriminator_width: 4, ..QUICK_GAN.config(&data.spec) };
        (QUICK_GAN.build(config, &context).unwrap(), data.train.to_batch(&data.spec, &stream(0, Purpose::Data, 0)).x)
    }

    /// The names of the tensors in which two snapshots differ.
    fn changed(before: &NamedTensors, after: &NamedTensors) -> Vec<String> {
        let pairs = before.iter().zip(after.iter());
        pairs.filter(|((_, a), (_, b))| a != b).map(|((name, _), _)| name.to_owned()).collect()
    }

    #[test]
    fn the_discriminators_step_leaves_the_generator_alone() {
        let (mut model, real) = small();
        let (weights, state) = (model.weights().snapshot(), model.training_state().snapshot());
        let _ = model.discriminator_step(&real, &Step::new(0), Losses::new()).unwrap();
        assert_eq!(changed(&weights, &model.weights()), [""; 0]);
        let moved = changed(&state, &model.training_state());
        // Every parameter of it, and the state of its optimizer.
        let own = state.iter().map(|(name, _)| name).filter(|name| name.starts_with("discriminator"));
        assert_eq!(moved, own.collect::<Vec<_>>());
    }

    #[test]
    fn the_generators_step_leaves_the_discriminator_alone() {
        let (mut model, _) = small();
        let (weights, state) = (model.weights().snapshot(), model.training_state().snapshot());
        let _ = model.generator_step(16, &Step::new(0), Losses::new()).unwrap();
        // Every parameter moves, and every running statistic.
        assert_eq!(changed(&weights, &model.weights()).len(), weights.len());
        let moved = changed(&state, &model.training_state());
        let own = state.iter().map(|(name, _)| name).filter(|name| name.starts_with("generator_optimizer"));
        assert_eq!(moved, own.collect::<Vec<_>>());
    }
}
