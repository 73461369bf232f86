use gen_native::is_batch_innermost;
use tch::{Kind, Tensor};

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
    /// `heads` heads of `channels / heads` channels. The output projection starts at zero, so the layer starts as the
    /// identity.
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
    ///
    /// libtorch's fused attention has neither second nor forward derivatives on a processor; for those there is
    /// [`SelfAttention2d::forward_composed`].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.attend(x, |q, k, v| Tensor::scaled_dot_product_attention(q, k, v, None::<Tensor>, 0.0, false, None, false))
    }

    /// As [`SelfAttention2d::forward`], by products and a softmax, which have derivatives of every order.
    pub fn forward_composed(&self, x: &Tensor) -> Tensor {
        self.attend(x, |q, k, v| {
            let scale = 1.0 / (q.size()[3] as f64).sqrt();
            (q.matmul(&k.transpose(2, 3)) * scale).softmax(-1, None::<Kind>).matmul(v)
        })
    }

    fn attend(&self, x: &Tensor, attention: impl Fn(&Tensor, &Tensor, &Tensor) -> Tensor) -> Tensor {
        let [batch, channels, height, width] = x.size()[..] else {
            panic!("attention needs a feature map, found {:?}", x.size())
        };
        // [3, batch, heads, positions, channels per head]
        let qkv = maps::to_rows(&self.qkv.forward(&self.norm.forward(x, None)))
            .view([batch, height * width, 3, self.heads, channels / self.heads])
            .permute([2, 0, 3, 1, 4]);
        let attended = attention(&qkv.get(0), &qkv.get(1), &qkv.get(2));
        let attended = attended.transpose(1, 2).reshape([batch, height, width, channels]);
        x + self.out.forward(&maps::from_rows(&attended, is_batch_innermost(x)))
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_gradient, assert_penalty_gradient};

    #[test]
    fn the_composed_form_is_the_fused_one_and_can_be_differentiated_twice() {
        tch::manual_seed(1);
        let params = Params::new(Kind::Double, Device::Cpu);
        let layer = SelfAttention2d::new(params.root(), 2, 4, 2);
        for (_, parameter) in params.trainable() {
            let _ = tch::no_grad(|| parameter.shallow_clone().uniform_(-0.5, 0.5));
        }
        let x = Tensor::randn([2, 4, 2, 3], (Kind::Double, Device::Cpu));
        assert_close(&layer.forward_composed(&x), &layer.forward(&x), 1e-10, 1e-10);
        assert_gradient(|x| layer.forward_composed(x).sin().sum(Kind::Double), &x, 1e-6);
        let scale = Tensor::from_slice(&[0.7]);
        assert_penalty_gradient(|x, scale| layer.forward_composed(&(x * scale)).tanh(), &x, &scale, 1e-5);
    }

    /// A batch that fills a vector has another layout than the same images one by one.
    #[test]
    fn images_do_not_depend_on_their_layout() {
        tch::manual_seed(2);
        let params = Params::new(Kind::Float, Device::Cpu);
        let layer = SelfAttention2d::new(params.root(), 2, 8, 2);
        for (_, parameter) in params.trainable() {
            let _ = tch::no_grad(|| parameter.shallow_clone().uniform_(-0.5, 0.5));
        }
        let x = Tensor::randn([32, 8, 3, 4], (Kind::Float, Device::Cpu));
        let alone: Vec<_> = x.split(1, 0).iter().map(|x| layer.forward(x)).collect();
        let alone = Tensor::cat(&alone, 0);
        assert_close(&layer.forward(&x), &alone, 1e-5, 1e-5);
        let innermost = gen_native::batch_innermost(&x).unwrap();
        assert_close(&layer.forward(&innermost), &alone, 1e-5, 1e-5);
    }
}
