use gen_native::Direction;
use tch::Tensor;

use super::ConvConfig;
use super::convolve::{Geometry, convolve};
use super::linear::linear;
use crate::params::{Init, Scope};

/// The state of the power iteration in a forward pass of a layer with spectral normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerIteration {
    /// One iteration before the weight is used, as PyTorch does in training. It changes the saved vectors.
    Advance,
    /// The saved vectors as they are, as in evaluation. Passes of a training step beyond the first may use it too.
    Keep,
}

/// Division of a weight by an estimate of its largest singular value (Miyato et al. 2018, algorithm 1).
///
/// The estimate is uᵀ W v. u and v are buffers, `_u: [rows]` and `_v: [columns]` of W as a matrix, so they are saved,
/// but neither trained nor averaged. Gradients take them as constants. Equal to `torch.nn.utils.parametrizations`'
/// `spectral_norm` with its default of one iteration, and so are the names in [`SpectralLinear`] and its like.
///
/// This value is for a weight of the caller's; a table of class vectors, for example:
///
/// ```
/// use gen_core::nn::{PowerIteration, SpectralNorm};
/// use gen_core::params::{Init, Params};
/// use tch::{Device, Kind};
///
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let table = params.root().parameter("table", &[10, 16], Init::Normal { mean: 0.0, std: 1.0 });
/// let norm = SpectralNorm::new(params.root() / "norm", &table, 0);
/// assert_eq!(norm.apply(&table, PowerIteration::Advance).size(), [10, 16]);
/// ```
#[derive(Debug)]
pub struct SpectralNorm {
    u: Tensor,
    v: Tensor,
    outputs: usize,
}

/// Below this length a vector is not scaled to length 1; PyTorch's `eps`.
const SHORTEST: f64 = 1e-12;

impl SpectralNorm {
    /// For `weight`, whose dimension `outputs` becomes the rows of the matrix: 0, or 1 for a transposed convolution.
    /// Starts with 15 iterations from random vectors, as PyTorch does.
    pub fn new(scope: Scope<'_>, weight: &Tensor, outputs: usize) -> Self {
        let _no_grad = tch::no_grad_guard();
        let matrix = as_matrix(weight, outputs);
        let random = |length: i64| {
            let drawn = scope.rng().randn([length], (weight.kind(), tch::Device::Cpu));
            unit(&drawn.to_device(weight.device()))
        };
        let [rows, columns] = [matrix.size()[0], matrix.size()[1]];
        let norm =
            SpectralNorm { u: scope.buffer("_u", random(rows)), v: scope.buffer("_v", random(columns)), outputs };
        (0..15).for_each(|_| norm.advance(&matrix));
        norm
    }

    /// `weight / (uᵀ W v)`, of the shape of `weight`.
    ///
    /// # Panics
    /// When `weight` has another shape than at the start.
    pub fn apply(&self, weight: &Tensor, iteration: PowerIteration) -> Tensor {
        let matrix = as_matrix(weight, self.outputs);
        if iteration == PowerIteration::Advance {
            tch::no_grad(|| self.advance(&matrix));
        }
        // Copies, since a later pass changes the vectors while this graph may still be needed.
        let (u, v) = (self.u.copy(), self.v.copy());
        weight / u.dot(&matrix.mv(&v))
    }

    fn advance(&self, matrix: &Tensor) {
        self.u.shallow_clone().copy_(&unit(&matrix.mv(&self.v)));
        self.v.shallow_clone().copy_(&unit(&matrix.tr().mv(&self.u)));
    }
}

fn as_matrix(weight: &Tensor, outputs: usize) -> Tensor {
    weight.transpose(0, outputs as i64).flatten(1, -1)
}

fn unit(x: &Tensor) -> Tensor {
    x / x.norm().clamp_min(SHORTEST)
}

/// The places of a weight and of its vectors, as `torch.nn.utils.parametrizations` names them.
fn places<'a>(scope: &Scope<'a>) -> [Scope<'a>; 2] {
    let weight = scope / "parametrizations.weight";
    let vectors = &weight / "0";
    [weight, vectors]
}

/// y = x Wᵀ + b over the last dimension, with [`SpectralNorm`] of W.
#[derive(Debug)]
pub struct SpectralLinear {
    weight: Tensor,
    bias: Tensor,
    norm: SpectralNorm,
}

impl SpectralLinear {
    /// A layer with the initial weights of [`Linear`](super::Linear).
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let init = Init::fan_in(inputs);
        let [place, vectors] = places(&scope);
        let weight = place.parameter("original", &[outputs, inputs], init);
        let bias = scope.parameter("bias", &[outputs], init);
        let norm = SpectralNorm::new(vectors, &weight, 0);
        SpectralLinear { weight, bias, norm }
    }

    /// `x: [..., inputs]` to `[..., outputs]`.
    pub fn forward(&self, x: &Tensor, iteration: PowerIteration) -> Tensor {
        linear(x, &self.norm.apply(&self.weight, iteration), Some(&self.bias))
    }
}

/// A convolution in either direction.
#[derive(Debug)]
struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    norm: SpectralNorm,
    geometry: Geometry,
    direction: Direction,
}

impl Convolution {
    fn new(scope: &Scope<'_>, channels: [i64; 2], config: ConvConfig, direction: Direction) -> Self {
        let [place, vectors] = places(scope);
        let (weight, bias) = config.register([&place, scope], "original", channels, direction);
        let norm = SpectralNorm::new(vectors, &weight, usize::from(direction == Direction::Up));
        Convolution { weight, bias, norm, geometry: config.geometry, direction }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, iteration: PowerIteration) -> Tensor {
        let weight = self.norm.apply(&self.weight, iteration);
        convolve(x, &weight, self.bias.as_ref(), self.geometry, self.direction)
    }
}

/// [`Conv2d`](super::Conv2d) with [`SpectralNorm`] of its weight.
#[derive(Debug)]
pub struct SpectralConv2d(Convolution);

impl SpectralConv2d {
    /// `inputs` to `outputs` channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        SpectralConv2d(Convolution::new(&scope, [inputs, outputs], config, Direction::Down))
    }

    /// `x: [batch, inputs, height, width]` to `[batch, outputs, ...]`.
    pub fn forward(&self, x: &Tensor, iteration: PowerIteration) -> Tensor {
        self.0.forward(x, iteration)
    }
}

/// [`ConvTranspose2d`](super::ConvTranspose2d) with [`SpectralNorm`] of its weight.
#[derive(Debug)]
pub struct SpectralConvTranspose2d(Convolution);

impl SpectralConvTranspose2d {
    /// `inputs` to `outputs` channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        SpectralConvTranspose2d(Convolution::new(&scope, [inputs, outputs], config, Direction::Up))
    }

    /// `x: [batch, inputs, height, width]` to `[batch, outputs, ...]`.
    pub fn forward(&self, x: &Tensor, iteration: PowerIteration) -> Tensor {
        self.0.forward(x, iteration)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::PowerIteration::{Advance, Keep};
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, doubles, leaf, leaves};
    use crate::params::{NamedTensors, Params};
    use crate::testing::{assert_close, assert_close_f64};

    /// Evaluation, two training passes and evaluation, then the vectors, are those of PyTorch.
    fn check(case: &'static str, build: impl Fn(Scope<'_>) -> Box<dyn Fn(&Tensor, PowerIteration) -> Tensor>) {
        let (golden, params) = (Golden::of(case), doubles());
        let forward = build(params.root());
        golden.load(&params);
        for (name, iteration) in [("before", Keep), ("first", Advance), ("second", Advance), ("after", Keep)] {
            golden.check(name, &forward(&golden.get("x"), iteration));
        }
        let all = params.all();
        for vector in ["_u", "_v"] {
            golden.check(vector, all.get(&format!("parametrizations.weight.0.{vector}")).unwrap());
        }
    }

    #[test]
    fn a_step_and_an_evaluation_are_pytorchs() {
        check("spectral linear", |scope| {
            let layer = SpectralLinear::new(scope, 4, 3);
            Box::new(move |x, iteration| layer.forward(x, iteration))
        });
        check("spectral conv", |scope| {
            let layer = SpectralConv2d::new(scope, 2, 3, ConvConfig::strided(4, 2, 1));
            Box::new(move |x, iteration| layer.forward(x, iteration))
        });
        check("spectral transposed", |scope| {
            let layer = SpectralConvTranspose2d::new(scope, 2, 3, ConvConfig::strided(4, 2, 1).no_bias());
            Box::new(move |x, iteration| layer.forward(x, iteration))
        });
    }

    #[test]
    fn a_scaled_weight_has_norm_one() {
        let params = doubles();
        let weight = leaf(3, &[4, 2, 3, 3]);
        let norm = SpectralNorm::new(params.root(), &weight, 0);
        let normal = (0..200).fold(Tensor::new(), |_, _| norm.apply(&weight, Advance));
        let (_, singular, _) = normal.flatten(1, -1).svd(true, false);
        assert_close_f64(singular.max().double_value(&[]), 1.0, 1e-9, 0.0);
    }

    #[test]
    fn only_advance_moves_the_vectors() {
        let params = doubles();
        let layer = SpectralLinear::new(params.root(), 4, 3);
        let x = leaf(1, &[2, 4]);
        let before = params.all().snapshot();
        let _ = layer.forward(&x, Keep);
        let vector = |all: &NamedTensors| all.get("parametrizations.weight.0._u").unwrap().copy();
        assert_eq!(vector(&params.all()), vector(&before));
        let first = layer.forward(&x, Advance);
        let _ = layer.forward(&x, Advance);
        assert_ne!(vector(&params.all()), vector(&before));
        // The graph of the first pass is still whole.
        first.sum(Kind::Double).backward();
        assert_close(&x.grad().get(0), &x.grad().get(1), 1e-12, 0.0);
    }

    #[test]
    fn gradients_have_gradients() {
        /// The vectors follow the shifted weight first, so that the norm is not near 0.
        fn check(params: &Params, x: &Tensor, forward: impl Fn(PowerIteration) -> Tensor) {
            let all = leaves(x, params);
            (0..20).for_each(|_| drop(forward(Advance)));
            assert_derivatives(&all, || forward(Keep));
        }
        let (params, x) = (doubles(), leaf(1, &[2, 3]));
        let linear = SpectralLinear::new(params.root(), 3, 2);
        check(&params, &x, |iteration| linear.forward(&x, iteration));
        let (params, x) = (doubles(), leaf(1, &[1, 2, 3, 3]));
        let conv = SpectralConv2d::new(params.root(), 2, 2, ConvConfig::same(3));
        check(&params, &x, |iteration| conv.forward(&x, iteration));
        let (params, x) = (doubles(), leaf(1, &[1, 2, 2, 2]));
        let conv = SpectralConvTranspose2d::new(params.root(), 2, 1, ConvConfig::strided(4, 2, 1));
        check(&params, &x, |iteration| conv.forward(&x, iteration));
    }
}
