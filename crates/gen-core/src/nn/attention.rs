use gen_native::is_batch_innermost;
use tch::Tensor;

use super::{Conv2d, ConvConfig, GroupNorm, maps};
use crate::params::{Init, Scope};

/// Self-attention over the positions of a feature map, added to its input (Ho et al. 2020, appendix B).
#[derive(Debug)]
pub struct SelfAttention2d {
    heads: i64,
    norm: GroupNorm,
    qkv: Conv2d,
    out: Conv2d,
}

impl SelfAttention2d {
    /// `heads` heads of `channels / heads`; the output projection starts at zero, so that the layer starts as
    /// the identity.
    pub fn new(scope: Scope<'_>, groups: i64, channels: i64, heads: i64) -> Self {
        let point = ConvConfig::same(1);
        SelfAttention2d {
            heads,
            norm: GroupNorm::new(&scope / "norm", groups, channels),
            qkv: Conv2d::new(&scope / "qkv", channels, 3 * channels, point),
            out: Conv2d::new(&scope / "out", channels, channels, point.init(Init::ZEROS)),
        }
    }

    /// `x: [batch, channels, height, width]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let [batch, channels, height, width] = x.size()[..] else {
            panic!("attention needs a feature map, found {:?}", x.size())
        };
        // [3, batch, heads, positions, channels per head]
        let qkv = maps::to_rows(&self.qkv.forward(&self.norm.forward(x, None)))
            .view([batch, height * width, 3, self.heads, channels / self.heads])
            .permute([2, 0, 3, 1, 4]);
        let attended = Tensor::scaled_dot_product_attention(
            &qkv.get(0),
            &qkv.get(1),
            &qkv.get(2),
            None::<Tensor>,
            0.0,
            false,
            None,
            false,
        );
        let attended = attended.transpose(1, 2).reshape([batch, height, width, channels]);
        x + self.out.forward(&maps::from_rows(&attended, is_batch_innermost(x)))
    }
}
