use gen_core::data::{DataSpec, Shape};
use gen_core::optim::{AdamConfig, Schedule};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Hyperparameters of [`RealNvp`](super::RealNvp): one set for points, one for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum RealNvpConfig {
    /// Couplings of the coordinates of points.
    Points(PointConfig),
    /// Couplings of images at several scales.
    Images(ImageConfig),
}

impl RealNvpConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        match data.shape {
            Shape::Points { .. } => RealNvpConfig::Points(PointConfig::default()),
            Shape::Image { height, width, .. } => RealNvpConfig::Images(ImageConfig::of(height, width)),
        }
    }

    /// What it is for, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            RealNvpConfig::Points(_) => "points",
            RealNvpConfig::Images(_) => "images",
        }
    }
}

/// Hyperparameters for points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointConfig {
    /// Coupling layers.
    pub couplings: usize,
    /// Units in each hidden layer of a coupling's perceptron.
    pub hidden: Vec<i64>,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for PointConfig {
    fn default() -> Self {
        PointConfig {
            couplings: 8,
            hidden: vec![64, 64],
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl PointConfig {
    pub(super) fn check(&self, dimension: i64) -> Result<()> {
        if dimension < 2 {
            return Err(Error::invalid(
                "a coupling needs points of at least 2 coordinates: one to keep and one to transform",
            ));
        }
        at_least_one("couplings", self.couplings as i64)?;
        self.hidden.iter().try_for_each(|&units| at_least_one("hidden", units))
    }
}

/// Hyperparameters for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// How often the image is squeezed to half its side. Half of the values are factored out after each scale but the
    /// last.
    pub scales: usize,
    /// Coupling layers at each scale, with convolutional networks.
    pub couplings: usize,
    /// Channels of these networks at the finest scale; each coarser one has twice as many.
    pub width: i64,
    /// Residual blocks in each of these networks.
    pub blocks: usize,
    /// Coupling layers after these at the last scale, with networks that see the whole of it at once.
    pub dense_couplings: usize,
    /// Hidden units of these networks.
    pub dense_width: i64,
    /// The margin α of the logit, see [`Logit`](crate::bijection::Logit).
    pub alpha: f64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for ImageConfig {
    /// For images of 28 x 28 and 8 x 8.
    fn default() -> Self {
        ImageConfig {
            scales: 2,
            couplings: 6,
            width: 32,
            blocks: 0,
            dense_couplings: 4,
            dense_width: 256,
            alpha: 1e-6,
            optimizer: AdamConfig { learning_rate: 8e-3, clip_norm: 50.0, ..AdamConfig::default() },
        }
    }
}

impl ImageConfig {
    /// The defaults with as many scales as the sides allow, up to three: down to a side of 2 at the smallest.
    fn of(height: i64, width: i64) -> Self {
        ImageConfig { scales: halvings(height, width).clamp(1, 3), ..Self::default() }
    }

    pub(super) fn check(&self, [_, height, width]: [i64; 3]) -> Result<()> {
        let possible = halvings(height, width);
        if possible == 0 {
            return Err(Error::invalid(format!(
                "`realnvp` squeezes images to half their side, which needs an even height and width of at least 4, found {height}x{width}: pad or resize them"
            )));
        }
        if self.scales == 0 || self.scales > possible {
            return Err(Error::invalid(format!(
                "images of {height}x{width} can have 1 to {possible} `scales`, found {}",
                self.scales
            )));
        }
        if !(self.alpha > 0.0 && self.alpha < 0.5) {
            return Err(Error::invalid(format!("`alpha` must be in (0, 0.5), found {}", self.alpha)));
        }
        at_least_one("couplings", self.couplings as i64)?;
        at_least_one("width", self.width)?;
        at_least_one("dense_width", self.dense_width)
    }
}

/// How often a height and a width can be halved evenly, down to 2 at the smallest.
fn halvings(height: i64, width: i64) -> usize {
    let halves = |side: i64| (1..).take_while(|n| side % (1 << n) == 0 && side >> n >= 2).count();
    halves(height).min(halves(width))
}

fn at_least_one(key: &str, value: i64) -> Result<()> {
    if value < 1 {
        return Err(Error::invalid(format!("`{key}` must be at least 1, found {value}")));
    }
    Ok(())
}

/// Training settings for this kind of data.
pub(super) fn training(data: &DataSpec) -> TrainConfig {
    let points = TrainConfig {
        batch_size: 256,
        schedule: Schedule::Cosine,
        validation_rows: 256,
        ..TrainConfig::default()
    };
    match data.shape {
        Shape::Points { .. } => points,
        Shape::Image { .. } => TrainConfig { batch_size: 32, warmup_steps: 50, ema_decay: 0.995, ..points },
    }
}
