//! Networks that turn the kept half of a coupling into the parameters of the other half.

mod gated;
mod glow;
mod image_context;
mod made;

use std::fmt::Debug;

use gen_core::native::prefers_batch_innermost;
use gen_core::nn::{Activation, Conv2d, ConvConfig, Linear, Mlp};
use gen_core::params::{Init, Scope};
use tch::Tensor;

use crate::bijection::Given;

pub use gated::GatedConditioner;
pub use glow::{GlowConditioner, PriorConditioner};
pub use image_context::WithImage;
pub use made::{Degrees, Made};

/// A network from what may be seen to parameters of what may not. It need not be invertible.
///
/// Each one here gives 0 until it is trained, so that a [`Univariate`](crate::univariate::Univariate) map starts
/// as the identity and a deep flow starts as well-behaved as a shallow one.
pub trait Conditioner: Debug + Send {
    /// `x: [batch, inputs, ...]`, and what the pass is given besides.
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor;
}

/// A perceptron with ReLU; the context is appended to its input.
#[derive(Debug)]
pub struct MlpConditioner {
    mlp: Mlp,
}

impl MlpConditioner {
    /// `[batch, inputs]` and a context of `context` features (0 for none) to `[batch, outputs]`, through hidden
    /// layers of these sizes.
    pub fn new(scope: Scope<'_>, inputs: i64, context: i64, hidden: &[i64], outputs: i64) -> Self {
        let mut sizes = vec![inputs + context];
        sizes.extend(hidden);
        sizes.push(outputs);
        MlpConditioner { mlp: Mlp::zero_output(scope, &sizes, Activation::Relu) }
    }
}

impl Conditioner for MlpConditioner {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        match given.context {
            Some(context) => self.mlp.forward(&Tensor::cat(&[x, context], 1)),
            None => self.mlp.forward(x),
        }
    }
}

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
        if let (Some(map), Some(context)) = (&self.context, given.context) {
            h += map.forward(context).unsqueeze(-1).unsqueeze(-1);
        }
        h += &self.position;
        for (first, second) in &self.blocks {
            h = &h + second.forward(&first.forward(&h.relu()).relu());
        }
        self.output.forward(&h.relu())
    }
}

/// A perceptron over whole feature maps: every output sees every input, wherever it lies in the image. A linear map
/// runs beside the hidden layer, y = A x + B relu(C x), and learns the correlations before the rest is learned.
///
/// Cheap where a feature map is small, and the only conditioner here that sees all of an image at once.
#[derive(Debug)]
pub struct DenseConditioner {
    skip: Linear,
    mlp: MlpConditioner,
    outputs: [i64; 3],
}

impl DenseConditioner {
    /// Images of the shape `inputs` and a context of `context` features (0 for none) to images of the shape
    /// `outputs`, each `[channels, height, width]`, with `width` hidden units.
    pub fn new(scope: Scope<'_>, inputs: [i64; 3], context: i64, width: i64, outputs: [i64; 3]) -> Self {
        let (from, to) = (inputs.iter().product(), outputs.iter().product());
        DenseConditioner {
            skip: Linear::zeros(&scope / "skip", from, to),
            mlp: MlpConditioner::new(&scope / "mlp", from, context, &[width], to),
            outputs,
        }
    }
}

impl Conditioner for DenseConditioner {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let x = flatten(x);
        let [channels, height, width] = self.outputs;
        let y = self.skip.forward(&x) + self.mlp.forward(&x, given);
        y.view([-1, channels, height, width])
    }
}

/// Images as rows, `[batch, channels, height, width]` to `[batch, channels · height · width]`, with the batch
/// innermost where the images lie so.
fn flatten(x: &Tensor) -> Tensor {
    if !prefers_batch_innermost(x) {
        return x.flatten(1, -1);
    }
    x.permute([1, 2, 3, 0]).reshape([-1, x.size()[0]]).tr()
}
