use gen_core::distributions::sum_rows;
use gen_core::nn::{KeyValueCache, LayerNorm, Linear, TransformerLayer};
use gen_core::params::{Init, Scope};
use tch::Tensor;

use crate::bijection::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::{halves, volume_preserving};

/// Which end of a sequence comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The start.
    Ascending,
    /// The end.
    Descending,
}

impl Direction {
    /// Ascending for even blocks, descending for odd ones, so that each position sees all others in two blocks.
    pub fn alternating(block: usize) -> Self {
        if block.is_multiple_of(2) { Direction::Ascending } else { Direction::Descending }
    }
}

/// The sizes of a [`TransformerBlock`].
#[derive(Debug, Clone, Copy)]
pub struct BlockSize {
    /// Positions in a sequence, 2 or more.
    pub length: i64,
    /// Values at each position.
    pub values: i64,
    /// Values of a context; 0 for none.
    pub context: i64,
    /// Transformer layers.
    pub layers: usize,
    /// Their width.
    pub width: i64,
    /// Their heads, which divide the width.
    pub heads: i64,
}

/// A block of [`TarFlow`](crate::TarFlow): an autoregressive affine map of a sequence of vectors, whose scale and
/// shift a causal transformer gives,
///
/// > z_i = (x_i - μ_i(x_<i)) exp(-α_i(x_<i)), log|det| = -Σ α
///
/// with z_0 = x_0 for the position that comes first (Zhai et al. 2024, equations 5 and 6). The sequence may be taken
/// from either end; values stay at their positions.
///
/// `x: [batch, length, values]`, and a context `[batch, context]`, which is projected and added at every position: a
/// class as one row of an identity matrix, no class as zeros.
///
/// Data to latents is one pass; latents to data go a position at a time, led by the [`Guidance`](crate::Guidance)
/// that is given. The log-determinant is that of the guided map. Guidance away from the prediction without a context
/// needs a context.
///
/// ```
/// use gen_core::params::Params;
/// use gen_flow::Given;
/// use gen_flow::bijection::Bijection;
/// use gen_flow::tarflow::{BlockSize, Direction, TransformerBlock};
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let size = BlockSize { length: 6, values: 4, context: 0, layers: 2, width: 16, heads: 2 };
/// let block = TransformerBlock::new(params.root(), size, Direction::Descending);
/// let x = Tensor::randn([3, 6, 4], (Kind::Double, Device::Cpu));
/// let (z, log_det) = block.forward(&x, Given::NOTHING);
/// assert_eq!((z.size(), log_det.size()), (vec![3, 6, 4], vec![3]));
/// assert!(block.inverse(&z, Given::NOTHING).0.allclose(&x, 1e-9, 1e-9, false));
/// ```
#[derive(Debug)]
pub struct TransformerBlock {
    length: i64,
    direction: Direction,
    input: Linear,
    /// `[length - 1, width]`: the last position is never looked at.
    positions: Tensor,
    /// `[context, width]`
    context: Option<Tensor>,
    layers: Vec<TransformerLayer>,
    output_norm: LayerNorm,
    output: Linear,
}

impl TransformerBlock {
    /// A block that starts as the identity.
    pub fn new(scope: Scope<'_>, size: BlockSize, direction: Direction) -> Self {
        let BlockSize { length, values, context, layers, width, heads } = size;
        let embedding = Init::Normal { mean: 0.0, std: 0.01 };
        let layer = |i| TransformerLayer::new(&scope / format!("layers.{i}"), width, heads);
        TransformerBlock {
            length,
            direction,
            input: Linear::new(&scope / "input", values, width),
            positions: scope.parameter("positions", &[length - 1, width], embedding),
            context: (context > 0).then(|| scope.parameter("context", &[context, width], embedding)),
            layers: (0..layers).map(layer).collect(),
            output_norm: LayerNorm::new(&scope / "output_norm", width),
            output: Linear::zeros(&scope / "output", width, 2 * values),
        }
    }

    /// The sequence with its first position in front, or back.
    fn turned(&self, x: &Tensor) -> Tensor {
        match self.direction {
            Direction::Ascending => x.shallow_clone(),
            Direction::Descending => x.flip([1]),
        }
    }

    /// The term of the context at every position: `[batch, 1, width]`.
    fn projected(&self, context: Option<&Tensor>) -> Option<Tensor> {
        let (weight, context) = (self.context.as_ref()?, context?);
        Some(context.matmul(weight).unsqueeze(1))
    }

    /// The input of the layers at the positions from `at` on, for values `x: [batch, n, values]`.
    fn embedded(&self, x: &Tensor, at: i64, context: Option<&Tensor>) -> Tensor {
        let h = self.input.forward(x) + self.positions.narrow(0, at, x.size()[1]);
        match context {
            Some(context) => h + context,
            None => h,
        }
    }

    /// (α, μ) of the positions after those of `h: [batch, n, width]`: `[batch, n, 2 values]`.
    fn parameters(&self, h: &Tensor) -> Tensor {
        self.output.forward(&self.output_norm.forward(h))
    }
}

impl Bijection for TransformerBlock {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        if x.size()[0] == 0 {
            // Attention takes no empty batch.
            return (x.shallow_clone(), volume_preserving(x));
        }
        let x = self.turned(x);
        let last = self.length - 1;
        let mut h = self.embedded(&x.narrow(1, 0, last), 0, self.projected(given.context).as_ref());
        for layer in &self.layers {
            h = layer.forward(&h);
        }
        let [log_scale, shift] = halves(&self.parameters(&h), 2);
        let z = (x.narrow(1, 1, last) - shift) * (-&log_scale).exp();
        (self.turned(&Tensor::cat(&[x.narrow(1, 0, 1), z], 1)), -sum_rows(&log_scale))
    }

    fn inverse(&self, z: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        if z.size()[0] == 0 {
            return (z.shallow_clone(), volume_preserving(z));
        }
        let Given { context, guidance, .. } = given;
        let z = self.turned(z);
        let context =
            guidance.map_or_else(|| context.map(Tensor::shallow_clone), |guidance| guidance.contexts(context));
        let context = self.projected(context.as_ref());
        let sharpness = guidance.and_then(|guidance| guidance.sharpness(&z));
        let last = self.length - 1;
        let mut caches: Vec<_> = self.layers.iter().map(|_| KeyValueCache::new(last)).collect();
        let mut x = vec![z.narrow(1, 0, 1)];
        let mut log_scales = Vec::new();
        for i in 0..last {
            let before = &x[i as usize];
            let before = guidance.map_or_else(|| before.shallow_clone(), |_| before.repeat([2, 1, 1]));
            let mut h = self.embedded(&before, i, context.as_ref());
            for (layer, cache) in self.layers.iter().zip(&mut caches) {
                h = layer.step(&h, cache, sharpness.as_ref());
            }
            let mut parameters = self.parameters(&h);
            if let Some(guidance) = guidance {
                parameters = guidance.guided(&parameters, (i + 1) as f64 / last as f64);
            }
            let [log_scale, shift] = halves(&parameters, 2);
            x.push(z.narrow(1, i + 1, 1) * log_scale.exp() + shift);
            log_scales.push(log_scale);
        }
        (self.turned(&Tensor::cat(&x, 1)), sum_rows(&Tensor::cat(&log_scales, 1)))
    }
}

impl Layer for TransformerBlock {
    fn is_step(&self) -> bool {
        true
    }
}
