use gen_native::is_batch_innermost;
use tch::Tensor;

use super::{Conv2d, ConvConfig, GroupNorm, PowerIteration, SpectralConv2d, maps};
use crate::params::{Init, Scope};

/// The operations that compute attention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AttentionPath {
    /// libtorch's `scaled_dot_product_attention`, which keeps no matrix of all pairs of positions. It has no second
    /// derivative: a gradient penalty or another gradient of a gradient through it is an error.
    #[default]
    Fused,
    /// A product, a softmax, a product: differentiable any number of times. Memory grows with the square of the number
    /// of positions.
    Composed,
}

/// softmax(s q kᵀ) v (Vaswani et al. 2017, equation 1): `q: [..., queries, width]`, `k: [..., keys, width]` and `v:
/// [..., keys, values]` to `[..., queries, values]`. `scale` is s; `None` is 1/√width.
///
/// ```
/// use gen_core::nn::{AttentionPath, attend};
/// use tch::{Device, Kind, Tensor};
///
/// let [q, k, v] = [4, 7, 7].map(|n| Tensor::randn([2, n, 8], (Kind::Double, Device::Cpu)));
/// let fused = attend(&q, &k, &v, None, AttentionPath::Fused);
/// let composed = attend(&q, &k, &v, None, AttentionPath::Composed);
/// assert!(fused.allclose(&composed, 1e-9, 1e-9, false));
/// ```
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, scale: Option<f64>, path: AttentionPath) -> Tensor {
    match path {
        AttentionPath::Fused => {
            Tensor::scaled_dot_product_attention(q, k, v, None::<&Tensor>, 0.0, false, scale, false)
        }
        AttentionPath::Composed => {
            let scale = scale.unwrap_or_else(|| 1.0 / (q.size().last().copied().unwrap_or(1) as f64).sqrt());
            (q * scale).matmul(&k.transpose(-2, -1)).softmax(-1, q.kind()).matmul(v)
        }
    }
}

/// Self-attention over the positions of a feature map, added to its input (Ho et al. 2020, appendix B).
#[derive(Debug)]
pub struct SelfAttention2d {
    heads: i64,
    path: AttentionPath,
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
            path: AttentionPath::Fused,
            norm: GroupNorm::new(&scope / "norm", groups, channels),
            qkv: Conv2d::new(&scope / "qkv", channels, 3 * channels, point),
            out: Conv2d::new(&scope / "out", channels, channels, point.init(Init::ZEROS)),
        }
    }

    /// The same layer by other operations.
    #[must_use]
    pub fn with_path(self, path: AttentionPath) -> Self {
        SelfAttention2d { path, ..self }
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
        let attended = attend(&qkv.get(0), &qkv.get(1), &qkv.get(2), None, self.path);
        let attended = attended.transpose(1, 2).reshape([batch, height, width, channels]);
        x + self.out.forward(&maps::from_rows(&attended, is_batch_innermost(x)))
    }
}

/// The self-attention of SAGAN (Zhang et al. 2019, section 3): `x + γ o`, with γ from 0.
///
/// Queries and keys have an eighth of the channels, values half of them; keys and values are maxima over squares of 2
/// by 2 pixels. Products are not scaled. All four convolutions have spectral normalisation and no bias, as in the
/// authors' code and in BigGAN's, whose names `theta`, `phi`, `g`, `o` and `gamma` these are. Second derivatives exist:
/// the path is [`AttentionPath::Composed`].
#[derive(Debug)]
pub struct SpectralAttention2d {
    theta: SpectralConv2d,
    phi: SpectralConv2d,
    g: SpectralConv2d,
    o: SpectralConv2d,
    gamma: Tensor,
}

impl SpectralAttention2d {
    /// For maps of `channels` channels.
    ///
    /// # Panics
    /// When 8 does not divide the channels.
    pub fn new(scope: Scope<'_>, channels: i64) -> Self {
        assert_eq!(channels % 8, 0, "an eighth of {channels} channels");
        let point =
            |name, inputs, outputs| SpectralConv2d::new(&scope / name, inputs, outputs, ConvConfig::same(1).no_bias());
        SpectralAttention2d {
            theta: point("theta", channels, channels / 8),
            phi: point("phi", channels, channels / 8),
            g: point("g", channels, channels / 2),
            o: point("o", channels / 2, channels),
            gamma: scope.parameter("gamma", &[], Init::ZEROS),
        }
    }

    /// `x: [batch, channels, height, width]` to the same shape. Sides are at least 2; where one is odd, keys and values
    /// leave out its last pixel.
    pub fn forward(&self, x: &Tensor, iteration: PowerIteration) -> Tensor {
        let [batch, channels, height, width] = x.size()[..] else {
            panic!("attention needs a feature map, found {:?}", x.size())
        };
        // [batch, positions, channels]
        let rows = |map: Tensor| map.flatten(2, 3).transpose(1, 2);
        let pooled = |map: Tensor| rows(map.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false));
        let queries = rows(self.theta.forward(x, iteration));
        let keys = pooled(self.phi.forward(x, iteration));
        let values = pooled(self.g.forward(x, iteration));
        let attended = attend(&queries, &keys, &values, Some(1.0), AttentionPath::Composed);
        let attended = attended.transpose(1, 2).reshape([batch, channels / 2, height, width]);
        x + &self.gamma * self.o.forward(&attended, iteration)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, assert_first_derivatives, doubles, leaf, leaves};
    use crate::params::Params;
    use crate::testing::assert_close;

    #[test]
    fn both_paths_are_pytorchs() {
        let golden = Golden::of("attention");
        let [q, k, v] = ["q", "k", "v"].map(|name| golden.get(name));
        for path in [AttentionPath::Fused, AttentionPath::Composed] {
            golden.check("y", &attend(&q, &k, &v, None, path));
            golden.check("unscaled", &attend(&q, &k, &v, Some(1.0), path));
        }
    }

    #[test]
    fn paths_of_a_map_agree() {
        let (params, x) = (doubles(), leaf(1, &[2, 4, 3, 2]));
        let fused = SelfAttention2d::new(params.root(), 2, 4, 2);
        let all = leaves(&x, &params);
        let expected = fused.forward(&x);
        assert_first_derivatives(&all, || fused.forward(&x));
        let composed = fused.with_path(AttentionPath::Composed);
        assert_close(&composed.forward(&x), &expected, 1e-9, 1e-9);
        assert_derivatives(&all, || composed.forward(&x));
    }

    #[test]
    fn the_fused_path_has_no_second_derivative() {
        let (q, rest) = (leaf(1, &[1, 2, 3, 4]), leaf(2, &[1, 2, 3, 4]));
        let sum = attend(&q, &rest, &rest, None, AttentionPath::Fused).sin().sum(Kind::Double);
        let penalty = Tensor::f_run_backward(&[sum], &[&q], true, true).unwrap().remove(0).square().sum(Kind::Double);
        let error = Tensor::f_run_backward(&[penalty], &[&q], false, false).unwrap_err().to_string();
        assert!(error.contains("is not implemented") || error.contains("derivative"), "{error}");
    }

    #[test]
    fn sagans_layer_is_the_formula_of_pytorch() {
        let (golden, params) = (Golden::of("spectral attention"), doubles());
        let layer = SpectralAttention2d::new(params.root(), 8);
        golden.load(&params);
        golden.check("y", &layer.forward(&golden.get("x"), PowerIteration::Keep));
        let (params, x) = (doubles(), leaf(1, &[1, 8, 2, 3]));
        let layer = SpectralAttention2d::new(params.root(), 8);
        assert_eq!(layer.forward(&x, PowerIteration::Advance), x);
        assert_derivatives(&leaves(&x, &params), || layer.forward(&x, PowerIteration::Keep));
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
