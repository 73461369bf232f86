//! Training of feature networks with labels.

use tch::{Kind, Reduction, Tensor};

use super::augment::{flawed, shifted};
use super::network::FeatureNetwork;
use super::outliers::outliers;
use gen_core::data::{Batch, Batches, Dataset};
use gen_core::optim::{Adam, AdamConfig, Ema, Schedule};
use gen_core::params::Params;
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};

/// Decay of the average of the weights.
const EMA_DECAY: f64 = 0.998;
/// Share of the training in which the learning rate rises.
const WARM_UP: f64 = 0.02;

/// Settings of the training of a feature network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureTraining {
    /// Passes over the training images.
    pub epochs: u64,
    /// Images in a batch.
    pub batch_size: usize,
    /// Peak learning rate of Adam. It rises over the first 2 % and falls to 0 by a cosine.
    pub learning_rate: f64,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// Share of a batch with a small flaw: half are blurred, half have a little noise.
    pub flaws: f64,
    /// Largest standard deviation of the Gaussian blur in pixels, at least 0.1.
    pub blur: f64,
    /// Largest standard deviation of the noise on images in [-1, 1].
    pub noise: f64,
    /// Number of outliers, as a share of a batch; 0 for none.
    pub outliers: f64,
    /// Seed of the weights, of the order of the data and of all draws.
    pub seed: u64,
}

impl Default for FeatureTraining {
    fn default() -> Self {
        FeatureTraining {
            epochs: 12,
            batch_size: 128,
            learning_rate: 3e-3,
            flip: false,
            flaws: 0.25,
            blur: 1.0,
            noise: 0.12,
            outliers: 0.25,
            seed: 0,
        }
    }
}

impl FeatureTraining {
    /// Defaults for [`train_self_supervised`](crate::features::train_self_supervised).
    pub fn self_supervised() -> Self {
        FeatureTraining { epochs: 8, batch_size: 256, ..Self::default() }
    }
}

/// Settings of a classifier beside [`FeatureTraining`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classification {
    /// Largest shift of images in both directions, in pixels.
    pub shift: i64,
    /// Rate of dropout before the hidden layer.
    pub dropout: f64,
}

impl Default for Classification {
    fn default() -> Self {
        Classification { shift: 1, dropout: 0.3 }
    }
}

/// Record of an epoch of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureRecord {
    /// Epochs done.
    pub epoch: u64,
    /// Mean training loss of the epoch.
    pub loss: f64,
    /// Accuracy of a classifier with averaged weights on the validation split, if there is one.
    pub validation_accuracy: Option<f64>,
}

/// Trains a classifier on the labelled training split of `data` and whitens its features.
///
/// It learns the classes of shifted images, some of which are blurred or noisy, so that flaws which do not change what
/// an image shows do not change its features much. It also learns to tell images from outliers made of them, so that it
/// does not assign noise to a class. The optimizer is Adam with a cosine schedule and averaged weights. The test split
/// is not used.
///
/// # Errors
/// When the data has no labels or is not images.
pub fn train(
    data: &Dataset,
    config: &FeatureTraining,
    classification: &Classification,
    mut observe: impl FnMut(FeatureRecord),
) -> Result<FeatureNetwork> {
    let Some(labels) = data.train.labels() else {
        return Err(Error::invalid(format!("`{}` has no labels: a classifier learns from classes", data.spec.name)));
    };
    let classes = labels.max().int64_value(&[]) + 1;
    let mut network = FeatureNetwork::classifier(data.spec.shape, classes, config.seed)?;
    let loss = |Batch { x, condition }: &Batch, rng: &Generator| {
        let x = flawed(&shifted(x, classification.shift, rng), config.flaws, config.blur, config.noise, rng);
        let dropout = classification.dropout;
        let drop = |h| if dropout > 0.0 { rng.dropout(&h, dropout) } else { h };
        let real = x.size()[0];
        let (x, made) = with_outliers(&x, &x, config.outliers, rng);
        let embedding = network.embed(&x, drop);
        let labels = condition.labels.as_ref().expect("the split has labels");
        let scores = network.classify(&embedding.narrow(0, 0, real)).expect("a classifier has classes");
        let loss = scores.cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, 0.0);
        match made {
            0 => loss,
            made => loss + outlier_loss(&network, &embedding, made),
        }
    };
    let judge = || match data.validation.is_empty() {
        true => Ok(None),
        false => network.accuracy(&data.validation).map(Some),
    };
    minimise(network.params(), data, config, loss, judge, &mut observe)?;
    network.whiten(&data.train.x);
    Ok(network)
}

/// `x` followed by outliers made of the first `share` of `sources`, and the number of outliers.
pub(super) fn with_outliers(x: &Tensor, sources: &Tensor, share: f64, rng: &Generator) -> (Tensor, i64) {
    let real = sources.size()[0];
    let made = ((real as f64 * share).round() as i64).min(real);
    match made {
        0 => (x.shallow_clone(), 0),
        _ => (Tensor::cat(&[x, &outliers(&sources.narrow(0, 0, made), rng)], 0), made),
    }
}

/// Binary cross-entropy of the outlier score, where the last `made` rows are outliers.
pub(super) fn outlier_loss(network: &FeatureNetwork, embedding: &Tensor, made: i64) -> Tensor {
    let rows = embedding.size()[0];
    let is_outlier = Tensor::arange(rows, (Kind::Int64, embedding.device())).ge(rows - made);
    let is_outlier = is_outlier.to_kind(Kind::Float);
    let score = network.outlier_score(embedding);
    score.binary_cross_entropy_with_logits::<Tensor>(&is_outlier, None, None, Reduction::Mean)
}

/// Minimises `loss` over batches of the training split by Adam with a cosine schedule, and leaves the averaged weights.
/// After every epoch `judge` is called with the averaged weights in place.
pub(super) fn minimise(
    params: &Params,
    data: &Dataset,
    config: &FeatureTraining,
    loss: impl Fn(&Batch, &Generator) -> Tensor,
    judge: impl Fn() -> Result<Option<f64>>,
    observe: &mut dyn FnMut(FeatureRecord),
) -> Result<()> {
    let adam = AdamConfig { learning_rate: config.learning_rate, ..AdamConfig::default() };
    let mut adam = Adam::new(params, adam)?;
    let mut ema = Ema::new(params.all(), EMA_DECAY);
    let mut spec = data.spec.clone();
    spec.options.flip = config.flip;
    let mut batches = Batches::new(&data.train, &spec, config.batch_size, config.seed);
    let steps = config.epochs * batches.per_epoch();
    let mut sum = 0.0;
    for step in 0..steps {
        let rng = stream(config.seed, Purpose::Train, step);
        let loss = loss(&batches.get(step, &rng), &rng);
        let progress = step as f64 / steps as f64;
        let rate = (progress / WARM_UP + 1.0 / (WARM_UP * steps as f64)).min(1.0) * Schedule::Cosine.factor(progress);
        let _ = adam.step(&loss, rate)?;
        ema.update()?;
        sum += loss.double_value(&[]);
        if (step + 1) % batches.per_epoch() == 0 {
            ema.swap()?;
            let validation_accuracy = judge()?;
            ema.swap()?;
            let loss = sum / batches.per_epoch() as f64;
            sum = 0.0;
            observe(FeatureRecord { epoch: (step + 1) / batches.per_epoch(), loss, validation_accuracy });
        }
    }
    params.all().assign(ema.average())
}
