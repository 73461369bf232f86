use gen_core::params::{Init, Scope};
use tch::{Device, Kind, Tensor};

use super::Given;

/// A perceptron whose Lipschitz constant is at most c,
///
/// > g(x) = Ŵₙ φ(… φ(Ŵ₁ x + b₁) …) + bₙ, Ŵ = W min(1, c¹ᐟⁿ / ‖W‖₂), φ(z) = z σ(β z) / 1.1
///
/// to which a context adds V · context before the first φ. φ is LipSwish, with a learned β > 0 for each layer: its slope
/// is at most 1, and its second derivative does not vanish where the first is 1 (Chen et al. 2019, section 3.3).
///
/// Hidden layers start with orthogonal weights and the last one as 0. With such a bound the values before φ in a layer of m
/// units are of the size 1/√m, which is where biases start, and βs at √m: elsewhere φ would hardly be more than linear.
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
                bias: place.parameter(
                    "bias",
                    &[outputs],
                    if last { Init::ZEROS } else { Init::fan_in(outputs) },
                ),
                singular: place.buffer("singular", singular),
                // The inverse of softplus.
                beta: (!last).then(|| place.parameter("beta", &[], Init::Const(start.exp_m1().ln()))),
                weight,
            }
        };
        Contraction {
            layers: (0..=hidden.len()).map(layer).collect(),
            context: (context > 0).then(|| {
                (&scope / "context").parameter("weight", &[sizes[1], context], Init::fan_in(context))
            }),
            constant,
        }
    }

    /// c
    pub fn constant(&self) -> f64 {
        self.constant
    }

    /// What a pass multiplies with.
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
        let context = match (&self.context, given.context) {
            (Some(weight), Some(context)) => Some(context.matmul(&weight.tr())),
            _ => None,
        };
        Weights { layers: layers.collect(), context }
    }
}

impl Layer {
    /// The singular vectors of the largest singular value, from those of the step before, which they take the place of.
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
                // The matrix is 0, or u is orthogonal to all that it maps to: nothing is learned of its norm.
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

/// A random matrix with all singular values 1; drawn on the host and in `f64`, so that it does not depend on device and kind.
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
    /// g(x), and what its derivatives are made of.
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

/// g at some rows, and its Jacobian there as the product Ŵₙ Dₙ₋₁ … D₁ Ŵ₁ that it is.
pub(super) struct Linearised<'a> {
    weights: &'a Weights,
    /// g(x): `[batch, dimension]`
    pub(super) value: Tensor,
    /// φ' of each hidden layer: the diagonals of D.
    slopes: Vec<Tensor>,
}

impl Linearised<'_> {
    /// Vectors that went through the first layer already, through the others.
    fn onward(&self, mut tangent: Tensor) -> Tensor {
        for ((weight, ..), slope) in self.weights.layers[1..].iter().zip(&self.slopes) {
            tangent = (tangent * slope).matmul(&weight.tr());
        }
        tangent
    }

    /// J: `[batch, dimension, dimension]`, the outputs first.
    pub(super) fn jacobian(&self) -> Tensor {
        // Of row b, column i: [dimension, batch, units].
        let first = self.weights.layers[0].0.tr().unsqueeze(1);
        let columns = self.onward(first.expand([-1, self.value.size()[0], -1], false));
        columns.permute([1, 2, 0])
    }

    /// J v of each row.
    pub(super) fn pushed(&self, v: &Tensor) -> Tensor {
        self.onward(v.matmul(&self.weights.layers[0].0.tr()))
    }

    /// vᵀ J of each row.
    pub(super) fn pulled(&self, v: &Tensor) -> Tensor {
        let mut row = v.shallow_clone();
        for (i, (weight, ..)) in self.weights.layers.iter().enumerate().rev() {
            row = row.matmul(weight);
            if i > 0 {
                row = &row * &self.slopes[i - 1];
            }
        }
        row
    }
}
