//! Layers of the network: convolutions, pools, and blocks of parallel branches.

use tch::{Kind, Tensor};

use super::weights::Weights;
use gen_core::Result;

/// Term that batch normalisation adds to the variance.
const EPSILON: f64 = 0.001;

/// Kernel, stride and padding of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Height and width.
    kernel: [i64; 2],
    stride: i64,
    padding: [i64; 2],
}

impl Window {
    /// 1x1.
    pub(super) const POINT: Window = Window { kernel: [1, 1], stride: 1, padding: [0, 0] };
    /// 3x3 without padding.
    pub(super) const INNER: Window = Window { kernel: [3, 3], stride: 1, padding: [0, 0] };
    /// [`Window::INNER`] with stride 2.
    pub(super) const HALVING: Window = Window { stride: 2, ..Window::INNER };

    /// A window of odd sides that keeps the size of the image.
    pub(super) const fn same(height: i64, width: i64) -> Window {
        Window { kernel: [height, width], stride: 1, padding: [height / 2, width / 2] }
    }
}

/// A convolution without bias, batch normalisation with fixed statistics, and ReLU.
///
/// The normalisation is an affine map of each channel, so it is part of the convolution here:
/// `γ (w*x - μ) / √(σ² + ε) + β  =  (γ/√(σ² + ε) w)*x + (β - μ γ/√(σ² + ε))`.
pub(super) struct Conv {
    weight: Tensor,
    bias: Tensor,
    window: Window,
}

impl Conv {
    /// The convolution `name`; its weights are `name.conv.weight [outputs, inputs, kernel]` and `name.bn.*`.
    pub(super) fn new(
        weights: &mut Weights<'_>,
        name: &str,
        inputs: i64,
        outputs: i64,
        window: Window,
    ) -> Result<Self> {
        let [height, width] = window.kernel;
        let weight = weights.take(&format!("{name}.conv.weight"), &[outputs, inputs, height, width])?;
        let mut channel = |part: &str| weights.take(&format!("{name}.bn.{part}"), &[outputs]);
        let [gamma, beta] = [channel("weight")?, channel("bias")?].map(|x| x.to_kind(Kind::Double));
        let [mean, variance] = [channel("running_mean")?, channel("running_var")?].map(|x| x.to_kind(Kind::Double));
        weights.skip(format!("{name}.bn.num_batches_tracked"));
        let scale = gamma / (variance + EPSILON).sqrt();
        let bias = (beta - mean * &scale).to_kind(Kind::Float);
        let weight = weight.to_kind(Kind::Double) * scale.view([-1, 1, 1, 1]);
        Ok(Conv { weight: channels_last(&weight.to_kind(Kind::Float)), bias, window })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let Window { stride, padding, .. } = self.window;
        x.conv2d(&self.weight, Some(&self.bias), [stride, stride], padding, [1, 1], 1).relu_()
    }
}

/// `[n, channels, height, width]` with the channels innermost in memory, the fastest layout for convolutions on a CPU.
pub(super) fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// A part of a branch.
pub(super) enum Step {
    Conv(Conv),
    /// Two convolutions of the same input, concatenated.
    Fork(Conv, Conv),
    /// Average over 3x3, without the padding.
    AveragePool,
    /// Maximum over 3x3 with stride 1.
    MaxPool,
    /// Maximum over 3x3 with stride 2, without padding.
    HalvingMaxPool,
}

impl Step {
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Step::Conv(conv) => conv.forward(x),
            Step::Fork(first, second) => Tensor::cat(&[first.forward(x), second.forward(x)], 1),
            Step::AveragePool => x.avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None::<i64>),
            Step::MaxPool => x.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false),
            Step::HalvingMaxPool => x.max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false),
        }
    }
}

/// Steps in sequence.
pub(super) type Branch = Vec<Step>;

/// Branches of the same input, whose channels are concatenated in this order.
pub(super) struct Block(pub(super) Vec<Branch>);

impl Block {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let branches = self.0.iter().map(|branch| branch.iter().fold(x.shallow_clone(), |x, step| step.forward(&x)));
        let mut branches: Vec<Tensor> = branches.collect();
        match branches.len() {
            1 => branches.remove(0),
            _ => Tensor::cat(&branches, 1),
        }
    }
}
