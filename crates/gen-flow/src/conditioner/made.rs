use gen_core::params::{Init, Scope};
use tch::{Kind, Tensor};

use super::network::Conditioner;
use crate::given::Given;

/// A masked perceptron (MADE): the parameters of each value depend on the values before it, and on no others.
///
/// Every value has a *degree*, its place in the order, 1 to D; a context has degree 0. A hidden unit of degree d sees
/// the inputs and units of degrees up to d, and the parameters of the value of degree d see the units of degrees
/// below d. The parameters of the first value see the context alone.
///
/// `x: [batch, dimension]` to `[batch, parameters · dimension]`, a block of `dimension` for the first parameter of each
/// value, then a block for the second, and so on. It gives 0 until it is trained.
///
/// Germain et al. 2015, section 4; degrees of hidden units in turn, as there in section 4.2 without the sampling.
#[derive(Debug)]
pub struct Made {
    degrees: Degrees,
    layers: Vec<Masked>,
}

/// The places in the order: of the values, and of the units of each hidden layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degrees {
    /// Of each value, a permutation of `1..=dimension`.
    pub inputs: Vec<i64>,
    /// Of each unit of each hidden layer, in `0..dimension`.
    pub hidden: Vec<Vec<i64>>,
}

impl Degrees {
    /// The values in the order of `inputs`, and hidden layers of these widths, whose units have the possible degrees in
    /// turn. A context needs units of degree 0: without them the first value could not depend on it.
    ///
    /// # Panics
    /// When `inputs` is no permutation of `1..=dimension`.
    pub fn new(inputs: Vec<i64>, hidden: &[i64], context: bool) -> Self {
        let dimension = inputs.len() as i64;
        let mut sorted = inputs.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(1..=dimension), "{inputs:?} is not an order of degrees");
        let lowest = if context || dimension == 1 { 0 } else { 1 };
        let degrees = |width: i64| (0..width).map(|unit| lowest + unit % (dimension - lowest)).collect();
        Degrees { inputs, hidden: hidden.iter().map(|&width| degrees(width)).collect() }
    }

    /// The masks of all layers, `[outputs, inputs]` each, 1 where a weight may be: `context` features of degree 0 come
    /// before the values, and each value has that many `parameters`.
    pub fn masks(&self, context: i64, parameters: i64) -> Vec<Tensor> {
        let context = std::iter::repeat_n(0, context as usize);
        let mut from: Vec<i64> = context.chain(self.inputs.iter().copied()).collect();
        let mut masks = Vec::new();
        for to in &self.hidden {
            masks.push(outer(to, &from).to_kind(Kind::Double));
            from.clone_from(to);
        }
        let outputs = self.inputs.repeat(parameters as usize);
        let below: Vec<i64> = outputs.iter().map(|degree| degree - 1).collect();
        masks.push(outer(&below, &from).to_kind(Kind::Double));
        masks
    }
}

/// Whether to\[i\] ≥ from\[j\].
fn outer(to: &[i64], from: &[i64]) -> Tensor {
    Tensor::from_slice(to).unsqueeze(1).ge_tensor(&Tensor::from_slice(from))
}

#[derive(Debug)]
struct Masked {
    weight: Tensor,
    bias: Tensor,
    mask: Tensor,
}

impl Made {
    /// Values in the order of `inputs` (their degrees), a context of `context` features (0 for none), hidden layers of
    /// these widths, and `parameters` numbers for each value.
    ///
    /// # Panics
    /// As [`Degrees::new`].
    pub fn new(scope: Scope<'_>, inputs: Vec<i64>, context: i64, hidden: &[i64], parameters: i64) -> Self {
        let degrees = Degrees::new(inputs, hidden, context > 0);
        let masks = degrees.masks(context, parameters);
        let last = masks.len() - 1;
        let layer = |(i, mask): (usize, &Tensor)| {
            let place = &scope / i;
            let (outputs, inputs) = (mask.size()[0], mask.size()[1]);
            let init = if i == last { Init::ZEROS } else { Init::fan_in(inputs) };
            Masked {
                weight: place.parameter("weight", &[outputs, inputs], init),
                bias: place.parameter("bias", &[outputs], init),
                mask: mask.to_kind(place.kind()).to_device(place.device()),
            }
        };
        let layers = masks.iter().enumerate().map(layer).collect();
        Made { degrees, layers }
    }

    /// The order, and the degrees of the hidden units.
    pub fn degrees(&self) -> &Degrees {
        &self.degrees
    }

    /// Weights and biases in turn.
    pub(crate) fn layers(&self) -> Vec<&Tensor> {
        self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]).collect()
    }
}

impl Conditioner for Made {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let x = match given.context {
            Some(context) => Tensor::cat(&[context, x], 1),
            None => x.shallow_clone(),
        };
        let masks: Vec<&Tensor> = self.layers.iter().map(|layer| &layer.mask).collect();
        gen_core::native::masked_perceptron(&x, &self.layers(), &masks).unwrap_or_else(|error| panic!("{error}"))
    }
}
