use tch::{Kind, Reduction, Tensor};

use super::FeatureNetwork;
use super::outliers::outliers;
use crate::data::{Batches, Dataset};
use crate::error::{Error, Result};
use crate::optim::{Adam, AdamConfig, Ema, Schedule};
use crate::rng::{Generator, Purpose, stream};

/// How a [`FeatureNetwork`] is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureTraining {
    /// Passes over the training images.
    pub epochs: u64,
    /// Images in a batch.
    pub batch_size: usize,
    /// Peak learning rate of Adam; it falls to 0 by a cosine.
    pub learning_rate: f64,
    /// Images are shifted by up to this many pixels in both directions.
    pub shift: i64,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// Dropout before the hidden layer.
    pub dropout: f64,
    /// Images made to be told from the real ones, as a share of a batch; 0 for none.
    pub outliers: f64,
    /// The seed of the weights, the order of the data, shifts, dropout and outliers.
    pub seed: u64,
}

impl Default for FeatureTraining {
    fn default() -> Self {
        FeatureTraining {
            epochs: 12,
            batch_size: 128,
            learning_rate: 3e-3,
            shift: 1,
            flip: false,
            dropout: 0.3,
            outliers: 0.25,
            seed: 0,
        }
    }
}

/// What [`train`] reports after each epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureRecord {
    /// Epochs done.
    pub epoch: u64,
    /// Mean training loss of the epoch.
    pub loss: f64,
    /// Accuracy on the validation split, where there is one, with the averaged weights.
    pub validation_accuracy: Option<f64>,
}

/// Trains a feature network on the labelled training split of `data` and whitens its features.
///
/// Adam with a cosine schedule and an average of the weights; nothing is chosen by the test split.
///
/// # Errors
/// When the data has no labels or is not images.
pub fn train(
    data: &Dataset,
    config: &FeatureTraining,
    mut observe: impl FnMut(FeatureRecord),
) -> Result<FeatureNetwork> {
    let Some(labels) = &data.train.labels else {
        return Err(Error::invalid(format!(
            "`{}` has no labels: a feature network learns from classes",
            data.spec.name
        )));
    };
    let classes = labels.max().int64_value(&[]) + 1;
    let mut network = FeatureNetwork::new(data.spec.shape, classes, config.seed)?;
    let adam = AdamConfig { learning_rate: config.learning_rate, ..AdamConfig::default() };
    let mut adam = Adam::new(network.params(), adam)?;
    let weights = network.params().all();
    let mut ema = Ema::new(network.params().all(), 0.998);

    let mut spec = data.spec.clone();
    spec.options.flip = config.flip;
    let mut batches = Batches::new(&data.train, &spec, config.batch_size, config.seed);
    let steps = config.epochs * batches.per_epoch();
    let mut sum = 0.0;
    for step in 0..steps {
        let rng = stream(config.seed, Purpose::Train, step);
        let batch = batches.get(step, &rng);
        let x = shifted(&batch.x, config.shift, &rng);
        let dropped = |h| if config.dropout > 0.0 { rng.dropout(&h, config.dropout) } else { h };
        let real = x.size()[0];
        let made = ((real as f64 * config.outliers).round() as i64).min(real);
        let x = if made > 0 { Tensor::cat(&[&x, &outliers(&x.narrow(0, 0, made), &rng)], 0) } else { x };
        let embedding = network.embed(&x, dropped);
        let labels = batch.labels.as_ref().expect("the split has labels");
        let scores = network.classify(&embedding.narrow(0, 0, real));
        let mut loss = scores.cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, 0.0);
        if made > 0 {
            let is_outlier = Tensor::arange(real + made, (Kind::Int64, x.device())).ge(real);
            loss += network.outlier_score(&embedding).binary_cross_entropy_with_logits::<Tensor>(
                &is_outlier.to_kind(Kind::Float),
                None,
                None,
                Reduction::Mean,
            );
        }
        let _ = adam.step(&loss, Schedule::Cosine.factor(step as f64 / steps as f64))?;
        ema.update()?;
        sum += loss.double_value(&[]);
        if (step + 1) % batches.per_epoch() == 0 {
            ema.swap()?;
            let validation = Some(&data.validation).filter(|split| !split.is_empty());
            let validation_accuracy = validation.map(|split| network.accuracy(split)).transpose()?;
            ema.swap()?;
            let loss = sum / batches.per_epoch() as f64;
            sum = 0.0;
            observe(FeatureRecord { epoch: (step + 1) / batches.per_epoch(), loss, validation_accuracy });
        }
    }
    weights.assign(ema.average())?;
    network.whiten(&data.train.x);
    Ok(network)
}

/// Each image moved by up to `most` pixels in both directions; what comes in from outside is black.
fn shifted(x: &Tensor, most: i64, rng: &Generator) -> Tensor {
    let [n, channels, height, width] = x.size()[..] else {
        panic!("images have four dimensions, found {:?}", x.size())
    };
    if most == 0 {
        return x.shallow_clone();
    }
    let indices = |side: i64, shape: [i64; 4]| {
        let options = (Kind::Int64, x.device());
        let start = rng.randint(0, 2 * most + 1, [n, 1], options);
        (start + Tensor::arange(side, options)).view(shape)
    };
    let rows = indices(height, [n, 1, height, 1]).expand([n, channels, height, width + 2 * most], false);
    let columns = indices(width, [n, 1, 1, width]).expand([n, channels, height, width], false);
    x.pad([most, most, most, most], "constant", -1.0).gather(2, &rows, false).gather(3, &columns, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn shifting_moves_whole_images() {
        let x = Tensor::full([64, 1, 5, 4], -1.0, (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 2, 1).narrow(3, 2, 1).fill_(1.0);
        let moved = shifted(&x, 1, &Generator::seeded(3));
        let bright = moved.gt(0.0);
        assert_eq!(
            bright
                .sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Int64)
                .unique_consecutive(false, false, None)
                .0,
            Tensor::from_slice(&[1i64])
        );
        let seen = bright.any_dim(0, false);
        assert_eq!(seen.sum(Kind::Int64).int64_value(&[]), 9);
    }
}
