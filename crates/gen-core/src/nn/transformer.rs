use tch::Tensor;

use super::{LayerNorm, Linear};
use crate::params::Scope;

/// A layer of a causal transformer (Vaswani et al. 2017): a residual block of self-attention, in which a position
/// attends to itself and those before it, then one of a perceptron with a hidden layer four times as wide. Each block
/// normalises its input (Radford et al. 2019).
///
/// [`TransformerLayer::forward`] takes a whole sequence. [`TransformerLayer::step`] takes one position at a time, and
/// keeps the keys and values of the earlier positions in a [`KeyValueCache`]:
///
/// ```
/// use gen_core::nn::{KeyValueCache, TransformerLayer};
/// use gen_core::params::Params;
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let layer = TransformerLayer::new(params.root(), 8, 2);
/// let x = Tensor::randn([3, 5, 8], (Kind::Double, Device::Cpu));
/// let mut cache = KeyValueCache::new(5);
/// let steps = x.split(1, 1).iter().map(|x| layer.step(x, &mut cache, None)).collect::<Vec<_>>();
/// assert!(Tensor::cat(&steps, 1).allclose(&layer.forward(&x), 1e-9, 1e-9, false));
/// ```
#[derive(Debug)]
pub struct TransformerLayer {
    heads: i64,
    attention_norm: LayerNorm,
    qkv: Linear,
    attention_out: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
}

impl TransformerLayer {
    /// For vectors of `width` values, with `heads` heads of `width / heads`.
    ///
    /// # Panics
    /// When the heads do not divide the width.
    pub fn new(scope: Scope<'_>, width: i64, heads: i64) -> Self {
        assert_eq!(width % heads, 0, "a width of {width} does not divide into {heads} heads");
        let (attention, mlp) = (&scope / "attention", &scope / "mlp");
        TransformerLayer {
            heads,
            attention_norm: LayerNorm::new(&attention / "norm", width),
            qkv: Linear::new(&attention / "qkv", width, 3 * width),
            attention_out: Linear::new(&attention / "out", width, width),
            mlp_norm: LayerNorm::new(&mlp / "norm", width),
            mlp_in: Linear::new(&mlp / "in", width, 4 * width),
            mlp_out: Linear::new(&mlp / "out", 4 * width, width),
        }
    }

    /// A whole sequence, `x: [batch, length, width]`, to the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let [q, k, v] = self.queries_keys_values(x);
        let x = x + self.attention_out.forward(&self.attend(&q, &k, &v, q.size()[2] > 1));
        &x + self.perceptron(&x)
    }

    /// The next position of a sequence, `x: [batch, 1, width]`, to the same shape, with the `cache` of the earlier
    /// ones.
    ///
    /// `sharpness: [batch, 1, 1, 1]` is a factor on the attention logits of each row, the inverse of a temperature.
    ///
    /// # Panics
    /// When the cache is full.
    pub fn step(&self, x: &Tensor, cache: &mut KeyValueCache, sharpness: Option<&Tensor>) -> Tensor {
        let [q, k, v] = self.queries_keys_values(x);
        let q = sharpness.map_or_else(|| q.shallow_clone(), |sharpness| &q * sharpness);
        let [k, v] = cache.push(&k, &v);
        let x = x + self.attention_out.forward(&self.attend(&q, &k, &v, false));
        &x + self.perceptron(&x)
    }

    /// Each `[batch, heads, length, width / heads]`.
    fn queries_keys_values(&self, x: &Tensor) -> [Tensor; 3] {
        let (batch, length) = (x.size()[0], x.size()[1]);
        let qkv = self.qkv.forward(&self.attention_norm.forward(x)).view([batch, length, 3, self.heads, -1]);
        // `unbind` has one gradient, computed in one pass; three selections would have three.
        let parts = qkv.permute([2, 0, 3, 1, 4]).unbind(0);
        [0, 1, 2].map(|i: usize| parts[i].shallow_clone())
    }

    /// The attention before the output projection: `[batch, length, width]`.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Tensor {
        let attended = Tensor::scaled_dot_product_attention(q, k, v, None::<Tensor>, 0.0, causal, None::<f64>, false);
        attended.transpose(1, 2).flatten(2, 3)
    }

    fn perceptron(&self, x: &Tensor) -> Tensor {
        let hidden = self.mlp_in.forward(&self.mlp_norm.forward(x));
        self.mlp_out.forward(&hidden.gelu("none"))
    }
}

/// The keys and values of the positions so far in [`TransformerLayer::step`].
#[derive(Debug)]
pub struct KeyValueCache {
    capacity: i64,
    length: i64,
    /// Keys and values, `[batch, heads, capacity, width / heads]`, of which the first `length` positions are filled.
    /// With gradients, `[batch, heads, length, width / heads]`.
    tensors: Option<[Tensor; 2]>,
}

impl KeyValueCache {
    /// Empty, for a sequence of at most `capacity` positions.
    pub fn new(capacity: i64) -> Self {
        KeyValueCache { capacity, length: 0, tensors: None }
    }

    /// Adds a position, `[batch, heads, 1, width / heads]`, and returns the keys and values of all.
    fn push(&mut self, k: &Tensor, v: &Tensor) -> [Tensor; 2] {
        assert!(self.length < self.capacity, "the cache is for {} positions", self.capacity);
        let at = self.length;
        self.length += 1;
        if k.requires_grad() {
            // Autograd needs the earlier values unchanged, so each position makes new tensors.
            let grown = match self.tensors.take() {
                Some([keys, values]) => [Tensor::cat(&[&keys, k], 2), Tensor::cat(&[&values, v], 2)],
                None => [k.shallow_clone(), v.shallow_clone()],
            };
            self.tensors = Some(grown.each_ref().map(Tensor::shallow_clone));
            return grown;
        }
        let tensors = self.tensors.get_or_insert_with(|| {
            let mut size = k.size();
            size[2] = self.capacity;
            [k, v].map(|x| Tensor::empty(&size, (x.kind(), x.device())))
        });
        for (all, new) in tensors.iter().zip([k, v]) {
            all.narrow(2, at, 1).copy_(new);
        }
        tensors.each_ref().map(|all| all.narrow(2, 0, at + 1))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::params::Params;
    use crate::testing::assert_close;

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn layer() -> (Params, TransformerLayer) {
        tch::manual_seed(0);
        let params = Params::new(Kind::Double, Device::Cpu);
        let layer = TransformerLayer::new(params.root(), 8, 2);
        (params, layer)
    }

    #[test]
    fn a_position_sees_itself_and_those_before() {
        let (_params, layer) = layer();
        let x = Tensor::randn([1, 4, 8], F64).set_requires_grad(true);
        let y = layer.forward(&x);
        for to in 0..4 {
            let sum = y.select(1, to).sum(Kind::Double);
            let gradient = Tensor::run_backward(&[sum], &[&x], true, false).remove(0);
            for from in 0..4 {
                let sees = gradient.select(1, from).abs().max().double_value(&[]) > 1e-9;
                assert_eq!(sees, from <= to, "{to} of {from}");
            }
        }
    }

    #[test]
    fn a_cache_gives_the_gradients_of_the_whole_sequence() {
        let (params, layer) = layer();
        let x = Tensor::randn([2, 4, 8], F64);
        let gradients = |y: Tensor| {
            let parameters: Vec<Tensor> = params.trainable().into_iter().map(|(_, tensor)| tensor).collect();
            Tensor::run_backward(&[y.square().sum(Kind::Double)], &parameters, false, false)
        };
        let mut cache = KeyValueCache::new(4);
        let steps: Vec<_> = x.split(1, 1).iter().map(|x| layer.step(x, &mut cache, None)).collect();
        let stepped = gradients(Tensor::cat(&steps, 1));
        for (one, other) in gradients(layer.forward(&x)).iter().zip(&stepped) {
            assert_close(other, one, 1e-9, 1e-9);
        }
    }

    #[test]
    fn attention_of_zero_sharpness_is_a_mean() {
        let (_params, layer) = layer();
        let x = Tensor::randn([2, 3, 8], F64);
        let [_, _, v] = layer.queries_keys_values(&x);
        let mean = v.mean_dim(2, false, Kind::Double).flatten(1, 2).unsqueeze(1);
        let last = x.narrow(1, 2, 1);
        let after = &last + layer.attention_out.forward(&mean);
        let expected = &after + layer.perceptron(&after);
        let mut cache = KeyValueCache::new(3);
        let flat = Tensor::zeros([2, 1, 1, 1], F64);
        let steps: Vec<_> = x.split(1, 1).iter().map(|x| layer.step(x, &mut cache, Some(&flat))).collect();
        assert_close(&steps[2], &expected, 1e-9, 1e-9);
    }
}
