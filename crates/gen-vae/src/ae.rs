use gen_core::Result;
use gen_core::config::{Table, to_table};
use gen_core::data::{Batch, DataSpec};
use gen_core::model::{
    Conditioning, GenerativeModel, Interpolation, Latent, Losses, ModelCard, OnePass, SampleRequest, Step, Units,
    ValidationLoss, map_chunks,
};
use gen_core::optim::{Adam, AdamConfig};
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable, Capabilities, Origin, Preset, Recipe};
use gen_core::rng::{Purpose, stream};
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::networks::{Decoder, Encoder, NetworkKind, ROWS_AT_ONCE, check_sizes, default_widths};
use crate::objectives::squared_error;
use crate::vae::QUICK_VAE;

/// Hyperparameters of [`Ae`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AeConfig {
    /// Dimensions of the latents z.
    pub latent_dim: i64,
    /// The layers of the encoder and the decoder.
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
/// It is here to show why an autoencoder does not generate. Nothing ties its latents to a distribution that could be
/// drawn from: a sample decodes z ~ N(0, I), far from the latents of any image. It reconstructs at least as
/// well as a variational autoencoder, its samples do not look like data, and it gives no likelihood.
pub struct Ae {
    config: AeConfig,
    sampling: OnePass,
    card: ModelCard,
    device: Device,
    units: Units,
    params: Params,
    encoder: Encoder,
    decoder: Decoder,
    optimizer: Adam,
}

impl Ae {
    /// The latents z, `[batch, latent]`, of `x` as a data set delivers it.
    ///
    /// # Errors
    /// When `x` has not the shape of the data.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.encoder.forward(&self.network_input(x)?))
    }

    /// The reconstruction from `z: [batch, latent]`, in the units of the data, images in [-1, 1].
    pub fn decode(&self, z: &Tensor) -> Tensor {
        self.units.to_data(&self.decoder.forward(z))
    }

    fn network_input(&self, x: &Tensor) -> Result<Tensor> {
        self.card.check_batch(x)?;
        Ok(self.units.to_network(x))
    }

    fn resolved(&self, request: &SampleRequest) -> Result<OnePass> {
        self.card.check_given(request)?;
        request.resolve(&self.sampling)?.checked()
    }
}

impl GenerativeModel for Ae {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["loss", "grad_norm"]
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        let x = self.network_input(&batch.x)?;
        let z = self.encoder.forward(&x);
        let loss = squared_error(&self.decoder.forward(&z), &x).mean(Kind::Float);
        let grad_norm = self.optimizer.step(&loss, step.lr_scale)?;
        Ok(Losses::new().with("loss", &loss).with("grad_norm", &grad_norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let OnePass { temperature } = self.resolved(request)?;
        Latent::decode(self, &(self.prior(request.n, request.seed)? * temperature))
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

    fn latent(&self) -> Option<&dyn Latent> {
        Some(self)
    }

    /// The squared error of the reconstruction, which training lowers.
    fn validation_loss(&self, batch: &Batch, _seed: u64) -> Result<Option<ValidationLoss>> {
        let _no_grad = tch::no_grad_guard();
        let x = self.network_input(&batch.x)?;
        let rows = squared_error(&self.decoder.forward(&self.encoder.forward(&x)), &x);
        Ok(Some(ValidationLoss { objective: "squared-error".to_owned(), rows }))
    }
}

/// The latents z. They have no distribution of their own: [`Latent::prior`] draws N(0, I), of which samples are made,
/// and data is encoded elsewhere. Nothing makes one way between latents better than another: interpolation is linear.
impl Latent for Ae {
    fn latent_shape(&self) -> Vec<i64> {
        vec![self.config.latent_dim]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let size = [n as i64, self.config.latent_dim];
        Ok(stream(seed, Purpose::Sample, 0).randn(size, (Kind::Float, self.device)))
    }

    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.check_latents(latents)?;
        let _no_grad = tch::no_grad_guard();
        map_chunks(latents, ROWS_AT_ONCE, |z| Ok(Ae::decode(self, z)))
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        map_chunks(&self.network_input(x)?, ROWS_AT_ONCE, |x| Ok(self.encoder.forward(x))).map(Some)
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Linear
    }
}

/// The preset of [`Ae`].
pub static AE: Preset<Ae> = Preset {
    name: "ae",
    summary: "plain autoencoder: reconstructs, and shows why that does not generate",
    origin: Origin::Paper,
    citation: "Hinton & Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks",
    departures: &[],
    capabilities: Capabilities { latents: true, ..Capabilities::SAMPLES },
    config: AeConfig::of,
    training,
    sampling: |_data| OnePass::default(),
};

impl AeConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let image = data.shape.is_image();
        AeConfig {
            latent_dim: if image { 32 } else { 2 },
            network: NetworkKind::default_for(data.shape),
            widths: default_widths(data.shape),
            optimizer: AdamConfig { learning_rate: 2e-3, ..AdamConfig::default() },
        }
    }
}

/// Those of [`Vae`], with which it is compared.
fn training(data: &DataSpec) -> TrainConfig {
    QUICK_VAE.training(data)
}

impl Buildable for Ae {
    type Config = AeConfig;
    type Sampling = OnePass;

    const FAMILY: &'static str = "baseline";
    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let Recipe { name, citation, config, sampling } = recipe;
        check_sizes(config.latent_dim, &config.widths)?;
        config.network.check(context.data.shape)?;
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let units = Units::new(&params.root(), &context.data)?;
        let (latent, widths, shape) = (config.latent_dim, &config.widths, context.data.shape);
        let encoder = Encoder::new(params.root() / "encoder", config.network, shape, widths, latent);
        let encoding = params.count();
        let decoder = Decoder::new(params.root() / "decoder", config.network, latent, widths, shape, 1);
        let card = ModelCard {
            name,
            family: Self::FAMILY,
            data: context.data.clone(),
            conditioning: Conditioning::NONE,
            citation,
            parameters: params.count(),
            sampling_parameters: params.count() - encoding,
        };
        Ok(Ae {
            optimizer: Adam::new(&params, config.optimizer)?,
            config,
            sampling,
            card,
            device: context.device,
            units,
            params,
            encoder,
            decoder,
        })
    }
}
