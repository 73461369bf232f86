use gen_core::params::{Init, Scope};
use tch::Tensor;

use super::field::{Place, Pullback, VectorField, by_autograd};

/// A perceptron with tanh, whose biases change with time,
///
/// > h₀ = x, hᵢ = tanh(Wᵢ hᵢ₋₁ + bᵢ + t cᵢ), g = Wₙ hₙ₋₁ + bₙ + t cₙ
///
/// to which a context adds V · context before the first tanh. With no hidden layer, the linear map W₁ x + b₁ + t c₁.
///
/// The last layer starts as 0, so that the flow starts as the identity.
///
/// Traces need no backward pass. With Dᵢ = diag(1 - hᵢ²), up to two hidden layers have a trace that costs one product
/// of matrices whatever the dimension, for it is bilinear in the diagonals, which alone change from row to row:
///
/// > tr(W₃ D₂ W₂ D₁ W₁) = d₂ᵀ (W₂ ⊙ (W₁ W₃)ᵀ) d₁, dᵢ the diagonal of Dᵢ
///
/// With more, the columns of the Jacobian go through the layers together, as many as there are dimensions, or one for a
/// probe.
#[derive(Debug)]
pub struct PerceptronField {
    layers: Vec<Layer>,
    context: Option<Tensor>,
}

#[derive(Debug)]
struct Layer {
    /// `[outputs, inputs]`
    weight: Tensor,
    bias: Tensor,
    time: Tensor,
}

impl PerceptronField {
    /// For rows of `dimension` values and a context of `context` features (0 for none), through hidden layers of these
    /// sizes.
    pub fn new(scope: Scope<'_>, dimension: i64, context: i64, hidden: &[i64]) -> Self {
        let sizes: Vec<i64> = [dimension].iter().chain(hidden).chain(&[dimension]).copied().collect();
        let layer = |i: usize| {
            let place = &scope / format!("layers.{i}");
            let (inputs, outputs) = (sizes[i], sizes[i + 1]);
            let init = if i == hidden.len() { Init::ZEROS } else { Init::fan_in(inputs) };
            Layer {
                weight: place.parameter("weight", &[outputs, inputs], init),
                bias: place.parameter("bias", &[outputs], init),
                time: place.parameter("time", &[outputs], init),
            }
        };
        PerceptronField {
            layers: (0..=hidden.len()).map(layer).collect(),
            context: (context > 0)
                .then(|| (&scope / "context").parameter("weight", &[sizes[1], context], Init::fan_in(context))),
        }
    }
}

/// The index of the bilinear form of two hidden layers in the results of [`VectorField::prepare`].
const BILINEAR: usize = 9;

/// The results of [`VectorField::prepare`], by name.
struct Prepared<'a> {
    /// Weight, bias and bias for each unit of time of each layer.
    layers: Vec<&'a [Tensor]>,
    /// V · context.
    context: Option<&'a Tensor>,
    /// The matrix between d₁ and d₂, or the vector beside d₁.
    bilinear: Option<&'a Tensor>,
}

impl PerceptronField {
    fn named<'a>(&self, prepared: &'a [Tensor]) -> Prepared<'a> {
        let (layers, mut rest) = prepared.split_at(3 * self.layers.len());
        let bilinear = match self.layers.len() {
            2 | 3 => rest.split_first().map(|(bilinear, others)| {
                rest = others;
                bilinear
            }),
            _ => None,
        };
        Prepared { layers: layers.chunks(3).collect(), context: rest.first(), bilinear }
    }
}

impl Prepared<'_> {
    /// W h + b + t c
    fn layer(&self, i: usize, h: &Tensor, t: f64) -> Tensor {
        let [weight, bias, time] = self.layers[i] else { unreachable!("a layer has three tensors") };
        let z = (bias + time * t).addmm(h, &weight.tr());
        match self.context {
            Some(context) if i == 0 => z + context,
            _ => z,
        }
    }

    fn weight(&self, i: usize) -> &Tensor {
        &self.layers[i][0]
    }

    /// g, and hᵢ of all hidden layers.
    fn velocity_and_hidden(&self, x: &Tensor, t: f64) -> (Tensor, Vec<Tensor>) {
        let last = self.layers.len() - 1;
        let mut hidden: Vec<Tensor> = Vec::with_capacity(last);
        for i in 0..last {
            let h = self.layer(i, hidden.last().unwrap_or(x), t).tanh();
            hidden.push(h);
        }
        (self.layer(last, hidden.last().unwrap_or(x), t), hidden)
    }

    /// J v of vectors v that went through the first weights already.
    fn pushed(&self, mut tangent: Tensor, hidden: &[Tensor]) -> Tensor {
        for (i, h) in hidden.iter().enumerate() {
            tangent = through_tanh(&tangent, h).matmul(&self.weight(i + 1).tr());
        }
        tangent
    }

    fn trace(&self, x: &Tensor, hidden: &[Tensor], probe: Option<&Tensor>) -> Tensor {
        let kind = x.kind();
        match (probe, self.bilinear, hidden) {
            (Some(e), _, _) => {
                let tangent = self.pushed(e.matmul(&self.weight(0).tr()), hidden);
                (tangent * e).sum_dim_intlist(1, false, kind)
            }
            (None, Some(vector), [h1]) => through_tanh(&h1.detach().ones_like(), h1).mv(vector),
            (None, Some(matrix), [h1, h2]) => {
                let d1 = through_tanh(&h1.detach().ones_like(), h1);
                through_tanh(&d1.matmul(&matrix.tr()), h2).sum_dim_intlist(1, false, kind)
            }
            _ => {
                // Of row b, column i: [dimension, batch, units].
                let first = self.weight(0).tr().unsqueeze(1);
                let columns = self.pushed(first.expand([-1, x.size()[0], -1], false), hidden);
                columns.diagonal(0, 0, 2).sum_dim_intlist(1, false, kind)
            }
        }
    }
}

/// v (1 - h²), a derivative v after its way through h = tanh z, in either direction.
fn through_tanh(v: &Tensor, h: &Tensor) -> Tensor {
    Tensor::tanh_backward(v, h)
}

impl VectorField for PerceptronField {
    fn parameters(&self) -> Vec<Tensor> {
        let layers = self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias, &layer.time]);
        layers.chain(&self.context).map(Tensor::shallow_clone).collect()
    }

    fn prepare(&self, context: Option<&Tensor>) -> Vec<Tensor> {
        let mut prepared = self.parameters();
        prepared.truncate(3 * self.layers.len());
        match self.layers.as_slice() {
            [first, last] => {
                let vector = &first.weight * last.weight.tr();
                prepared.push(vector.sum_dim_intlist(1, false, vector.kind()));
            }
            [first, middle, last] => {
                prepared.push(&middle.weight * first.weight.matmul(&last.weight).tr());
            }
            _ => {}
        }
        if let Some(weight) = &self.context {
            let context = crate::given::Given { context, ..crate::given::Given::NOTHING }.needed_context();
            prepared.push(context.matmul(&weight.tr()));
        }
        prepared
    }

    fn velocity(&self, prepared: &[Tensor], x: &Tensor, t: f64) -> Tensor {
        self.named(prepared).velocity_and_hidden(x, t).0
    }

    fn velocity_and_trace(&self, prepared: &[Tensor], at: Place<'_>) -> (Tensor, Tensor) {
        let prepared = self.named(prepared);
        let (velocity, hidden) = prepared.velocity_and_hidden(at.x, at.t);
        let trace = prepared.trace(at.x, &hidden, at.probe);
        (velocity, trace)
    }

    /// By hand where the trace is bilinear: half as many operations as automatic differentiation takes.
    fn linearised<'a>(&'a self, prepared: &'a [Tensor], at: Place<'_>) -> (Tensor, Tensor, Pullback<'a>) {
        let named = self.named(prepared);
        let (Some(matrix), None, 3) = (named.bilinear, at.probe, self.layers.len()) else {
            return by_autograd(self, prepared, at);
        };
        let _no_grad = tch::no_grad_guard();
        let (x, t) = (at.x.detach(), at.t);
        let (velocity, hidden) = named.velocity_and_hidden(&x, t);
        let [h1, h2] = [0, 1].map(|i| hidden[i].shallow_clone());
        let d1 = through_tanh(&h1.ones_like(), &h1);
        // tr = Σ u (1 - h₂²), u = M d₁
        let u = d1.matmul(&matrix.tr());
        let trace = through_tanh(&u, &h2).sum_dim_intlist(1, false, x.kind());
        let pullback = move |of_velocity: &Tensor, of_trace: &Tensor, sums: &mut [Tensor]| {
            let _no_grad = tch::no_grad_guard();
            let of_trace = of_trace.unsqueeze(1);
            let of_u = through_tanh(&of_trace.expand_as(&u), &h2);
            let of_d1 = of_u.matmul(matrix);
            let mut add = |i: usize, of: &Tensor, input: &Tensor| {
                let _ = sums[i].addmm_(&of.tr(), input);
            };
            add(BILINEAR, &of_u, &d1);
            add(6, of_velocity, &h2);
            let of_h2 = (u * &h2 * (of_trace * -2.0)).addmm(of_velocity, named.weight(2));
            let of_z2 = through_tanh(&of_h2, &h2);
            add(3, &of_z2, &h1);
            let of_h1 = (of_d1 * &h1 * -2.0).addmm(&of_z2, named.weight(1));
            let of_z1 = through_tanh(&of_h1, &h1);
            add(0, &of_z1, &x);
            for (layer, of) in [&of_z1, &of_z2, of_velocity].into_iter().enumerate() {
                let of_bias = of.sum_dim_intlist(0, false, of.kind());
                sums[3 * layer + 1] += &of_bias;
                sums[3 * layer + 2] += of_bias * t;
            }
            if let Some(of_context) = sums.get_mut(BILINEAR + 1) {
                *of_context += &of_z1;
            }
            Ok(of_z1.matmul(named.weight(0)))
        };
        (velocity, trace, Box::new(pullback))
    }
}
