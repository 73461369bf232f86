mod latent;

use gen_core::config::{Table, not_negative, positive, to_table};
use gen_core::data::{Batch, DataSpec};
use gen_core::distributions::{Gaussian, effective_sample_size, log_mean_exp};
use gen_core::model::{
    Conditioning, Density, GenerativeModel, Latent, LikelihoodKind, Losses, ModelCard, SampleRequest, Step, Units,
    map_chunks,
};
use gen_core::native::as_convolved;
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{Init, NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable, Capabilities, Origin, Preset, Recipe};
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::networks::{Decoder, Encoder, NetworkKind, ROWS_AT_ONCE, check_sizes, default_widths, halves};
use crate::objectives::{elbo, log_importance_weight};
use crate::observation::{Likelihood, Observation};
use crate::prior::{FlowPrior, Prior, PriorConfig};

/// Hyperparameters of [`Vae`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Dimensions of the latents z.
    pub latent_dim: i64,
    /// The layers of the encoder and the decoder.
    pub network: NetworkKind,
    /// From the data inwards: channels of the convolutions, each of which halves the sides of an image, or units
    /// of the hidden layers of an MLP. The decoder has them in reverse.
    pub widths: Vec<i64>,
    /// The family of p(x | z).
    pub likelihood: Likelihood,
    /// Whether the decoder gives each value a scale of its own; otherwise one learned scale serves all (σ-VAE,
    /// Rybkin et al. 2021). Must be false for a Bernoulli, which has none.
    pub predict_scale: bool,
    /// The distribution of the latents.
    pub prior: PriorConfig,
    /// Weight of the KL divergence in the training loss (Higgins et al. 2017); 1 is the evidence lower bound.
    pub beta: f64,
    /// The optimizer of all parameters.
    pub optimizer: AdamConfig,
}

impl VaeConfig {
    fn check(&self, data: &DataSpec) -> Result<()> {
        check_sizes(self.latent_dim, &self.widths)?;
        self.network.check(data.shape)?;
        self.likelihood.check(data.values)?;
        if self.predict_scale && self.likelihood == Likelihood::Bernoulli {
            return Err(Error::invalid("a `bernoulli` likelihood has no scale: set `predict_scale` to false"));
        }
        self.prior.check(self.latent_dim)?;
        positive("beta", self.beta)
    }
}

/// Options of samples of [`Vae`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeSampling {
    /// Factor on the standard deviation of the noise that z is made of, from 0 up.
    pub temperature: f64,
    /// Whether samples are drawn from p(x | z); otherwise they are its centre, which has no pixel noise.
    pub noise: bool,
}

impl Default for VaeSampling {
    /// Those of images.
    fn default() -> Self {
        VaeSampling { temperature: 1.0, noise: false }
    }
}

/// The variational autoencoder (Kingma & Welling 2014).
///
/// An encoder gives q(z | x), a diagonal Gaussian; a decoder gives p(x | z); both are trained on the evidence lower
/// bound E_q log p(x | z) − KL(q(z | x) ‖ p(z)), summed over the values of x and averaged over the batch. By default
/// images take convolutions, points fully connected layers.
///
/// A sample decodes z ~ p(z). For images it is the centre of p(x | z), in [-1, 1], without the independent noise of
/// each pixel, unless [`VaeSampling::noise`] is set.
///
/// The likelihood is a bound: [`LikelihoodKind::LowerBound`] with one sample a row, or
/// [`LikelihoodKind::Importance`] with any number of them.
pub struct Vae {
    config: VaeConfig,
    sampling: VaeSampling,
    card: ModelCard,
    device: Device,
    units: Units,
    params: Params,
    encoder: Encoder,
    decoder: Decoder,
    prior: Prior,
    /// Added to the decoder's log-scales, or the one that all values share; 0 for a Bernoulli.
    log_scale: Tensor,
    optimizer: Adam,
}

/// ln σ² of q(z | x) stays between these, as in the autoencoder of Rombach et al. (2022): far from its training data
/// the encoder gives numbers whose exponential overflows.
const LOG_VARIANCES: [f64; 2] = [-30.0, 20.0];

/// The scale of one value stays above e^this, so that no value is fitted to the last digit.
const LOWEST_LOG_SCALE: f64 = -7.0;
/// And below e^this, three million standard deviations of the data: far from its training data, as at a high
/// temperature, the decoder gives numbers whose exponential overflows.
const HIGHEST_LOG_SCALE: f64 = 15.0;

impl Vae {
    /// q(z | x), over `[batch, latent]`, of `x` as a data set delivers it.
    ///
    /// # Errors
    /// When `x` has not the shape of the data.
    pub fn encode(&self, x: &Tensor) -> Result<Gaussian> {
        Ok(self.posterior(&self.network_input(x)?))
    }

    /// The centre of p(x | z) in the units of the data, images in [-1, 1]. `z`: `[batch, latent]`.
    pub fn decode(&self, z: &Tensor) -> Tensor {
        self.units.to_data(&self.observation(z).centre())
    }

    fn network_input(&self, x: &Tensor) -> Result<Tensor> {
        self.card.check_batch(x)?;
        Ok(self.units.to_network(x))
    }

    fn resolved(&self, request: &SampleRequest) -> Result<VaeSampling> {
        self.card.check_given(request)?;
        let sampling = request.resolve(&self.sampling)?;
        not_negative("temperature", sampling.temperature)?;
        Ok(sampling)
    }

    fn posterior(&self, x: &Tensor) -> Gaussian {
        let [mean, log_var] = halves(&self.encoder.forward(x));
        let [lowest, highest] = LOG_VARIANCES;
        Gaussian::new(mean, log_var.clamp(lowest, highest) * 0.5)
    }

    /// The standard normal noise that `n` samples of z are made of.
    fn noise(&self, n: usize, rng: &Generator) -> Tensor {
        rng.randn([n as i64, self.config.latent_dim], (Kind::Float, self.device))
    }

    fn observation(&self, z: &Tensor) -> Observation {
        let output = self.decoder.forward(z);
        let (location, log_scale) = if self.config.predict_scale {
            let [location, log_scale] = halves(&output);
            (location, log_scale + &self.log_scale)
        } else {
            (output, self.log_scale.shallow_clone())
        };
        let log_scale = log_scale.clamp(LOWEST_LOG_SCALE, HIGHEST_LOG_SCALE);
        Observation::new(self.config.likelihood, self.card.data.values, location, log_scale)
    }

    /// KL(q(z | x) ‖ p(z)) of each row: in closed form for the standard normal prior, else by the sample `z`.
    fn kl(&self, posterior: &Gaussian, z: &Tensor) -> Tensor {
        if self.prior.is_standard_normal() {
            posterior.kl_standard_normal()
        } else {
            posterior.entropy().neg() - self.prior.log_prob(z)
        }
    }

    /// `x` in the memory layout of the decoder's output.
    fn laid_out(&self, x: &Tensor) -> Tensor {
        match self.config.network {
            NetworkKind::Convolutional => as_convolved(x),
            NetworkKind::Mlp => x.shallow_clone(),
        }
    }

    /// p(x | z), its log-likelihood in the units of the data, and KL, of one sample z for each row of the network's
    /// input `x`.
    fn bound_terms(&self, x: &Tensor, rng: &Generator) -> (Observation, Tensor, Tensor) {
        let x = &self.laid_out(x);
        let posterior = self.posterior(x);
        let z = posterior.sample(rng);
        let observation = self.observation(&z);
        let log_likelihood = self.units.log_prob_of_data(observation.log_prob(x));
        (observation, log_likelihood, self.kl(&posterior, &z))
    }

    /// ln w of `k` samples of each row of the network's input `x`: `[k, batch]`.
    fn log_weights(&self, x: &Tensor, posterior: &Gaussian, k: i64, rng: &Generator) -> Tensor {
        let rows = x.size()[0];
        // One copy of the batch after the other.
        let repeated = |part: &Tensor| part.repeat([k, 1]);
        let posterior = Gaussian::new(repeated(&posterior.mean), repeated(&posterior.log_std));
        let z = posterior.sample(rng);
        let mut copies = vec![1; x.dim()];
        copies[0] = k;
        let log_likelihood = self.units.log_prob_of_data(self.observation(&z).log_prob(&x.repeat(copies)));
        log_importance_weight(&log_likelihood, &self.prior.log_prob(&z), &posterior.log_prob(&z)).view([k, rows])
    }

    /// `reduce` of the log-weights of `samples` samples, `[samples, rows]`, of each row of `x`: `[batch]`.
    fn over_weights(&self, x: &Tensor, samples: i64, seed: u64, reduce: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        map_chunks(&self.network_input(x)?, (ROWS_AT_ONCE / samples).max(1), |x| {
            let posterior = self.posterior(x);
            let parts: Vec<Tensor> = (0..samples)
                .step_by(ROWS_AT_ONCE as usize)
                .map(|done| self.log_weights(x, &posterior, (samples - done).min(ROWS_AT_ONCE), &rng))
                .collect();
            Ok(reduce(&Tensor::cat(&parts, 0)))
        })
    }
}

impl GenerativeModel for Vae {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        let has_scale = self.config.likelihood != Likelihood::Bernoulli;
        let losses = ["loss", "reconstruction", "kl", "grad_norm"].into_iter();
        losses.chain(has_scale.then_some("sigma")).collect()
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        let x = self.network_input(&batch.x)?;
        let (observation, log_likelihood, kl) = self.bound_terms(&x, &step.rng);
        let reconstruction = log_likelihood.mean(Kind::Float).neg();
        let kl = kl.mean(Kind::Float);
        let loss = &reconstruction + &kl * self.config.beta;
        let grad_norm = self.optimizer.step(&loss, step.lr_scale)?;
        let losses = Losses::new()
            .with("loss", &loss)
            .with("reconstruction", &reconstruction)
            .with("kl", &kl)
            .with("grad_norm", &grad_norm);
        Ok(match observation.sigma() {
            Some(sigma) => losses.with("sigma", &sigma),
            None => losses,
        })
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let VaeSampling { temperature, noise: with_noise } = self.resolved(request)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let noise = self.noise(request.n, &rng) * temperature;
        map_chunks(&noise, ROWS_AT_ONCE, |noise| {
            let observation = self.observation(&self.prior.sample(noise));
            let x = if with_noise { observation.sample(&rng) } else { observation.centre() };
            Ok(self.units.to_data(&x))
        })
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
}

impl Density for Vae {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        vec![LikelihoodKind::LowerBound, LikelihoodKind::Importance(64)]
    }

    fn log_likelihood(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Tensor> {
        match kind {
            LikelihoodKind::LowerBound => {
                let _no_grad = tch::no_grad_guard();
                let rng = stream(seed, Purpose::Evaluate, 0);
                map_chunks(&self.network_input(&batch.x)?, ROWS_AT_ONCE, |x| {
                    let (_, log_likelihood, kl) = self.bound_terms(x, &rng);
                    Ok(elbo(&log_likelihood, &kl))
                })
            }
            LikelihoodKind::Importance(k) if k > 0 => {
                self.over_weights(&batch.x, k.into(), seed, |weights| log_mean_exp(weights, 0))
            }
            _ => Err(Error::invalid(format!(
                "`{}` has the likelihoods `lower-bound` and `importance-K` with K of 1 or more, not `{kind}`",
                self.card.name
            ))),
        }
    }

    fn effective_sample_size(&self, batch: &Batch, kind: LikelihoodKind, seed: u64) -> Result<Option<Tensor>> {
        match kind {
            LikelihoodKind::Importance(k) if k > 0 => {
                let size = |weights: &Tensor| effective_sample_size(weights, 0);
                self.over_weights(&batch.x, k.into(), seed, size).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The preset of [`Vae`].
pub static QUICK_VAE: Preset<Vae> = Preset {
    name: "quick-vae",
    summary: "variational autoencoder with a learned prior (Kingma & Welling 2014)",
    origin: Origin::House,
    citation: "Kingma & Welling 2014, Auto-Encoding Variational Bayes",
    departures: &[],
    capabilities: Capabilities { likelihood: true, latents: true, ..Capabilities::SAMPLES },
    config: VaeConfig::of,
    training,
    sampling: |data| VaeSampling { noise: !data.shape.is_image(), ..VaeSampling::default() },
};

impl VaeConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let image = data.shape.is_image();
        VaeConfig {
            latent_dim: if image { 32 } else { 2 },
            network: NetworkKind::default_for(data.shape),
            widths: default_widths(data.shape),
            likelihood: Likelihood::default_for(data.values),
            predict_scale: !image,
            prior: PriorConfig::Flow(FlowPrior::default()),
            beta: 1.0,
            optimizer: AdamConfig { learning_rate: if image { 6e-3 } else { 2e-3 }, ..AdamConfig::default() },
        }
    }
}

/// Training settings for this kind of data.
fn training(_data: &DataSpec) -> TrainConfig {
    TrainConfig {
        batch_size: 128,
        schedule: Schedule::Cosine,
        warmup_steps: 200,
        ema_decay: 0.999,
        validation_rows: 256,
        ..TrainConfig::default()
    }
}

impl Buildable for Vae {
    type Config = VaeConfig;
    type Sampling = VaeSampling;

    const FAMILY: &'static str = "vae";
    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let Recipe { name, citation, config, sampling } = recipe;
        config.check(&context.data)?;
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let units = Units::new(&params.root(), &context.data)?;
        let (root, data) = (params.root(), &context.data);
        let (latent, widths) = (config.latent_dim, &config.widths);
        let per_value = if config.predict_scale { 2 } else { 1 };
        let encoder = Encoder::new(&root / "encoder", config.network, data.shape, widths, 2 * latent);
        let decoder = Decoder::new(&root / "decoder", config.network, latent, widths, data.shape, per_value);
        let prior = Prior::new(&root / "prior", latent, config.prior, (4 * latent).max(64));
        let log_scale = match config.likelihood {
            Likelihood::Bernoulli => Tensor::zeros([1], (Kind::Float, context.device)),
            likelihood => {
                let sigma = if data.shape.is_image() { data.sigma.max(1e-3) } else { 1.0 };
                root.parameter("log_scale", &[1], Init::Const(likelihood.log_scale_of(sigma)))
            }
        };
        let trainable = params.trainable();
        let decoding = trainable.iter().filter(|(name, _)| !name.starts_with("encoder."));
        let card = ModelCard {
            name,
            family: Self::FAMILY,
            data: data.clone(),
            conditioning: Conditioning::NONE,
            citation,
            parameters: params.count(),
            sampling_parameters: decoding.map(|(_, tensor)| tensor.numel()).sum(),
        };
        drop(root);
        Ok(Vae {
            optimizer: Adam::new(&params, config.optimizer)?,
            sampling,
            config,
            card,
            device: context.device,
            units,
            params,
            encoder,
            decoder,
            prior,
            log_scale,
        })
    }
}
