//! Generators and discriminators.
//!
//! For images they are those of DCGAN (Radford et al. 2016): convolutions of kernel 4 and stride 2 that halve the
//! sides of a feature map or double them, batch normalisation between them, no pooling. For points they are
//! MLPs.

use gen_core::nn::{Activation, BatchNorm, BatchStatistics, Conv2d, ConvConfig, ConvTranspose2d, Linear};
use gen_core::params::{Init, Scope};
use gen_core::{Error, Result};
use tch::Tensor;

/// Convolutions and projections start at N(0, 0.02²) (Radford et al. 2016, section 4).
const WEIGHT: Init = Init::Normal { mean: 0.0, std: 0.02 };
/// Scales of batch normalisation start at N(1, 0.02²), as in the authors' code.
const SCALE: Init = Init::Normal { mean: 1.0, std: 0.02 };

/// The player that learns, which decides the statistics of the generator's batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The generator learns: statistics of the batch, and the running ones follow.
    Train,
    /// The discriminator learns: statistics of the batch, and the running ones stay.
    Frozen,
    /// Neither learns: the running statistics, so that a sample does not depend on those beside it.
    Sample,
}

/// The sizes of the feature maps between an image and the smallest map: each has half the sides of the one
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pyramid {
    image: [i64; 3],
    levels: usize,
}

impl Pyramid {
    /// Halves an image of `[channels, height, width]` until its shorter side is 4 to 7: 28, 14, 7 or 32, 16, 8, 4.
    ///
    /// ```
    /// use gen_gan::networks::Pyramid;
    /// assert_eq!(Pyramid::new([1, 28, 28]).unwrap().base(), [7, 7]);
    /// assert_eq!(Pyramid::new([3, 64, 32]).unwrap().base(), [8, 4]);
    /// assert!(Pyramid::new([3, 30, 30]).is_err());
    /// ```
    ///
    /// # Errors
    /// When a side is shorter than 8, or cannot be halved that often.
    pub fn new(image: [i64; 3]) -> Result<Self> {
        let [_, height, width] = image;
        let levels = halvings(height, width).ok_or_else(|| {
            let possible = (height.max(width)..).find(|&side| halvings(side, side).is_some()).unwrap_or(8);
            Error::invalid(format!(
                "images of {height}x{width} cannot be halved down to 4 to 7 pixels: pad or resize them, to \
                 {possible}x{possible} for example"
            ))
        })?;
        Ok(Pyramid { image, levels })
    }

    /// Height and width of the smallest feature map.
    pub fn base(&self) -> [i64; 2] {
        let [_, height, width] = self.image;
        [height >> self.levels, width >> self.levels]
    }

    /// The channels of the maps from the smallest to the image: `width` next to the image, twice as many with
    /// each halving.
    fn channels(&self, width: i64) -> Vec<i64> {
        (0..self.levels).rev().map(|level| width << level).chain([self.image[0]]).collect()
    }
}

/// The number of halvings until the shorter side of an image is below 8; `None` without any, or where a half is not
/// whole.
fn halvings(height: i64, width: i64) -> Option<usize> {
    let levels = (0..).take_while(|level| height.min(width) >> level > 7).count();
    let whole = 1 << levels;
    (levels > 0 && height % whole == 0 && width % whole == 0).then_some(levels)
}

/// Noise to images by transposed convolutions.
#[derive(Debug)]
pub struct ConvGenerator {
    project: Linear,
    stages: Vec<(BatchNorm, ConvTranspose2d)>,
    base: [i64; 3],
}

impl ConvGenerator {
    /// From `latent_dim` dimensions of noise, with `width` channels in the largest feature map.
    pub fn new(scope: Scope<'_>, latent_dim: i64, width: i64, pyramid: Pyramid) -> Self {
        let channels = pyramid.channels(width);
        let [height, wide] = pyramid.base();
        let base = [channels[0], height, wide];
        let stage = |(i, pair): (usize, &[i64])| {
            let place = &scope / format!("stages.{i}");
            let up = ConvConfig::strided(4, 2, 1).init(WEIGHT);
            // A normalisation follows all but the last.
            let up = if i + 1 < pyramid.levels { up.no_bias() } else { up };
            (
                BatchNorm::with_init(&place / "norm", pair[0], SCALE),
                ConvTranspose2d::new(&place / "up", pair[0], pair[1], up),
            )
        };
        ConvGenerator {
            project: Linear::with_init(&scope / "project", latent_dim, base.iter().product(), WEIGHT, Init::ZEROS),
            stages: channels.windows(2).enumerate().map(stage).collect(),
            base,
        }
    }

    /// `z: [batch, latent_dim]` to `[batch, channels, height, width]` in [-1, 1].
    pub fn forward(&self, z: &Tensor, mode: Mode) -> Tensor {
        let mut x = self.project.to_map(z, self.base);
        let statistics = match mode {
            Mode::Train => BatchStatistics::Train,
            Mode::Frozen => BatchStatistics::Batch,
            Mode::Sample => BatchStatistics::Running,
        };
        for (norm, up) in &self.stages {
            x = up.forward(&norm.forward(&x, statistics, Some(Activation::Relu)));
        }
        x.tanh()
    }
}

/// Images to logits by strided convolutions.
#[derive(Debug)]
pub struct ConvDiscriminator {
    stages: Vec<(Conv2d, Option<BatchNorm>)>,
    head: Linear,
}

impl ConvDiscriminator {
    /// With `width` channels in the largest feature map, and batch normalisation of all maps but that one, or
    /// of none.
    pub fn new(scope: Scope<'_>, width: i64, pyramid: Pyramid, batch_norm: bool) -> Self {
        let mut channels = pyramid.channels(width);
        channels.reverse();
        let stage = |(i, pair): (usize, &[i64])| {
            let place = &scope / format!("stages.{i}");
            let normal = batch_norm && i > 0;
            let down = ConvConfig::strided(4, 2, 1).init(WEIGHT);
            (
                Conv2d::new(&place / "down", pair[0], pair[1], if normal { down.no_bias() } else { down }),
                normal.then(|| BatchNorm::with_init(&place / "norm", pair[1], SCALE)),
            )
        };
        let features = channels[pyramid.levels] * pyramid.base().iter().product::<i64>();
        ConvDiscriminator {
            stages: channels.windows(2).enumerate().map(stage).collect(),
            head: Linear::with_init(&scope / "head", features, 1, WEIGHT, Init::ZEROS),
        }
    }

    /// `x: [batch, channels, height, width]` to logits `[batch]`.
    ///
    /// Batch normalisation always takes the statistics of the batch: a discriminator never judges an image alone.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        for (down, norm) in &self.stages {
            x = down.forward(&x);
            x = match norm {
                Some(norm) => norm.forward(&x, BatchStatistics::Batch, Some(Activation::LeakyRelu)),
                None => Activation::LeakyRelu.apply(&x),
            };
        }
        self.head.of_map(&x).squeeze_dim(1)
    }
}
