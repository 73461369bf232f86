use gen_core::nn::{Conv2d, ConvConfig, Linear};
use gen_core::params::{Init, Scope};
use tch::Tensor;

use super::network::Conditioner;
use crate::given::Given;

/// A residual convolutional network: a 3 × 3 convolution to `width` channels, blocks
/// h + conv₁ₓ₁(relu(conv₃ₓ₃(relu h))), and a 3 × 3 convolution to the outputs.
///
/// After the first convolution each position adds a learned vector of its own, so that the network knows where in
/// the image it is, and each context adds one that is the same everywhere. There is no normalisation: the
/// parameters of one image never depend on the others in its batch.
#[derive(Debug)]
pub struct ConvConditioner {
    input: Conv2d,
    position: Tensor,
    context: Option<Linear>,
    blocks: Vec<(Conv2d, Conv2d)>,
    output: Conv2d,
}

impl ConvConditioner {
    /// Images of `[inputs, height, width]` and a context of `context` features (0 for none) to `[outputs,
    /// height, width]`, through `blocks` blocks of `width` channels.
    pub fn new(
        scope: Scope<'_>,
        [inputs, height, width_of_image]: [i64; 3],
        context: i64,
        width: i64,
        blocks: usize,
        outputs: i64,
    ) -> Self {
        let block = |i: usize| {
            let place = &scope / format!("blocks.{i}");
            let first = Conv2d::new(&place / "0", width, width, ConvConfig::same(3));
            let second = Conv2d::new(&place / "1", width, width, ConvConfig::same(1));
            (first, second)
        };
        ConvConditioner {
            input: Conv2d::new(&scope / "input", inputs, width, ConvConfig::same(3)),
            position: scope.parameter("position", &[width, height, width_of_image], Init::ZEROS),
            context: (context > 0).then(|| Linear::new(&scope / "context", context, width)),
            blocks: (0..blocks).map(block).collect(),
            output: Conv2d::new(&scope / "output", width, outputs, ConvConfig::same(3).init(Init::ZEROS)),
        }
    }
}

impl Conditioner for ConvConditioner {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let mut h = self.input.forward(x);
        if let Some(map) = &self.context {
            h += map.forward(given.needed_context()).unsqueeze(-1).unsqueeze(-1);
        }
        h += &self.position;
        for (first, second) in &self.blocks {
            h = &h + second.forward(&first.forward(&h.relu()).relu());
        }
        self.output.forward(&h.relu())
    }
}
