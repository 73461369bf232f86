//! What flows of images share: the way from pixels to the real line, and scales.

mod steps;

use gen_core::data::{DataSpec, Shape};
use gen_core::params::{Params, Scope};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::base::StandardNormal;
use crate::bijection::{
    ActNorm, Bijection, Chain, Coupling, FactorOut, Flatten, Histogram, Inverse, Logit, Mask, Probit,
    Sigmoid, Squeeze,
};
use crate::conditioner::{ConvConditioner, WithImage};
use crate::dequantise::Dequantiser;
use crate::flow::Flow;
use crate::points;
use crate::univariate::{Affine, Univariate};

pub(crate) use steps::AffineSteps;

/// `[channels, height, width]`.
pub(crate) type ImageShape = [i64; 3];

/// How pixels get to the real line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pixels {
    /// By a logit, and a mean and a standard deviation for each place in the image.
    Logit,
    /// By a histogram for each place in the image and the normal quantile: each pixel by itself becomes Gaussian.
    Gaussian,
}

impl Pixels {
    /// What runs that do not say had.
    pub(crate) fn logit() -> Self {
        Pixels::Logit
    }

    /// The parts of a flow that do it, with the margin `alpha`.
    pub(crate) fn bijections(
        self,
        root: &Scope<'_>,
        alpha: f64,
        shape: ImageShape,
    ) -> Vec<Box<dyn Bijection>> {
        match self {
            Pixels::Logit => to_real_line(root, alpha, shape),
            Pixels::Gaussian => to_gaussians(root, alpha, shape),
        }
    }
}

/// How bytes become real numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dequantisation {
    /// Uniform noise of one grey level.
    Uniform,
    /// Noise that a flow of its own learns, given the image.
    Variational,
}

/// Couplings of learned noise.
const NOISE_COUPLINGS: usize = 4;
/// Channels of their networks.
const NOISE_WIDTH: i64 = 16;

impl Dequantisation {
    /// What runs that do not say had.
    pub(crate) fn uniform() -> Self {
        Dequantisation::Uniform
    }

    /// Registers what is learned.
    ///
    /// # Errors
    /// As [`Dequantiser::uniform`] and [`Dequantiser::learned`], and when the data are no images.
    pub(crate) fn build(self, params: &Params, data: &DataSpec) -> Result<Dequantiser> {
        let (Dequantisation::Variational, Shape::Image { channels, height, width }) = (self, data.shape)
        else {
            return Dequantiser::uniform(data.values);
        };
        let before = params.count();
        let root = &params.root() / "noise";
        // A quarter of the positions, with networks that see four pixels at each.
        let shape @ [channels, height, width] = [4 * channels, height / 2, width / 2];
        let mut parts: Vec<Box<dyn Bijection>> = vec![Box::new(Inverse(Sigmoid)), Box::new(Squeeze)];
        for i in 0..NOISE_COUPLINGS {
            let place = &root / format!("couplings.{i}");
            let mask = Mask::alternating(channels, i);
            let affine = Affine::bounded(&place / "affine");
            let inputs = [mask.kept(channels) + channels, height, width];
            let outputs = affine.parameters() * mask.transformed(channels);
            let net = ConvConditioner::new(&place / "net", inputs, 0, NOISE_WIDTH, 0, outputs);
            parts.push(Box::new(Coupling::new(mask, affine, Box::new(WithImage::squeezed(net)))));
        }
        parts.push(Box::new(Flatten::new(shape)));
        let base = StandardNormal::new(data.shape.dimensions(), params.kind(), params.device());
        Dequantiser::learned(data.values, Flow::new(Chain::new(parts), base), params.count() - before)
    }
}

/// The histogram of each pixel, and the normal quantile of its place in it: each pixel by itself becomes Gaussian.
pub(crate) fn to_gaussians(root: &Scope<'_>, alpha: f64, shape: ImageShape) -> Vec<Box<dyn Bijection>> {
    let edges = Histogram::edges_of_bytes();
    vec![
        Box::new(Flatten::new(shape)),
        Box::new(Histogram::new(root / "pixels", shape.iter().product(), &edges)),
        Box::new(Probit::new(alpha)),
        Box::new(Inverse(Flatten::new(shape))),
    ]
}

/// The logit of each pixel with the margin `alpha`, then a standardisation of its own for each place in the image.
pub(crate) fn to_real_line(root: &Scope<'_>, alpha: f64, shape: ImageShape) -> Vec<Box<dyn Bijection>> {
    vec![
        Box::new(Logit::new(alpha)),
        Box::new(Flatten::new(shape)),
        Box::new(ActNorm::new(root / "pixels", shape.iter().product())),
        Box::new(Inverse(Flatten::new(shape))),
    ]
}

/// One of several scales, as its steps are asked for.
pub(crate) struct Scale {
    /// 0 is the finest.
    pub(crate) index: usize,
    /// Whether it is the coarsest.
    pub(crate) is_last: bool,
    /// Of the squeezed image.
    pub(crate) shape: ImageShape,
    /// Of its channels, how many go on to the next scale.
    pub(crate) kept: i64,
}

/// Gives the steps of a scale, registered in the place that it gets.
pub(crate) type Steps<'a> = &'a mut dyn FnMut(Scope<'_>, Scale) -> Vec<Box<dyn Bijection>>;

/// Scales from fine to coarse: at each a squeeze and the `steps` of that scale, then half of the channels are factored
/// out, of the last one nothing. To `[batch, dimension]`.
///
/// Dinh et al. 2017 (RealNVP), section 3.6.
pub(crate) fn multi_scale(root: &Scope<'_>, shape: ImageShape, scales: usize, steps: Steps<'_>) -> Chain {
    scale(root, shape, 0, scales, steps)
}

fn scale(
    root: &Scope<'_>,
    [channels, height, width]: ImageShape,
    index: usize,
    scales: usize,
    steps: Steps<'_>,
) -> Chain {
    let shape @ [channels, height, width] = [4 * channels, height / 2, width / 2];
    let kept = channels / 2;
    let is_last = index + 1 == scales;
    let mut parts: Vec<Box<dyn Bijection>> = vec![Box::new(Squeeze)];
    parts.extend(steps(root / format!("scales.{index}"), Scale { index, is_last, shape, kept }));
    if is_last {
        parts.push(Box::new(Flatten::new(shape)));
    } else {
        let rest = scale(root, [kept, height, width], index + 1, scales, steps);
        parts.push(Box::new(FactorOut::new(shape, kept, rest)));
    }
    Chain::new(parts)
}

/// The shape of images.
///
/// # Errors
/// When the data are points.
pub(crate) fn shape(model: &str, data: &DataSpec) -> Result<ImageShape> {
    match data.shape {
        Shape::Image { channels, height, width } => Ok([channels, height, width]),
        Shape::Points { .. } => Err(Error::invalid(format!(
            "`{model}` is a model of images, `{}` has points: `realnvp`, `nsf` and `maf` take them",
            data.name
        ))),
    }
}

/// As many scales as images of this data allow, up to three; for points, which have none, `otherwise`.
pub(crate) fn scales_of(data: &DataSpec, otherwise: usize) -> usize {
    match data.shape {
        Shape::Image { height, width, .. } => default_scales(height, width),
        Shape::Points { .. } => otherwise,
    }
}

/// Training settings for images with networks of some depth.
pub(crate) fn training() -> TrainConfig {
    TrainConfig { batch_size: 64, warmup_steps: 100, ema_decay: 0.995, ..points::training() }
}

/// As many scales as the sides allow, up to three.
pub(crate) fn default_scales(height: i64, width: i64) -> usize {
    halvings(height, width).clamp(1, 3)
}

/// # Errors
/// When images of this shape cannot have that many scales.
pub(crate) fn check_scales(model: &str, scales: usize, [_, height, width]: ImageShape) -> Result<()> {
    let possible = halvings(height, width);
    if possible == 0 {
        return Err(Error::invalid(format!(
            "`{model}` squeezes images to half their side, which needs an even height and width of at least 4, found {height}x{width}: pad or resize them"
        )));
    }
    if scales == 0 || scales > possible {
        return Err(Error::invalid(format!(
            "images of {height}x{width} can have 1 to {possible} `scales`, found {scales}"
        )));
    }
    Ok(())
}

/// # Errors
/// When it is no margin of a logit.
pub(crate) fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 0.5 {
        return Ok(());
    }
    Err(Error::invalid(format!("`alpha` must be in (0, 0.5), found {alpha}")))
}

/// # Errors
/// When `value` is not positive.
pub(crate) fn at_least_one(key: &str, value: i64) -> Result<()> {
    if value < 1 {
        return Err(Error::invalid(format!("`{key}` must be at least 1, found {value}")));
    }
    Ok(())
}

/// How often a height and a width can be halved evenly, down to 2 at the smallest.
fn halvings(height: i64, width: i64) -> usize {
    let halves = |side: i64| (1..).take_while(|n| side % (1 << n) == 0 && side >> n >= 2).count();
    halves(height).min(halves(width))
}
