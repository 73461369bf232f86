use gen_core::config::positive;
use gen_core::data::{DataSpec, Shape};
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The noise that is added to data before the flow sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// No noise: for tabular data.
    None,
    /// Noise of one grey level, U(0, 1/128) on the scale of [-1, 1]: likelihoods are those of bytes, exact in the
    /// sense of papers on flows.
    Uniform,
    /// N(0, sigma²): samples look better, after the step that removes the noise again (Zhai et al. 2024, sections 2.4
    /// and 2.5). The density is that of the noisy data, and bytes have no likelihood.
    Gaussian,
}

/// The coordinates in which the values of a patch are scaled and shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The pixels, as in the paper.
    Pixels,
    /// The frequencies of a discrete cosine transform of rows, columns and channels. A block gives each value a scale
    /// of its own, and frequencies depend less on each other than pixels do.
    Cosine,
    /// In turn: pixels in the first block, which suits edges through a patch; frequencies in the second.
    Alternating,
}

impl Basis {
    /// Whether block number `block` of the flow works on frequencies.
    pub(super) fn is_cosine(self, block: usize) -> bool {
        match self {
            Basis::Pixels => false,
            Basis::Cosine => true,
            Basis::Alternating => !block.is_multiple_of(2),
        }
    }
}

/// Hyperparameters of [`TarFlow`](crate::TarFlow).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TarFlowConfig {
    /// The side of a patch of an image, in pixels. Patches are the positions of the sequences. Of tabular data the
    /// columns are, and it must be 1.
    pub patch: i64,
    /// The coordinates in which the values of a patch are scaled and shifted; for tabular data `pixels`.
    pub basis: Basis,
    /// Transformer layers of each block of the flow, from data to latents.
    pub layers: Vec<usize>,
    /// Width of the transformers.
    pub width: i64,
    /// Heads of their attention.
    pub heads: i64,
    /// The noise that is added to data before the flow sees them.
    pub noise: Noise,
    /// The standard deviation of Gaussian noise, on the scale of [-1, 1]; other noise does not use it.
    pub sigma: f64,
    /// What the flow is given. Where that is the class of an image alone, samples are by default of classes drawn at
    /// random, and a likelihood without labels is that of all classes together, in as many passes.
    pub condition: Conditioning,
    /// The part of the training data that is shown without its class, in [0, 1]: guidance compares with this
    /// prediction.
    pub label_dropout: f64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl TarFlowConfig {
    /// The defaults for this kind of data.
    pub(super) fn of(data: &DataSpec) -> Self {
        let optimizer = AdamConfig { learning_rate: 2e-3, beta2: 0.98, clip_norm: 1.0, ..AdamConfig::default() };
        let images = TarFlowConfig {
            patch: 4,
            basis: Basis::Alternating,
            layers: vec![1, 1, 1, 1, 3],
            width: 96,
            heads: 3,
            noise: Noise::Gaussian,
            sigma: 0.05,
            condition: Conditioning { image: false, ..Conditioning::all_of(data) },
            label_dropout: 0.1,
            optimizer,
        };
        match data.shape {
            Shape::Image { height, width, .. } => {
                // The largest patch of up to 4 x 4 that images are made of, and at least 4 of them.
                let fits = |side: &i64| height % side == 0 && width % side == 0 && height * width >= 4 * side * side;
                TarFlowConfig { patch: [4, 2].into_iter().find(fits).unwrap_or(1), ..images }
            }
            Shape::Points { .. } => TarFlowConfig {
                patch: 1,
                basis: Basis::Pixels,
                width: 32,
                heads: 2,
                layers: vec![1; 4],
                noise: Noise::None,
                condition: Conditioning { labels: false, ..images.condition },
                ..images
            },
        }
    }

    pub(super) fn check(&self, data: &DataSpec) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message));
        match data.shape {
            Shape::Points { dimension } => {
                if dimension < 2 {
                    return wrong("`tarflow` predicts each column from those before: it needs at least 2".to_owned());
                }
                if self.patch != 1 || self.basis != Basis::Pixels {
                    return wrong("a table has no patches: set `patch` to 1 and `basis` to \"pixels\"".to_owned());
                }
                if self.noise != Noise::None {
                    return wrong("a table takes no noise: set `noise` to \"none\"".to_owned());
                }
            }
            Shape::Image { height, width, .. } => {
                let side = self.patch;
                if side < 1 || height % side != 0 || width % side != 0 || height * width == side * side {
                    return wrong(format!(
                        "images of {height}x{width} do not divide into several patches of {side}x{side}: \
                         choose another `patch`, or pad or resize them"
                    ));
                }
                if self.noise == Noise::None {
                    return wrong(
                        "a density of bytes without noise has no bound: `noise` must be \"gaussian\" or \"uniform\""
                            .to_owned(),
                    );
                }
            }
        }
        if self.layers.is_empty() || self.layers.contains(&0) {
            return wrong(format!(
                "`layers` must have a number from 1 up for each block of the flow, found {:?}",
                self.layers
            ));
        }
        if self.heads < 1 || self.width < 1 || self.width % self.heads != 0 {
            return wrong(format!(
                "`width` must be a multiple of `heads`, both at least 1, found {} and {}",
                self.width, self.heads
            ));
        }
        if self.condition.image {
            return wrong("`tarflow` does not learn from the other images of pairs".to_owned());
        }
        if !(0.0..=1.0).contains(&self.label_dropout) {
            return wrong(format!("`label_dropout` must be in [0, 1], found {}", self.label_dropout));
        }
        positive("sigma", self.sigma)
    }
}
