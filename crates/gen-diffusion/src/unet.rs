//! A U-Net that predicts from a noisy image and a time.

use gen_core::nn::{Activation, Conv2d, ConvConfig, GroupNorm, Linear, SelfAttention2d, maps};
use gen_core::params::{Init, Scope};
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::backbone::Backbone;

/// Size and shape of a [`UNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Side of the squares of pixels that the first layer takes as one position. 1 works at the full resolution, as
    /// in the paper; 2 on a quarter of the positions.
    pub patch: i64,
    /// Channels at each resolution, from the highest to the lowest; each is half as wide and high as the one before.
    pub channels: Vec<i64>,
    /// Residual blocks at each resolution on the way down, and as many on the way up.
    pub blocks: usize,
    /// Heads of the self-attention at the lowest resolution; 0 leaves it out.
    pub heads: i64,
    /// Probability of setting a value in a residual block to zero in training.
    pub dropout: f64,
}

impl UNetConfig {
    /// Defaults for images of this size.
    pub fn of(height: i64, width: i64) -> Self {
        let even = |patch: i64, levels: u32| {
            let unit = patch * 2i64.pow(levels);
            height % unit == 0 && width % unit == 0
        };
        let patch = if height.min(width) >= 16 && even(2, 0) { 2 } else { 1 };
        let channels = if even(patch, 1) { vec![32, 64] } else { vec![32] };
        UNetConfig { patch, channels, blocks: 1, heads: 1, dropout: 0.0 }
    }

    /// Whether such a network can be built for images of this size.
    pub(crate) fn check(&self, height: i64, width: i64) -> Result<()> {
        let UNetConfig { patch, channels, blocks, heads, dropout } = self;
        if *patch < 1 || channels.is_empty() || *blocks == 0 {
            return Err(Error::invalid("a U-Net needs `patch`, `channels` and `blocks` of at least 1"));
        }
        if let Some(wrong) = channels.iter().find(|c| **c < 4 || **c % 4 != 0) {
            return Err(Error::invalid(format!("`channels` must be positive multiples of 4, found {wrong}")));
        }
        let lowest = channels[channels.len() - 1];
        if *heads < 0 || (*heads > 0 && lowest % heads != 0) {
            return Err(Error::invalid(format!("{heads} `heads` do not divide {lowest} channels")));
        }
        if !(0.0..1.0).contains(dropout) {
            return Err(Error::invalid(format!("`dropout` must be in [0, 1), found {dropout}")));
        }
        let unit = patch << (channels.len() - 1);
        if height % unit != 0 || width % unit != 0 {
            return Err(Error::invalid(format!(
                "{} resolutions after `patch = {patch}` need sides that {unit} divides, found {height}x{width}: take \
                 fewer `channels`, a smaller `patch`, or pad the images",
                channels.len()
            )));
        }
        Ok(())
    }
}

/// Behind every normalisation but that of the attention.
const SILU: Option<Activation> = Some(Activation::Silu);

/// Group normalisation with the number of groups of Karras et al. (2022): at least 4 channels in each, at most 32.
fn group_norm(scope: Scope<'_>, channels: i64) -> GroupNorm {
    GroupNorm::new(scope, groups(channels), channels)
}

fn groups(channels: i64) -> i64 {
    (1..=32.min(channels / 4)).rev().find(|groups| channels % groups == 0).unwrap_or(1)
}

/// GroupNorm, SiLU, convolution, twice, added to the input; the time scales and shifts the second normalisation
/// (Nichol & Dhariwal 2021, section 3). The second convolution starts at zero, so the block starts as the identity.
#[derive(Debug)]
struct ResidualBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    skip: Option<Conv2d>,
    dropout: f64,
}

impl ResidualBlock {
    fn new(scope: Scope<'_>, inputs: i64, outputs: i64, embedding: i64, dropout: f64) -> Self {
        let same = ConvConfig::same(3);
        ResidualBlock {
            norm1: group_norm(&scope / "norm1", inputs),
            conv1: Conv2d::new(&scope / "conv1", inputs, outputs, same),
            time: Linear::new(&scope / "time", embedding, 2 * outputs),
            norm2: group_norm(&scope / "norm2", outputs),
            conv2: Conv2d::new(&scope / "conv2", outputs, outputs, same.init(Init::ZEROS)),
            skip: (inputs != outputs).then(|| Conv2d::new(&scope / "skip", inputs, outputs, ConvConfig::same(1))),
            dropout,
        }
    }

    fn forward(&self, x: &Tensor, embedding: &Tensor, dropout: Option<&Generator>) -> Tensor {
        let h = self.conv1.forward(&self.norm1.forward(x, SILU));
        let mut h = self.norm2.forward_modulated(&h, &self.time.forward(embedding), SILU);
        if let Some(rng) = dropout.filter(|_| self.dropout > 0.0) {
            h = rng.dropout(&h, self.dropout);
        }
        let h = self.conv2.forward(&h);
        match &self.skip {
            Some(skip) => skip.forward(x) + h,
            None => x + h,
        }
    }
}

/// The blocks of one resolution.
#[derive(Debug)]
struct Stage {
    blocks: Vec<ResidualBlock>,
    /// From this resolution to the next: down on the way down, up on the way up.
    resample: Option<Conv2d>,
}

/// A U-Net (Ronneberger et al. 2015) as Ho et al. (2020), appendix B, use it: residual blocks with the time at each
/// resolution, attention at the lowest, and every feature map on the way down handed across to the way up.
///
/// It differs where a processor without a GPU gains most: images may enter as patches of pixels, the resolution
/// changes by 2x2 convolutions, and there is one attention layer, in the middle.
#[derive(Debug)]
pub struct UNet {
    patch: i64,
    stem: Conv2d,
    down: Vec<Stage>,
    middle: (ResidualBlock, Option<SelfAttention2d>),
    up: Vec<Stage>,
    norm: GroupNorm,
    head: Conv2d,
}

impl UNet {
    /// A network for images of `channels` channels, with embeddings of `embedding` values. It gives zeros until it is
    /// trained.
    pub fn new(scope: &Scope<'_>, config: &UNetConfig, channels: i64, embedding: i64) -> Self {
        let UNetConfig { patch, channels: widths, blocks, heads, dropout } = config;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let pixels = channels * patch * patch;
        let block = |scope: Scope<'_>, inputs, outputs| ResidualBlock::new(scope, inputs, outputs, embedding, *dropout);
        let down = |level: usize| {
            let (scope, width) = (scope / format!("down.{level}"), widths[level]);
            Stage {
                blocks: (0..*blocks).map(|i| block(&scope / i, width, width)).collect(),
                resample: widths
                    .get(level + 1)
                    .map(|next| Conv2d::new(&scope / "resample", width, *next, ConvConfig::strided(2, 2, 0))),
            }
        };
        let up = |level: usize| {
            let (scope, width) = (scope / format!("up.{level}"), widths[level]);
            Stage {
                blocks: (0..*blocks).map(|i| block(&scope / i, 2 * width, width)).collect(),
                resample: (level > 0)
                    .then(|| Conv2d::new(&scope / "resample", width, 4 * widths[level - 1], ConvConfig::same(1))),
            }
        };
        UNet {
            patch: *patch,
            stem: Conv2d::new(scope / "stem", pixels, first, ConvConfig::same(3)),
            down: (0..widths.len()).map(down).collect(),
            middle: (
                block(scope / "middle.block", last, last),
                (*heads > 0).then(|| SelfAttention2d::new(scope / "middle.attention", groups(last), last, *heads)),
            ),
            up: (0..widths.len()).rev().map(up).collect(),
            norm: group_norm(scope / "norm", first),
            head: Conv2d::new(scope / "head", first, pixels, ConvConfig::same(3).init(Init::ZEROS)),
        }
    }
}

impl Backbone for UNet {
    fn forward(&self, x: &Tensor, embedding: &Tensor, dropout: Option<&Generator>) -> Tensor {
        let mut h = self.stem.forward(&maps::pixel_unshuffle(x, self.patch));
        let mut across = Vec::new();
        for stage in &self.down {
            for block in &stage.blocks {
                h = block.forward(&h, embedding, dropout);
                across.push(h.shallow_clone());
            }
            if let Some(resample) = &stage.resample {
                h = resample.forward(&h);
            }
        }
        let (block, attention) = &self.middle;
        h = block.forward(&h, embedding, dropout);
        if let Some(attention) = attention {
            h = attention.forward(&h);
        }
        for stage in &self.up {
            for block in &stage.blocks {
                let wide = match across.pop() {
                    Some(other) => maps::concat_channels(&h, &other),
                    None => unreachable!("as many blocks go up as go down"),
                };
                h = block.forward(&wide, embedding, dropout);
            }
            if let Some(resample) = &stage.resample {
                h = maps::pixel_shuffle(&resample.forward(&h), 2);
            }
        }
        maps::pixel_shuffle(&self.head.forward(&self.norm.forward(&h, SILU)), self.patch)
    }
}
