use gen_native::{Direction, Operands};
use tch::{Device, Tensor};

use crate::params::{Init, Scope};
use crate::precision::{Precision, rounded};

/// The geometry and the initial values of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct ConvConfig {
    /// The side of the square kernel.
    pub kernel: i64,
    /// Stride in both directions.
    pub stride: i64,
    /// Zero padding on all sides.
    pub padding: i64,
    /// Initial weights; `None` is PyTorch's default.
    pub weight: Option<Init>,
    /// Initial biases; `None` is PyTorch's default.
    pub bias: Option<Init>,
    /// Whether the layer has a bias; before a normalisation it needs none.
    pub with_bias: bool,
}

impl ConvConfig {
    /// A kernel of odd side `kernel` that keeps the size: stride 1, padding `kernel / 2`.
    pub fn same(kernel: i64) -> Self {
        ConvConfig { kernel, stride: 1, padding: kernel / 2, weight: None, bias: None, with_bias: true }
    }

    /// A kernel of side `kernel` with this stride and padding.
    pub fn strided(kernel: i64, stride: i64, padding: i64) -> Self {
        ConvConfig { stride, padding, ..Self::same(kernel) }
    }

    /// The same geometry with these initial weights and zero biases.
    #[must_use]
    pub fn init(self, weight: Init) -> Self {
        ConvConfig { weight: Some(weight), bias: Some(Init::ZEROS), ..self }
    }

    /// The same configuration without a bias.
    #[must_use]
    pub fn no_bias(self) -> Self {
        ConvConfig { with_bias: false, ..self }
    }
}

/// The parameters and the geometry of a convolution.
#[derive(Debug)]
struct Weights {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Weights {
    fn new(scope: Scope<'_>, channels: [i64; 2], outputs: i64, fan_in: i64, config: ConvConfig) -> Self {
        let ConvConfig { kernel, stride, padding, with_bias, .. } = config;
        let default = Init::fan_in(fan_in * kernel * kernel);
        let shape = [channels[0], channels[1], kernel, kernel];
        let weight = scope.parameter("weight", &shape, config.weight.unwrap_or(default));
        let bias = || scope.parameter("bias", &[outputs], config.bias.unwrap_or(default));
        Weights { weight, bias: with_bias.then(bias), stride, padding }
    }

    #[track_caller]
    fn convolve(&self, x: &Tensor, direction: Direction) -> Tensor {
        convolve(x, &self.weight, self.bias.as_ref(), [self.stride, self.padding], direction)
    }
}

/// [`gen_native::conv2d`] in the current precision, with a stride and a padding. Panics if `x` does not fit, which is a
/// bug of the caller.
#[track_caller]
fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    [stride, padding]: [i64; 2],
    direction: Direction,
) -> Tensor {
    let convolved = |x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, operands| {
        gen_native::conv2d(x, weight, bias, stride, padding, direction, operands)
            .unwrap_or_else(|error| panic!("a feature map of {:?} does not fit: {error}", x.size()))
    };
    match Precision::current() {
        Precision::F32 => convolved(x, weight, bias, Operands::Exact),
        Precision::Bf16 if x.device() == Device::Cpu => convolved(x, weight, bias, Operands::Rounded),
        Precision::Bf16 => {
            let y = convolved(&rounded(x), &rounded(weight), None, Operands::Exact).to_kind(x.kind());
            match bias {
                Some(bias) => y + bias.unsqueeze(-1).unsqueeze(-1),
                None => y,
            }
        }
    }
}

/// The convolution of `x: [batch, inputs, height, width]` with a given `weight: [outputs, inputs, kernel, kernel]` and
/// `bias: [outputs]`, in the current precision; for layers that compute their weights.
///
/// # Panics
/// When `x` does not fit the weight.
#[track_caller]
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: i64, padding: i64) -> Tensor {
    convolve(x, weight, bias, [stride, padding], Direction::Down)
}

/// As [`conv2d`], transposed: `weight: [inputs, outputs, kernel, kernel]`, and the sides of the result are `(side - 1)
/// stride - 2 padding + kernel`.
///
/// # Panics
/// When `x` does not fit the weight.
#[track_caller]
pub fn conv_transpose2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: i64, padding: i64) -> Tensor {
    convolve(x, weight, bias, [stride, padding], Direction::Up)
}

/// 2-D convolution.
#[derive(Debug)]
pub struct Conv2d(Weights);

impl Conv2d {
    /// `inputs` to `outputs` channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        Conv2d(Weights::new(scope, [outputs, inputs], outputs, inputs, config))
    }

    /// `x: [batch, inputs, height, width]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.0.convolve(x, Direction::Down)
    }
}

/// Applies convolutions with ReLU between them, in one pass over each map, to `x: [batch, inputs, height, width]`. All
/// have a bias and the geometry of [`ConvConfig::same`].
///
/// # Panics
/// When a layer has another geometry or no bias, or `x` does not fit the first.
#[track_caller]
pub fn conv_relu_stack(x: &Tensor, layers: &[&Conv2d]) -> Tensor {
    let mut list = Vec::with_capacity(2 * layers.len());
    for layer in layers {
        let [side, padding] = [layer.0.weight.size()[2], layer.0.padding];
        assert!(layer.0.stride == 1 && padding == side / 2, "a layer changes the size: {layer:?}");
        list.push(&layer.0.weight);
        list.push(layer.0.bias.as_ref().expect("a layer of a stack has a bias"));
    }
    let operands = match Precision::current() {
        Precision::F32 => Operands::Exact,
        Precision::Bf16 if x.device() == Device::Cpu => Operands::Rounded,
        Precision::Bf16 => {
            return layers[1..].iter().fold(layers[0].forward(x), |mut h, layer| layer.forward(&h.relu_()));
        }
    };
    gen_native::conv_stack(x, &list, operands)
        .unwrap_or_else(|error| panic!("a feature map of {:?} does not fit: {error}", x.size()))
}

/// 2-D transposed convolution.
#[derive(Debug)]
pub struct ConvTranspose2d(Weights);

impl ConvTranspose2d {
    /// `inputs` to `outputs` channels. As in PyTorch, the default initial values take the fan-in from the *output*
    /// channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        ConvTranspose2d(Weights::new(scope, [inputs, outputs], outputs, outputs, config))
    }

    /// `x: [batch, inputs, height, width]` to `[batch, outputs, (height - 1) stride - 2 padding + kernel, ...]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.0.convolve(x, Direction::Up)
    }
}
