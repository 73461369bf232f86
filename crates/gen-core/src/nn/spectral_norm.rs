use tch::Tensor;

use super::ConvConfig;
use super::conv::conv2d;
use crate::params::{Init, Scope};

/// Spectral normalisation of a weight (Miyato et al. 2018): division by its largest singular value, which power
/// iteration follows from step to step.
///
/// The weight is seen as a matrix of its first dimension by all others. The singular vectors are buffers, so that a
/// resumed run continues them.
#[derive(Debug)]
pub struct SpectralNorm {
    u: Tensor,
    v: Tensor,
}

/// Power iterations before the first pass, as PyTorch takes them.
const FIRST_ITERATIONS: usize = 15;

impl SpectralNorm {
    /// For `weight`, whose singular vectors are registered as `u` and `v`.
    pub fn new(scope: &Scope<'_>, weight: &Tensor) -> Self {
        let matrix = weight.detach().flatten(1, -1);
        let [rows, columns] = [matrix.size()[0], matrix.size()[1]];
        let draw = |n| unit(&scope.rng().randn([n], (weight.kind(), scope.device())));
        let norm = SpectralNorm { u: scope.buffer("u", draw(rows)), v: scope.buffer("v", draw(columns)) };
        (0..FIRST_ITERATIONS).for_each(|_| norm.iterate(&matrix));
        norm
    }

    /// `weight` over σ = uᵀ W v. With `update`, as in a step that trains it, one power iteration comes first.
    pub fn normalise(&self, weight: &Tensor, update: bool) -> Tensor {
        let matrix = weight.flatten(1, -1);
        if update {
            self.iterate(&matrix.detach());
        }
        // Copies: the next iteration must not change what this graph holds.
        let (u, v) = (self.u.copy(), self.v.copy());
        weight / u.dot(&matrix.mv(&v))
    }

    fn iterate(&self, matrix: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        self.u.shallow_clone().copy_(&unit(&matrix.mv(&self.v)));
        self.v.shallow_clone().copy_(&unit(&matrix.tr().mv(&self.u)));
    }
}

/// `x` at length 1.
fn unit(x: &Tensor) -> Tensor {
    x / x.norm().clamp_min(1e-12)
}

/// A linear layer with spectral normalisation.
#[derive(Debug)]
pub struct SpectralLinear {
    weight: Tensor,
    bias: Tensor,
    norm: SpectralNorm,
}

impl SpectralLinear {
    /// `inputs` to `outputs`, with these initial weights and zero biases.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, init: Init) -> Self {
        let weight = scope.parameter("weight", &[outputs, inputs], init);
        let norm = SpectralNorm::new(&scope, &weight);
        SpectralLinear { weight, bias: scope.parameter("bias", &[outputs], Init::ZEROS), norm }
    }

    /// `x: [..., inputs]` to `[..., outputs]`. `update` as in [`SpectralNorm::normalise`].
    pub fn forward(&self, x: &Tensor, update: bool) -> Tensor {
        x.linear(&self.norm.normalise(&self.weight, update), Some(&self.bias))
    }
}

/// A convolution with spectral normalisation.
#[derive(Debug)]
pub struct SpectralConv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    norm: SpectralNorm,
    stride: i64,
    padding: i64,
}

impl SpectralConv2d {
    /// `inputs` to `outputs` channels.
    pub fn new(scope: Scope<'_>, inputs: i64, outputs: i64, config: ConvConfig) -> Self {
        let ConvConfig { kernel, stride, padding, with_bias, .. } = config;
        let default = Init::fan_in(inputs * kernel * kernel);
        let weight = scope.parameter("weight", &[outputs, inputs, kernel, kernel], config.weight.unwrap_or(default));
        let bias = with_bias.then(|| scope.parameter("bias", &[outputs], config.bias.unwrap_or(default)));
        SpectralConv2d { norm: SpectralNorm::new(&scope, &weight), weight, bias, stride, padding }
    }

    /// `x: [batch, inputs, height, width]`. `update` as in [`SpectralNorm::normalise`].
    pub fn forward(&self, x: &Tensor, update: bool) -> Tensor {
        let weight = self.norm.normalise(&self.weight, update);
        conv2d(x, &weight, self.bias.as_ref(), self.stride, self.padding)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient, assert_penalty_gradient};

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// The weight 1, -2, 3, ... of 3 by 4, and its normalisation with fixed vectors.
    fn case() -> (Params, Tensor, SpectralNorm) {
        let params = Params::new(Kind::Double, Device::Cpu);
        let signs = Tensor::from_slice(&[1.0, -1.0]).repeat([6]);
        let weight = (Tensor::arange_start(1, 13, F64) * signs).view([3, 4]);
        let norm = SpectralNorm::new(&params.root(), &weight);
        norm.u.shallow_clone().copy_(&Tensor::from_slice(&[0.6, 0.0, 0.8]));
        norm.v.shallow_clone().copy_(&Tensor::from_slice(&[0.5, 0.5, -0.5, 0.5]));
        (params, weight, norm)
    }

    #[test]
    fn one_step_is_pytorchs() {
        let (_params, weight, norm) = case();
        // m = torch.nn.Linear(4, 3, bias=False, dtype=torch.float64)
        // torch.nn.utils.parametrizations.spectral_norm(m); p = m.parametrizations.weight
        // p.original.data = (torch.arange(1., 13) * torch.tensor([1., -1]).repeat(6)).view(3, 4)
        // p[0]._u, p[0]._v = torch.tensor([.6, 0, .8]), torch.tensor([.5, .5, -.5, .5])
        // m.weight[0], p[0]._u
        let row = [0.039405520311955024, -0.07881104062391005, 0.11821656093586508, -0.1576220812478201];
        let first = Tensor::from_slice(&row);
        assert_close(&norm.normalise(&weight, true).get(0), &first, 1e-9, 1e-12);
        assert_close(
            &norm.u,
            &Tensor::from_slice(&[-0.2672612419124244, -0.5345224838248488, -0.8017837257372732]),
            1e-9,
            1e-12,
        );
        // Without an update nothing moves.
        assert_close(&norm.normalise(&weight, false).get(0), &first, 1e-9, 1e-12);
    }

    #[test]
    fn the_largest_singular_value_becomes_one() {
        let (_params, weight, norm) = case();
        let mut normal = norm.normalise(&weight, true);
        for _ in 0..50 {
            normal = norm.normalise(&weight, true);
        }
        let (_, values, _) = Tensor::svd(&normal, true, true);
        assert_close_f64(values.max().double_value(&[]), 1.0, 1e-9, 0.0);
    }

    #[test]
    fn gradients_and_those_of_penalties_are_right() {
        let (_params, weight, norm) = case();
        assert_gradient(|w| norm.normalise(w, false).sin().sum(Kind::Double), &weight, 1e-7);
        let x = Tensor::arange(8, F64).view([2, 4]) * 0.3 - 1.0;
        let layer = |x: &Tensor, w: &Tensor| x.linear(&norm.normalise(w, false), None::<&Tensor>).tanh();
        assert_penalty_gradient(layer, &x, &weight, 1e-6);
    }

    #[test]
    fn layers_are_those_of_the_normalised_weight() {
        tch::manual_seed(0);
        let params = Params::new(Kind::Double, Device::Cpu);
        let root = params.root();
        let conv = SpectralConv2d::new(&root / "conv", 2, 3, ConvConfig::strided(4, 2, 1));
        let x = Tensor::randn([2, 2, 6, 6], F64);
        let weight = conv.norm.normalise(&conv.weight, false);
        let expected = x.conv2d(&weight, conv.bias.as_ref(), [2, 2], [1, 1], [1, 1], 1);
        assert_close(&conv.forward(&x, false), &expected, 1e-10, 1e-10);
        let linear = SpectralLinear::new(&root / "linear", 6, 2, Init::fan_in(6));
        let expected = x.matmul(&linear.norm.normalise(&linear.weight, false).tr());
        assert_close(&linear.forward(&x, false), &expected, 1e-10, 1e-10);
        let buffers: Vec<_> = params.all().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(
            buffers,
            ["conv.bias", "conv.u", "conv.v", "conv.weight", "linear.bias", "linear.u", "linear.v", "linear.weight"]
        );
    }
}
