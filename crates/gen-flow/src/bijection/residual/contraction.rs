use std::ops::Range;

use gen_core::params::{Init, Scope};
use tch::{Device, Kind, Tensor};

use crate::given::Given;

/// A perceptron whose Lipschitz constant is at most c,
///
/// > g(x) = Ŵₙ φ(… φ(Ŵ₁ x + b₁) …) + bₙ, Ŵ = W min(1, c¹ᐟⁿ / ‖W‖₂), φ(z) = z σ(β z) / 1.1
///
/// to which a context adds V · context before the first φ. φ is LipSwish, with a learned β > 0 for each layer: its
/// slope is at most 1, and its second derivative does not vanish where the first is 1 (Chen et al. 2019, section
/// 3.3).
///
/// Hidden layers start with orthogonal weights and the last one as 0. With such a bound the values before φ in a
/// layer of m units are of the size 1/√m. Biases start at that size and β at √m: elsewhere φ would be almost linear.
///
/// ‖W‖₂ is uᵀ W v with the first singular vectors. Outside training they come from an eigenvalue decomposition. In
/// training a power iteration goes on from the vector u of the step before (Miyato et al. 2018, algorithm 1), until the
/// norm changes by less than 10⁻³ + 10⁻³ ‖W‖₂, mostly one step.
#[derive(Debug)]
pub struct Contraction {
    layers: Vec<Layer>,
    context: Option<Tensor>,
    constant: f64,
}

#[derive(Debug)]
struct Layer {
    /// `[outputs, inputs]`
    weight: Tensor,
    bias: Tensor,
    /// The first left singular vector as training last saw it: `[outputs]`.
    singular: Tensor,
    /// β = softplus of this; none for the last layer.
    beta: Option<Tensor>,
}

/// Absolute and relative change of a norm at which a power iteration ends.
const TOLERANCE: f64 = 1e-3;
/// Steps of a power iteration at most.
const POWER_STEPS: usize = 100;
/// Norms below this are 0.
const TINY: f64 = 1e-12;

impl Contraction {
    /// For rows of `dimension` values and a context of `context` features (0 for none), through hidden layers of these
    /// sizes, with the Lipschitz constant `constant`.
    ///
    /// # Panics
    /// When the constant is not in (0, 1).
    pub fn new(scope: Scope<'_>, dimension: i64, context: i64, hidden: &[i64], constant: f64) -> Self {
        assert!(constant > 0.0 && constant < 1.0, "a contraction has a constant in (0, 1), found {constant}");
        let sizes: Vec<i64> = [dimension].iter().chain(hidden).chain(&[dimension]).copied().collect();
        let layer = |i: usize| {
            let place = &scope / format!("layers.{i}");
            let (inputs, outputs, last) = (sizes[i], sizes[i + 1], i == hidden.len());
            let weight = place.parameter("weight", &[outputs, inputs], Init::ZEROS);
            if !last {
                let _no_grad = tch::no_grad_guard();
                weight.shallow_clone().copy_(&orthogonal(&place, outputs, inputs));
            }
            let [singular, _] = tch::no_grad(|| singular_vectors(&weight));
            let start = (outputs as f64).sqrt();
            Layer {
                bias: place.parameter("bias", &[outputs], if last { Init::ZEROS } else { Init::fan_in(outputs) }),
                singular: place.buffer("singular", singular),
                // The inverse of softplus.
                beta: (!last).then(|| place.parameter("beta", &[], Init::Const(start.exp_m1().ln()))),
                weight,
            }
        };
        Contraction {
            layers: (0..=hidden.len()).map(layer).collect(),
            context: (context > 0)
                .then(|| (&scope / "context").parameter("weight", &[sizes[1], context], Init::fan_in(context))),
            constant,
        }
    }

    /// c
    pub fn constant(&self) -> f64 {
        self.constant
    }

    /// The bounded weights of a pass.
    pub(super) fn weights(&self, given: Given<'_>) -> Weights {
        let bound = self.constant.powf(1.0 / self.layers.len() as f64);
        let layers = self.layers.iter().map(|layer| {
            let [u, v] = tch::no_grad(|| match given.rng {
                Some(_) => layer.followed(),
                None => singular_vectors(&layer.weight),
            });
            let norm = u.dot(&layer.weight.mv(&v)).clamp_min(TINY);
            let weight = &layer.weight * (norm.reciprocal() * bound).clamp_max(1.0);
            (weight, layer.bias.shallow_clone(), layer.beta.as_ref().map(Tensor::softplus))
        });
        let context = self.context.as_ref().map(|weight| given.needed_context().matmul(&weight.tr()));
        Weights { layers: layers.collect(), context }
    }
}

impl Layer {
    /// The singular vectors of the largest singular value, from those of the step before, which they replace.
    fn followed(&self) -> [Tensor; 2] {
        let weight = self.weight.detach();
        let mut u = self.singular.copy();
        let mut v = weight.tr().mv(&u);
        for _ in 0..POWER_STEPS {
            let before = v.norm().double_value(&[]);
            v /= before.max(TINY);
            let product = weight.mv(&v);
            let norm = product.norm().double_value(&[]);
            if norm <= TINY {
                // The matrix is 0, or u is orthogonal to its range: the iteration says nothing about the norm.
                let [u, v] = singular_vectors(&weight);
                self.singular.shallow_clone().copy_(&u);
                return [u, v];
            }
            u = product / norm;
            if (norm - before).abs() <= TOLERANCE + TOLERANCE * norm {
                break;
            }
            v = weight.tr().mv(&u);
        }
        self.singular.shallow_clone().copy_(&u);
        [u, v]
    }
}

/// A random matrix with all singular values 1; drawn on the host and in `f64`, so that it does not depend on device
/// and kind.
fn orthogonal(scope: &Scope<'_>, outputs: i64, inputs: i64) -> Tensor {
    let wide = outputs < inputs;
    let size = if wide { [inputs, outputs] } else { [outputs, inputs] };
    let (q, _) = Tensor::linalg_qr(&scope.rng().randn(size, (Kind::Double, Device::Cpu)), "reduced");
    if wide { q.tr() } else { q }
}

/// The left and the right singular vector of the largest singular value of a matrix, as the first eigenvector of the
/// smaller of its products with itself.
fn singular_vectors(weight: &Tensor) -> [Tensor; 2] {
    let wide = weight.size()[0] <= weight.size()[1];
    let weight = weight.detach();
    let one = if wide { weight.shallow_clone() } else { weight.tr() };
    let (_, vectors) = Tensor::linalg_eigh(&one.matmul(&one.tr()), "L");
    let first = vectors.select(1, -1).contiguous();
    let other = one.tr().mv(&first);
    let norm = other.norm().clamp_min(TINY);
    let other = other / norm;
    if wide { [first, other] } else { [other, first] }
}

/// The weights of a pass, their norms bounded.
pub(super) struct Weights {
    /// Ŵ, b, β.
    layers: Vec<(Tensor, Tensor, Option<Tensor>)>,
    /// V · context.
    context: Option<Tensor>,
}

impl Weights {
    /// The layer before which there are the fewest values.
    fn narrowest(&self) -> usize {
        (0..self.layers.len()).min_by_key(|&i| self.layers[i].0.size()[1]).unwrap_or(0)
    }

    /// The same without gradients.
    pub(super) fn detached(&self) -> Weights {
        let layers = self
            .layers
            .iter()
            .map(|(weight, bias, beta)| (weight.detach(), bias.detach(), beta.as_ref().map(Tensor::detach)));
        Weights { layers: layers.collect(), context: self.context.as_ref().map(Tensor::detach) }
    }

    /// g(x), and the factors of its Jacobian.
    pub(super) fn linearised(&self, x: &Tensor) -> Linearised<'_> {
        let (mut h, mut slopes) = (x.shallow_clone(), Vec::new());
        for (i, (weight, bias, beta)) in self.layers.iter().enumerate() {
            h = bias.addmm(&h, &weight.tr());
            if let (0, Some(context)) = (i, &self.context) {
                h += context;
            }
            if let Some(beta) = beta {
                let scaled = &h * beta;
                let gate = scaled.sigmoid() / 1.1;
                // φ' = σ (1 + β z (1 - σ)) / 1.1
                slopes.push(&gate * (scaled * (1.0 - &gate * 1.1) + 1.0));
                h = &h * gate;
            }
        }
        Linearised { weights: self, value: h, slopes }
    }
}

/// g at some rows, and its Jacobian there, the product Ŵₙ Dₙ₋₁ … D₁ Ŵ₁.
pub(super) struct Linearised<'a> {
    weights: &'a Weights,
    /// g(x): `[batch, dimension]`
    pub(super) value: Tensor,
    /// φ' of each hidden layer: the diagonals of D.
    slopes: Vec<Tensor>,
}

impl Linearised<'_> {
    /// A matrix K with det(I + K) = det(I + J) and tr Kᵏ = tr Jᵏ, as small as the narrowest layer:
    /// `[batch, width, width]`.
    ///
    /// With J = A B, the factors of J being divided where there are the fewest units, it is B A (Sylvester's identity).
    pub(super) fn core(&self) -> Tensor {
        let layers = &self.weights.layers;
        let (start, n) = (self.weights.narrowest(), layers.len());
        // Of row b, column i: [width, batch, units], with a batch of 1 as long as rows do not differ.
        let mut columns = layers[start].0.tr().unsqueeze(1);
        for step in 0..n {
            let layer = (start + step) % n;
            if step > 0 {
                columns = columns.matmul(&layers[layer].0.tr());
            }
            if let Some(slope) = self.slopes.get(layer) {
                columns = &columns * slope;
            }
        }
        columns.expand([-1, self.value.size()[0], -1], false).permute([1, 2, 0])
    }

    /// (I + J)⁻¹ v of each row, by way of the `core`: v - A (I + B A)⁻¹ B v.
    pub(super) fn solved(&self, core: &Tensor, v: &Tensor) -> Tensor {
        let start = self.weights.narrowest();
        let identity = Tensor::eye(core.size()[1], (core.kind(), core.device()));
        let solve = |v: &Tensor| Tensor::linalg_solve(&(core + identity), &v.unsqueeze(2), true).squeeze_dim(2);
        match start {
            0 => solve(v),
            _ => v - self.through(start..self.slopes.len() + 1, &solve(&self.through(0..start, v))),
        }
    }

    /// J v of each row.
    pub(super) fn pushed(&self, v: &Tensor) -> Tensor {
        self.through(0..self.slopes.len() + 1, v)
    }

    /// v of each row through the linear parts of some layers.
    fn through(&self, layers: Range<usize>, v: &Tensor) -> Tensor {
        layers.fold(v.shallow_clone(), |v, i| {
            let v = v.matmul(&self.weights.layers[i].0.tr());
            match self.slopes.get(i) {
                Some(slope) => v * slope,
                None => v,
            }
        })
    }

    /// vᵀ J of each row.
    pub(super) fn pulled(&self, v: &Tensor) -> Tensor {
        (0..=self.slopes.len()).rev().fold(v.shallow_clone(), |v, i| {
            let v = match self.slopes.get(i) {
                Some(slope) => v * slope,
                None => v,
            };
            v.matmul(&self.weights.layers[i].0)
        })
    }
}
