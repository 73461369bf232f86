use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::params::Params;
use serde::{Deserialize, Serialize};

use crate::base::StandardNormal;
use crate::bijection::{Chain, Coupling, Flatten, Inverse, Layer, Mask, Sigmoid, Squeeze};
use crate::conditioner::{Conditioner, ConvConditioner, WithImage};
use crate::dequantise::{Dequantiser, Interval};
use crate::flow::Flow;
use crate::univariate::Affine;

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
const COUPLINGS: usize = 4;
/// Channels of their networks.
const WIDTH: i64 = 16;

impl Dequantisation {
    /// Registers the learned parameters.
    ///
    /// # Errors
    /// As [`Dequantiser::uniform`] and [`Dequantiser::learned`].
    pub(crate) fn build(self, params: &Params, data: &DataSpec) -> Result<Dequantiser> {
        let (Dequantisation::Variational, Shape::Image { channels, height, width }) = (self, data.shape) else {
            return Dequantiser::uniform(data.values, Interval::Unit);
        };
        let before = params.count();
        let root = &params.root() / "noise";
        // A quarter of the positions, with networks that see four pixels at each.
        let shape @ [channels, height, width] = [4 * channels, height / 2, width / 2];
        let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(Inverse(Sigmoid)), Box::new(Squeeze)];
        for i in 0..COUPLINGS {
            let place = &root / format!("couplings.{i}");
            let affine = Affine::bounded(&place / "affine");
            let net = |inputs, outputs| -> Box<dyn Conditioner> {
                let inputs = [inputs + channels, height, width];
                let net = ConvConditioner::new(&place / "net", inputs, 0, WIDTH, 0, outputs);
                Box::new(WithImage::squeezed(net))
            };
            let mask = Mask::alternating(channels, i);
            layers.push(Box::new(Coupling::of_size(mask, channels, affine, net)));
        }
        layers.push(Box::new(Flatten::new(shape)));
        let base = StandardNormal::new(data.shape.dimensions(), params.kind(), params.device());
        Dequantiser::learned(data.values, Flow::new(Chain::new(layers), base), params.count() - before)
    }
}
