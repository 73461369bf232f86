//! TarFlow: autoregressive affine maps of patches, by transformers.

mod basis;
mod block;
mod config;
mod patches;
mod sampling;

use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Params;
use gen_core::registry::{Origin, Preset};
use gen_core::train::TrainConfig;

pub use block::{BlockSize, Direction, TransformerBlock};
pub use config::{Basis, Noise, TarFlowConfig};
pub use sampling::TarFlowSampling;

use self::basis::InBasis;
use self::patches::Patches;
use crate::bijection::{Chain, Flatten, Inverse, Layer, Standardise};
use crate::conditions::Conditions;
use crate::dequantise::{Dequantiser, Interval};
use crate::model::{Architecture, CONDITIONAL, Design, FlowModel, FlowSampling, RowsPerPass};
use crate::settings::training;

/// TarFlow (Zhai et al. 2024): a flow whose blocks are causal transformers over the patches of an image, trained by
/// maximum likelihood.
///
/// A block gives each patch a scale and a shift that depend on the patches before it, and the next one goes through
/// them from the other end. In training images take Gaussian noise, which the last step of a sample removes again; or
/// uniform noise, for likelihoods that are those of bytes. A data set with classes is learned with them.
///
/// Training and likelihoods take one pass; a sample takes as many small ones as there are patches.
pub type TarFlow = FlowModel<Transformers>;

/// The preset of [`TarFlow`].
pub static TARFLOW: Preset<TarFlow> = Preset {
    name: "tarflow",
    summary: "autoregressive transformers over patches; sharp samples, patch by patch",
    origin: Origin::Paper,
    citation: "Zhai et al. 2024, Normalizing Flows are Capable Generative Models",
    departures: &[
        "Blocks have 1 to 3 layers of 96 channels; the paper has 8 of 768 and more.",
        "Every second block works on the frequencies of a cosine transform of patches (`basis`).",
        "Tables are learned column by column, without noise; the paper has images only.",
        "Sizes, learning rates and batch sizes are for minutes on a processor without a GPU, and an average of the \
         weights makes the samples of images.",
    ],
    capabilities: CONDITIONAL,
    config: TarFlowConfig::of,
    training: |data| TrainConfig { warmup_steps: 100, ema_decay: 0.995, ..training(data, 32, 100) },
    sampling: FlowSampling::of,
};

/// The architecture of [`TarFlow`].
#[derive(Debug)]
pub enum Transformers {}

impl Architecture for Transformers {
    type Config = TarFlowConfig;
    type Sampling = TarFlowSampling;

    const NAME: &'static str = "tarflow";

    const ROWS: RowsPerPass = RowsPerPass { images_in_cache: 250, images: 250, tabular: 5_000 };
    /// With classes a draw of the noise takes a pass for each.
    const IMPORTANCE_SAMPLES: Option<u32> = None;

    fn design(config: &TarFlowConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check(data)?;
        let root = params.root();
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        let (size, cosines) = match data.shape {
            Shape::Image { channels, height, width } => {
                let patches = Patches::new(config.patch, [channels, height, width]);
                let found = (patches.size(), Some(patches.cosines(params.device())));
                layers.push(Box::new(patches));
                found
            }
            Shape::Points { dimension } => {
                let size = [dimension, 1];
                layers.push(Box::new(Standardise::new(params.root(), &data.mean, &data.std)?));
                layers.push(Box::new(Inverse(Flatten::new(size))));
                (size, None)
            }
        };
        let conditions = Conditions::new(&root, data, config.condition, config.label_dropout)?;
        for (i, &depth) in config.layers.iter().enumerate() {
            let size = BlockSize {
                length: size[0],
                values: size[1],
                context: Conditions::width(&conditions),
                layers: depth,
                width: config.width,
                heads: config.heads,
            };
            let place = &root / format!("blocks.{i}");
            let block = TransformerBlock::new(place, size, Direction::alternating(i));
            layers.push(match cosines.as_ref().filter(|_| config.basis.is_cosine(i)) {
                Some(cosines) => Box::new(InBasis::new(cosines, block)),
                None => Box::new(block),
            });
        }
        layers.push(Box::new(Flatten::new(size)));
        let dequantiser = match config.noise {
            Noise::None => Dequantiser::none(),
            Noise::Uniform => Dequantiser::uniform(data.values, Interval::Signed)?,
            Noise::Gaussian => Dequantiser::gaussian(config.sigma),
        };
        // Each position but the first is an evaluation, of a transformer that looks at this position alone.
        let evaluations = size[0] as usize - 1;
        let design = Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data);
        Ok(Design { evaluations, ..design.given(conditions) })
    }
}
