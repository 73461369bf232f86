use gen_core::nn::{Activation, Conv2d, ConvConfig, GroupNorm, SelfAttention2d};
use gen_core::params::{Init, Scope};
use tch::Tensor;

use super::network::Conditioner;
use crate::given::Given;

/// The network of Flow++'s couplings: blocks of a gated convolution and of self-attention over all positions, both
/// added to their input,
///
/// > h ← h + a σ(b), (a, b) = conv₁ₓ₁(silu(norm(conv₃ₓ₃(silu(norm h))))); h ← h + attention(norm h)
///
/// between a 3 × 3 convolution, after which each position adds a vector of its own, and one to the outputs, which
/// gives 0 until it is trained. Normalisation is over the layer of one image.
///
/// Ho et al. 2019 (Flow++), section 3.3, where the nonlinearity is a concatenated ELU.
#[derive(Debug)]
pub struct GatedConditioner {
    input: Conv2d,
    position: Tensor,
    blocks: Vec<Block>,
    norm: GroupNorm,
    output: Conv2d,
}

#[derive(Debug)]
struct Block {
    first: (GroupNorm, Conv2d),
    second: (GroupNorm, Conv2d),
    attention: Option<SelfAttention2d>,
}

const SILU: Option<Activation> = Some(Activation::Silu);

impl GatedConditioner {
    /// Images of `[inputs, height, width]` to `[outputs, height, width]`, through `blocks` blocks of `width` channels
    /// whose attention has that many heads (0: no attention).
    pub fn new(
        scope: Scope<'_>,
        [inputs, height, width_of_image]: [i64; 3],
        width: i64,
        blocks: usize,
        heads: i64,
        outputs: i64,
    ) -> Self {
        let block = |i: usize| {
            let place = &scope / format!("blocks.{i}");
            let norm = |name: &str| GroupNorm::new(&place / name, 1, width);
            Block {
                first: (norm("norm1"), Conv2d::new(&place / "conv1", width, width, ConvConfig::same(3))),
                second: (norm("norm2"), Conv2d::new(&place / "conv2", width, 2 * width, ConvConfig::same(1))),
                attention: (heads > 0).then(|| SelfAttention2d::new(&place / "attention", 1, width, heads)),
            }
        };
        GatedConditioner {
            input: Conv2d::new(&scope / "input", inputs, width, ConvConfig::same(3)),
            position: scope.parameter("position", &[width, height, width_of_image], Init::ZEROS),
            blocks: (0..blocks).map(block).collect(),
            norm: GroupNorm::new(&scope / "norm", 1, width),
            output: Conv2d::new(&scope / "output", width, outputs, ConvConfig::same(3).init(Init::ZEROS)),
        }
    }
}

impl Block {
    fn forward(&self, h: &Tensor) -> Tensor {
        let (norm, conv) = &self.first;
        let inner = conv.forward(&norm.forward(h, SILU));
        let (norm, conv) = &self.second;
        let h = h + conv.forward(&norm.forward(&inner, SILU)).glu(1);
        match &self.attention {
            Some(attention) => attention.forward(&h),
            None => h,
        }
    }
}

impl Conditioner for GatedConditioner {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> Tensor {
        let h = self.input.forward(x) + &self.position;
        let h = self.blocks.iter().fold(h, |h, block| block.forward(&h));
        self.output.forward(&self.norm.forward(&h, SILU))
    }
}
