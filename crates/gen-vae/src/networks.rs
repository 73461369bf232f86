//! The two networks: convolutional or fully connected.

use gen_core::config::at_least_one;
use gen_core::data::Shape;
use gen_core::nn::{Activation, Conv2d, ConvConfig, ConvTranspose2d, Linear, Mlp};
use gen_core::params::Scope;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Rows that go through a network together outside training; this bounds the memory.
pub(crate) const ROWS_AT_ONCE: i64 = 1000;

/// The layers of the encoder and the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// Convolutions that halve the sides of an image and double them again; for images only.
    Convolutional,
    /// Fully connected layers, which see an image as a vector, as in Kingma & Welling (2014).
    Mlp,
}

impl NetworkKind {
    /// Convolutions for images, fully connected layers for points.
    pub fn default_for(shape: Shape) -> Self {
        if shape.is_image() { NetworkKind::Convolutional } else { NetworkKind::Mlp }
    }

    /// # Errors
    /// When such networks cannot take elements of this shape.
    pub(crate) fn check(self, shape: Shape) -> Result<()> {
        if self == NetworkKind::Convolutional && !shape.is_image() {
            return Err(Error::invalid("a `convolutional` network is for images; points need `mlp`"));
        }
        Ok(())
    }
}

/// Widths for a budget of minutes on two cores: a stage for each halving down to sides of about 8.
pub(crate) fn default_widths(shape: Shape) -> Vec<i64> {
    match shape {
        Shape::Image { channels, height, width } => {
            let first = if channels == 1 { 16 } else { 32 };
            match height.min(width) {
                ..16 => vec![2 * first],
                16..48 => vec![first, 2 * first],
                _ => vec![first, 2 * first, 4 * first],
            }
        }
        Shape::Points { .. } => vec![128, 128],
    }
}

/// # Errors
/// When there are no widths, or one of them or the latent dimension is below 1.
pub(crate) fn check_sizes(latent_dim: i64, widths: &[i64]) -> Result<()> {
    at_least_one("latent_dim", latent_dim)?;
    if widths.is_empty() || widths.iter().any(|width| *width < 1) {
        return Err(Error::invalid(format!("`widths` needs one or more positive numbers, found {widths:?}")));
    }
    Ok(())
}

/// Data to a vector of `outputs` numbers a row.
#[derive(Debug)]
pub(crate) enum Encoder {
    /// Each convolution halves the sides (rounding up); a linear layer looks at all that is left.
    Convolutional { stages: Vec<Conv2d>, head: Linear },
    /// Linear layers.
    Dense(Mlp),
}

impl Encoder {
    /// `widths`: channels of the convolutions or units of the hidden layers, from the data inwards.
    pub(crate) fn new(scope: Scope<'_>, kind: NetworkKind, shape: Shape, widths: &[i64], outputs: i64) -> Self {
        match (kind, shape) {
            (NetworkKind::Convolutional, Shape::Image { channels, height, width }) => {
                let inputs = [&[channels], widths].concat();
                let stage = |(i, pair): (usize, &[i64])| {
                    Conv2d::new(&scope / "stages" / i, pair[0], pair[1], ConvConfig::strided(3, 2, 1))
                };
                let deepest = Grid::pyramid(height, width, widths)[widths.len()];
                Encoder::Convolutional {
                    stages: inputs.windows(2).enumerate().map(stage).collect(),
                    head: Linear::new(&scope / "head", deepest.entries(), outputs),
                }
            }
            _ => {
                let sizes = [&[shape.dimensions()], widths, &[outputs]].concat();
                Encoder::Dense(Mlp::new(scope, &sizes, Activation::Silu))
            }
        }
    }

    /// `[batch, ...]` to `[batch, outputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Encoder::Convolutional { stages, head } => {
                let features = stages.iter().fold(x.shallow_clone(), |h, conv| conv.forward(&h).relu());
                head.of_map(&features)
            }
            Encoder::Dense(mlp) => mlp.forward(&x.flatten(1, -1)),
        }
    }
}

/// Latents to `per_value` numbers for each value of the data: the encoder's mirror image.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// A linear layer paints the coarsest grid; each transposed convolution doubles the sides.
    Convolutional { head: Linear, stages: Vec<ConvTranspose2d>, grids: Vec<Grid> },
    /// Linear layers, and the shape of a batch of their outputs.
    Dense { mlp: Mlp, shape: Vec<i64> },
}

impl Decoder {
    /// `widths` as the encoder has them, from the data inwards.
    pub(crate) fn new(
        scope: Scope<'_>,
        kind: NetworkKind,
        latent_dim: i64,
        widths: &[i64],
        shape: Shape,
        per_value: i64,
    ) -> Self {
        match (kind, shape) {
            (NetworkKind::Convolutional, Shape::Image { channels, height, width }) => {
                let mut grids = Grid::pyramid(height, width, widths);
                grids[0].channels = channels * per_value;
                grids.reverse();
                let stage = |(i, pair): (usize, &[Grid])| {
                    let config = ConvConfig::strided(4, 2, 1);
                    ConvTranspose2d::new(&scope / "stages" / i, pair[0].channels, pair[1].channels, config)
                };
                Decoder::Convolutional {
                    head: Linear::new(&scope / "head", latent_dim, grids[0].entries()),
                    stages: grids.windows(2).enumerate().map(stage).collect(),
                    grids,
                }
            }
            _ => {
                let inwards = [&[shape.dimensions() * per_value], widths, &[latent_dim]].concat();
                let sizes: Vec<i64> = inwards.into_iter().rev().collect();
                let mut shape = shape.batch(-1);
                shape[1] *= per_value;
                Decoder::Dense { mlp: Mlp::new(scope, &sizes, Activation::Silu), shape }
            }
        }
    }

    /// `[batch, latent]` to `[batch, per_value * channels, height, width]` or `[batch, per_value * dimension]`.
    pub(crate) fn forward(&self, z: &Tensor) -> Tensor {
        match self {
            Decoder::Convolutional { head, stages, grids } => {
                let Grid { channels, height, width } = grids[0];
                let mut h = head.to_map(z, [channels, height, width]);
                for (stage, grid) in stages.iter().zip(&grids[1..]) {
                    h = cropped(stage.forward(&h.relu()), *grid);
                }
                h
            }
            Decoder::Dense { mlp, shape } => mlp.forward(z).view(shape.as_slice()),
        }
    }
}

/// The two halves of the second dimension: `[batch, 2 n, ...]` to two of `[batch, n, ...]`.
pub(crate) fn halves(x: &Tensor) -> [Tensor; 2] {
    let n = x.size()[1] / 2;
    [x.narrow(1, 0, n), x.narrow(1, n, n)]
}

/// The rows and columns of a feature map that the next grid has, without a pass over it where that is all of them.
fn cropped(map: Tensor, Grid { height, width, .. }: Grid) -> Tensor {
    if map.size()[2..] == [height, width] { map } else { map.narrow(2, 0, height).narrow(3, 0, width) }
}

/// The size of a feature map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    channels: i64,
    height: i64,
    width: i64,
}

impl Grid {
    /// Feature maps from the image (its channels left at 0) to the coarsest, each half as high and wide.
    fn pyramid(height: i64, width: i64, channels: &[i64]) -> Vec<Grid> {
        let mut grids = vec![Grid { channels: 0, height, width }];
        for &channels in channels {
            let last = grids[grids.len() - 1];
            grids.push(Grid {
                channels,
                height: (last.height as u64).div_ceil(2) as i64,
                width: (last.width as u64).div_ceil(2) as i64,
            });
        }
        grids
    }

    fn entries(self) -> i64 {
        self.channels * self.height * self.width
    }
}

#[cfg(test)]
mod tests {
    use gen_core::params::Params;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn both_kinds_take_images_and_give_images() {
        let shape = Shape::Image { channels: 2, height: 7, width: 10 };
        for kind in [NetworkKind::Convolutional, NetworkKind::Mlp] {
            let params = Params::new(Kind::Float, Device::Cpu);
            let encoder = Encoder::new(&params.root() / "encoder", kind, shape, &[4, 6], 8);
            let decoder = Decoder::new(&params.root() / "decoder", kind, 4, &[4, 6], shape, 2);
            let x = Tensor::rand(shape.batch(5), (Kind::Float, Device::Cpu));
            let outputs = encoder.forward(&x);
            assert_eq!(outputs.size(), [5, 8]);
            assert_eq!(decoder.forward(&outputs.narrow(1, 0, 4)).size(), [5, 4, 7, 10]);
            assert_eq!(decoder.forward(&outputs.narrow(0, 0, 0).narrow(1, 0, 4)).size(), [0, 4, 7, 10]);
        }
        assert!(NetworkKind::Convolutional.check(Shape::Points { dimension: 2 }).is_err());
    }
}
