use gen_core::nn::{Conv2d, ConvConfig, conv_relu_stack};
use gen_core::params::{Init, Scope};
use tch::Tensor;

use super::network::Conditioner;
use crate::given::Given;

/// The network of Glow's couplings: conv₃ₓ₃ relu conv₁ₓ₁ relu conv₃ₓ₃. Without normalisation: the flow normalises its
/// inputs.
///
/// Kingma & Dhariwal 2018, section 5 and code.
#[derive(Debug)]
pub struct GlowConditioner {
    input: Conv2d,
    hidden: Conv2d,
    output: Conv2d,
}

impl GlowConditioner {
    /// Feature maps of `inputs` channels to `outputs` channels through two layers of `width` channels.
    pub fn new(scope: Scope<'_>, inputs: i64, width: i64, outputs: i64) -> Self {
        GlowConditioner {
            input: Conv2d::new(&scope / "input", inputs, width, ConvConfig::same(3)),
            hidden: Conv2d::new(&scope / "hidden", width, width, ConvConfig::same(1)),
            output: Conv2d::new(&scope / "output", width, outputs, ConvConfig::same(3).init(Init::ZEROS)),
        }
    }
}

impl Conditioner for GlowConditioner {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> Tensor {
        conv_relu_stack(x, &[&self.input, &self.hidden, &self.output])
    }
}

/// One 3 × 3 convolution, by which Glow predicts the distribution of factored-out values.
#[derive(Debug)]
pub struct PriorConditioner {
    output: Conv2d,
}

impl PriorConditioner {
    /// Feature maps of `inputs` channels to `outputs` channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let init = ConvConfig::same(3).init(Init::ZEROS);
        PriorConditioner { output: Conv2d::new(&scope / "output", inputs, outputs, init) }
    }
}

impl Conditioner for PriorConditioner {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> Tensor {
        self.output.forward(x)
    }
}
