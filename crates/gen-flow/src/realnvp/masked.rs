use gen_core::Result;
use gen_core::config::at_least_one;
use gen_core::data::DataSpec;
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use gen_core::params::{Params, Scope};
use serde::{Deserialize, Serialize};

use crate::bijection::{BatchNorm, Chain, Coupling, FactorOut, Flatten, Layer, Logit, Mask, Squeeze};
use crate::conditioner::{Conditioner, ConvConditioner};
use crate::conditions::Conditions;
use crate::dequantise::{Dequantiser, Interval};
use crate::images::{self, Dequantisation, MultiScale, Pixels};
use crate::model::Design;
use crate::univariate::Affine;

/// Hyperparameters of the model of images in Dinh et al. (2017).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedConfig {
    /// Scales, of which all but the last squeeze the image to half its side and factor out half of its values.
    pub scales: usize,
    /// α of the logit of pixels, in (0, 0.5).
    pub alpha: f64,
    /// Channels of the networks of couplings at the finest scale; each coarser one has twice as many.
    pub width: i64,
    /// Residual blocks in each of these networks.
    pub blocks: usize,
    /// What the flow is given.
    pub condition: Conditioning,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

/// Couplings by a chessboard before the squeeze of a scale, and by channels after it.
const COUPLINGS: usize = 3;
/// Couplings by a chessboard at the last scale.
const LAST_COUPLINGS: usize = 4;

impl MaskedConfig {
    /// Those of the paper, with networks for a processor without a GPU.
    pub(super) fn of(data: &DataSpec) -> Self {
        MaskedConfig {
            scales: MultiScale::new(Pixels::Logit).fitted(data).scales,
            alpha: 0.05,
            width: 32,
            blocks: 2,
            condition: Conditioning::needed_by(data),
            optimizer: AdamConfig::default(),
        }
    }

    pub(super) fn design(&self, name: &str, params: &Params, data: &DataSpec) -> Result<Design> {
        let shape = images::shape(name, data)?;
        let &MaskedConfig { scales, alpha, width, .. } = self;
        MultiScale { scales, pixels: Pixels::Logit, alpha, dequantisation: Dequantisation::Uniform }
            .check(name, shape)?;
        at_least_one("width", width)?;
        let conditions = Conditions::shown(params, data, self.condition)?;
        let context = Conditions::width(&conditions);
        let layers: Vec<Box<dyn Layer>> =
            vec![Box::new(Logit::new(alpha)), Box::new(self.scale(&params.root(), shape, context, 0))];
        let dequantiser = Dequantiser::uniform(data.values, Interval::Unit)?;
        Ok(Design::new(Chain::new(layers), dequantiser, self.optimizer, params, data).given(conditions))
    }

    /// Scale `index` and those after it: three couplings by a chessboard, a squeeze, three by channels, and half of the
    /// channels are factored out; at the last scale four by a chessboard.
    ///
    /// Dinh et al. 2017, section 3.6.
    fn scale(&self, root: &Scope<'_>, shape: [i64; 3], context: i64, index: usize) -> Chain {
        let place = root / format!("scales.{index}");
        let width = self.width << index;
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        let [channels, height, width_of_image] = shape;
        let is_last = index + 1 == self.scales;
        for i in 0..if is_last { LAST_COUPLINGS } else { COUPLINGS } {
            let mask = Mask::checkerboard(height, width_of_image, i % 2 == 1, root.device());
            self.coupling(&mut layers, &place / format!("chessboard.{i}"), mask, shape, [width, context]);
        }
        if is_last {
            layers.push(Box::new(Flatten::new(shape)));
            return Chain::new(layers);
        }
        layers.push(Box::new(Squeeze));
        let squeezed @ [channels, height, width_of_image] = [4 * channels, height / 2, width_of_image / 2];
        for i in 0..COUPLINGS {
            let mask = Mask::alternating(channels, i);
            self.coupling(&mut layers, &place / format!("channels.{i}"), mask, squeezed, [width, context]);
        }
        let kept = channels / 2;
        let rest = self.scale(root, [kept, height, width_of_image], context, index + 1);
        layers.push(Box::new(FactorOut::new(squeezed, kept, rest)));
        Chain::new(layers)
    }

    /// An affine coupling of images of `shape` and a batch normalisation of its result.
    fn coupling(
        &self,
        layers: &mut Vec<Box<dyn Layer>>,
        place: Scope<'_>,
        mask: Mask,
        shape: [i64; 3],
        [width, context]: [i64; 2],
    ) {
        let [channels, height, width_of_image] = shape;
        let net = |inputs, outputs| -> Box<dyn Conditioner> {
            let inputs = [inputs, height, width_of_image];
            Box::new(ConvConditioner::new(&place / "net", inputs, context, width, self.blocks, outputs))
        };
        let affine = Affine::bounded(&place / "affine");
        layers.push(Box::new(Coupling::of_size(mask, channels, affine, net)));
        layers.push(Box::new(BatchNorm::new(&place / "norm", channels)));
    }
}
