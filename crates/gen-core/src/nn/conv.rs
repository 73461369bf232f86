use gen_native::{Direction, Operands};
use tch::{Device, Tensor};

use super::convolve::{Geometry, convolve};
use crate::params::{Init, Scope};
use crate::precision::Precision;

/// The geometry and the initial values of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct ConvConfig {
    /// The side of the square kernel.
    pub kernel: i64,
    /// Stride, padding, dilation, groups.
    pub geometry: Geometry,
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
        Self::with(kernel, Geometry::same(kernel))
    }

    /// A kernel of side `kernel` with this stride and padding.
    pub fn strided(kernel: i64, stride: i64, padding: i64) -> Self {
        Self::with(kernel, Geometry { stride, padding, ..Geometry::default() })
    }

    /// A kernel of side `kernel` with any geometry.
    ///
    /// ```
    /// use gen_core::nn::{ConvConfig, Geometry};
    ///
    /// let depthwise = ConvConfig::with(3, Geometry { groups: 64, ..Geometry::same(3) });
    /// assert!(depthwise.with_bias);
    /// ```
    pub fn with(kernel: i64, geometry: Geometry) -> Self {
        ConvConfig { kernel, geometry, weight: None, bias: None, with_bias: true }
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

    /// Registers the weight of a convolution from `inputs` to `outputs` channels in `weight` under `name`, and its bias
    /// in `bias`.
    pub(super) fn register(
        self,
        [weight, bias]: [&Scope<'_>; 2],
        name: &str,
        [inputs, outputs]: [i64; 2],
        direction: Direction,
    ) -> (Tensor, Option<Tensor>) {
        let ConvConfig { kernel, geometry, .. } = self;
        let groups = geometry.groups;
        assert!(
            inputs % groups == 0 && outputs % groups == 0,
            "{groups} groups do not divide {inputs} and {outputs} channels"
        );
        let [rows, columns] = match direction {
            Direction::Down => {
                assert_eq!(geometry.output_padding, 0, "output padding belongs to transposed convolutions");
                [outputs, inputs / groups]
            }
            Direction::Up => [inputs, outputs / groups],
        };
        let default = Init::fan_in(columns * kernel * kernel);
        let weight = weight.parameter(name, &[rows, columns, kernel, kernel], self.weight.unwrap_or(default));
        let bias = self.with_bias.then(|| bias.parameter("bias", &[outputs], self.bias.unwrap_or(default)));
        (weight, bias)
    }
}

/// The parameters and the geometry of a convolution.
#[derive(Debug)]
struct Weights {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Geometry,
}

impl Weights {
    fn new(scope: &Scope<'_>, channels: [i64; 2], direction: Direction, config: ConvConfig) -> Self {
        let (weight, bias) = config.register([scope, scope], "weight", channels, direction);
        Weights { weight, bias, geometry: config.geometry }
    }

    #[track_caller]
    fn convolve(&self, x: &Tensor, direction: Direction) -> Tensor {
        convolve(x, &self.weight, self.bias.as_ref(), self.geometry, direction)
    }
}

/// 2-D convolution.
#[derive(Debug)]
pub struct Conv2d(Weights);

impl Conv2d {
    /// `inputs` to `outputs` channels.
    ///
    /// # Panics
    /// When the groups do not divide the channels, or there is output padding.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        Conv2d(Weights::new(&scope, [inputs, outputs], Direction::Down, config))
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
        let same = Geometry::same(layer.0.weight.size()[2]);
        assert!(layer.0.geometry == same, "a layer has another geometry than `ConvConfig::same`: {layer:?}");
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
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        ConvTranspose2d(Weights::new(&scope, [inputs, outputs], Direction::Up, config))
    }

    /// `x: [batch, inputs, height, width]` to `[batch, outputs, ...]` with the sides of
    /// [`conv_transpose2d`](super::conv_transpose2d).
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.0.convolve(x, Direction::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{assert_derivatives, doubles, leaf, leaves};

    /// torch.nn.Conv2d(4, 6, 3, groups=2).weight.shape and torch.nn.ConvTranspose2d(4, 6, 3, groups=2).weight.shape
    #[test]
    fn a_group_has_its_part_of_the_inputs() {
        let config = ConvConfig::with(3, Geometry { stride: 2, padding: 1, groups: 2, ..Geometry::default() });
        let (params, x) = (doubles(), leaf(1, &[1, 4, 3, 3]));
        let down = Conv2d::new(params.root(), 4, 6, config);
        assert_eq!(params.all().get("weight").unwrap().size(), [6, 2, 3, 3]);
        assert_eq!(down.forward(&x).size(), [1, 6, 2, 2]);
        assert_derivatives(&leaves(&x, &params), || down.forward(&x));
        let (params, x) = (doubles(), leaf(1, &[1, 4, 2, 2]));
        let up = ConvTranspose2d::new(params.root(), 4, 6, config);
        assert_eq!(params.all().get("weight").unwrap().size(), [4, 3, 3, 3]);
        assert_eq!(up.forward(&x).size(), [1, 6, 3, 3]);
        assert_derivatives(&leaves(&x, &params), || up.forward(&x));
    }
}
