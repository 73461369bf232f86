use gen_core::Result;
use gen_core::data::{Batch, DataSpec};
use gen_core::model::{
    GenerativeModel, Interpolation, Latent, Losses, ModelCard, SampleRequest, Step, ValidationLoss,
};
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable};
use gen_core::rng::{Purpose, stream};
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::networks::{Decoder, Encoder, NetworkKind, check_sizes, default_widths};
use crate::objectives::squared_error;
use crate::sampling::{ROWS_AT_ONCE, latent_noise};
use crate::units::Units;

/// Hyperparameters of [`Ae`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AeConfig {
    /// Entries of the latent code z.
    pub latent_dim: i64,
    /// What the encoder and the decoder are made of.
    pub network: NetworkKind,
    /// From the data inwards: channels of the convolutions, each of which halves the sides of an image, or units
    /// of the hidden layers of an MLP. The decoder has them in reverse.
    pub widths: Vec<i64>,
    /// The optimizer of all parameters.
    pub optimizer: AdamConfig,
}

/// The plain autoencoder (Hinton & Salakhutdinov 2006): the networks of [`crate::Vae`], trained on the squared error of
/// the reconstruction alone.
///
/// It is here to show why an autoencoder does not generate. Nothing ties its codes to a distribution that could be
/// drawn from: what it calls a sample decodes z ~ N(0, I), which lies where no image was ever encoded. It
/// reconstructs at least as well as a variational autoencoder, its samples are not of the data, and it gives no
/// likelihood.
pub struct Ae {
    config: AeConfig,
    card: ModelCard,
    device: Device,
    units: Units,
    params: Params,
    encoder: Encoder,
    decoder: Decoder,
    adam: Adam,
}

impl Ae {
    /// The code of each row, `[batch, latent]`, of `x` as a data set delivers it.
    ///
    /// # Errors
    /// When `x` has not the shape of the data.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.encoder.forward(&self.units.standardise(x)?))
    }

    /// What codes stand for, in the units of the data, images in [-1, 1]. `z`: `[batch, latent]`.
    pub fn decode(&self, z: &Tensor) -> Tensor {
        self.units.restore(&self.decoder.forward(z))
    }
}

impl GenerativeModel for Ae {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        let x = self.units.standardise(&batch.x)?;
        let z = self.encoder.forward(&x);
        let loss = squared_error(&self.decoder.forward(&z), &x).mean(Kind::Float);
        let grad_norm = self.adam.step(&loss, step.lr_scale)?;
        Ok(Losses::new().with("loss", &loss).with("grad_norm", &grad_norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let noise = latent_noise(Self::NAME, request, self.config.latent_dim, self.device, &rng)?;
        let samples: Vec<Tensor> = noise.split(ROWS_AT_ONCE, 0).iter().map(|z| self.decode(z)).collect();
        Ok(Tensor::cat(&samples, 0))
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.adam.state().prefixed("adam")
    }

    fn latent(&self) -> Option<&dyn Latent> {
        Some(self)
    }

    /// The squared error of the reconstruction, which is what training lowers.
    fn validation_loss(&self, x: &Tensor, _seed: u64) -> Result<Option<ValidationLoss>> {
        let _no_grad = tch::no_grad_guard();
        let x = self.units.standardise(x)?;
        let rows = squared_error(&self.decoder.forward(&self.encoder.forward(&x)), &x);
        Ok(Some(ValidationLoss { objective: "squared-error".to_owned(), rows }))
    }
}

/// The code z. It has no distribution of its own: [`Latent::prior`] draws what samples are made of, N(0, I), and where
/// data is encoded is another matter. Nothing makes one way between codes better than another: they go straight.
impl Latent for Ae {
    fn code_shape(&self) -> Vec<i64> {
        vec![self.config.latent_dim]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let size = [n as i64, self.config.latent_dim];
        Ok(stream(seed, Purpose::Sample, 0).randn(size, (Kind::Float, self.device)))
    }

    fn decode(&self, codes: &Tensor) -> Result<Tensor> {
        self.check_codes(codes)?;
        let _no_grad = tch::no_grad_guard();
        let parts: Vec<Tensor> = codes.split(ROWS_AT_ONCE, 0).iter().map(|z| Ae::decode(self, z)).collect();
        Ok(Tensor::cat(&parts, 0))
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        let parts = self.units.standardise(x)?.split(ROWS_AT_ONCE, 0);
        let codes: Vec<Tensor> = parts.iter().map(|x| self.encoder.forward(x)).collect();
        Ok(Some(Tensor::cat(&codes, 0)))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Linear
    }
}

impl Buildable for Ae {
    type Config = AeConfig;

    const NAME: &'static str = "ae";
    const SUMMARY: &'static str = "plain autoencoder: reconstructs, and shows why that does not generate";
    const FAMILY: &'static str = "baseline";

    fn default_config(data: &DataSpec) -> AeConfig {
        let image = data.shape.is_image();
        AeConfig {
            latent_dim: if image { 32 } else { 2 },
            network: NetworkKind::default_for(data.shape),
            widths: default_widths(data.shape),
            optimizer: AdamConfig { learning_rate: 2e-3, ..AdamConfig::default() },
        }
    }

    fn default_training(_data: &DataSpec) -> TrainConfig {
        TrainConfig {
            batch_size: 128,
            schedule: Schedule::Cosine,
            warmup_steps: 200,
            ema_decay: 0.999,
            validation_rows: 256,
            ..TrainConfig::default()
        }
    }

    fn build(config: AeConfig, context: &BuildContext) -> Result<Self> {
        check_sizes(config.latent_dim, &config.widths)?;
        config.network.check(context.data.shape)?;
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let units = Units::new(&params.root(), &context.data)?;
        let (latent, widths, shape) = (config.latent_dim, &config.widths, context.data.shape);
        let encoder = Encoder::new(params.root() / "encoder", config.network, shape, widths, latent);
        let encoding = params.count();
        let decoder = Decoder::new(params.root() / "decoder", config.network, latent, widths, shape, 1);
        let card = ModelCard {
            name: Self::NAME,
            family: Self::FAMILY,
            data: context.data.clone(),
            citation: "Hinton & Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks",
            parameters: params.count(),
            sampling_parameters: params.count() - encoding,
        };
        Ok(Ae {
            adam: Adam::new(&params, config.optimizer)?,
            config,
            card,
            device: context.device,
            units,
            params,
            encoder,
            decoder,
        })
    }
}
