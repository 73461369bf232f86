use gen_core::native::prefers_batch_innermost;
use gen_core::nn::Linear;
use gen_core::params::Scope;
use tch::Tensor;

use super::mlp::MlpConditioner;
use super::network::Conditioner;
use crate::given::Given;

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
