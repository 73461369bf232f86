//! What an operation is given, and what it is compared with.

use tch::{TchError, Tensor};

use crate::draw::Draw;

/// What an operation does with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has a gradient.
    Learned,
    /// It has none.
    Fixed,
    /// The operation changes it, and records no gradient of that, whether or not it requires one.
    Written,
}

/// A tensor that an operation is given.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    /// At least one, and as many as there are entries.
    pub(crate) values: Vec<f64>,
    pub(crate) role: Role,
    /// Whether the values mean something together, as those of a permutation do, so that none may stand for another.
    pub(crate) structured: bool,
}

/// Numbers of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values {
    /// Multiples of 1/8 up to 2.
    Grid,
    /// From N(mean, deviation²).
    Normal(f64, f64),
    /// From 0.5 to 2.
    Positive,
}

pub(crate) type Ours = Box<dyn Fn(&[Tensor]) -> Result<Option<Vec<Tensor>>, TchError>>;
pub(crate) type Amplification = Box<dyn Fn(&[Tensor]) -> f64>;
pub(crate) type Reference = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;

/// One call of an operation.
pub(crate) struct Case {
    /// Numbers and choices besides the tensors.
    pub(crate) settings: String,
    pub(crate) inputs: Vec<Input>,
    /// The operation; `None` where it leaves the work to its caller, as its documentation says.
    pub(crate) ours: Ours,
    /// The same of libtorch's operations, in double precision.
    pub(crate) reference: Reference,
    /// The largest differences in single and in double precision, of results and gradients, as parts of the largest value.
    pub(crate) tolerance: [f64; 2],
    /// Likewise of gradients of gradients; none where there are none, and an error must say so.
    pub(crate) second: Option<[f64; 2]>,
    /// How exact operands are in single precision.
    pub(crate) precision: f64,
    /// How much larger errors of the inputs are in what comes out, where that depends on them.
    pub(crate) amplification: Option<Amplification>,
}

impl Case {
    pub(crate) fn new(
        settings: String,
        inputs: Vec<Input>,
        ours: impl Fn(&[Tensor]) -> Result<Vec<Tensor>, TchError> + 'static,
        reference: impl Fn(&[Tensor]) -> Vec<Tensor> + 'static,
    ) -> Self {
        Case {
            settings,
            inputs,
            ours: Box::new(move |x| ours(x).map(Some)),
            reference: Box::new(reference),
            tolerance: [1e-5, 1e-11],
            second: Some([1e-4, 1e-9]),
            precision: f64::from(f32::EPSILON),
            amplification: None,
        }
    }

    /// The least value that a tolerance is a part of: sums that cancel keep the errors of what they add.
    pub(crate) fn least(&self, exact: &[Tensor]) -> f64 {
        self.amplification.as_ref().map_or(0.1, |of| of(exact).max(1.0))
    }

    pub(crate) fn tolerances(self, tolerance: [f64; 2], second: [f64; 2]) -> Self {
        Case { tolerance, second: Some(second), ..self }
    }
}

/// An input of random values that is learned.
pub(crate) fn learned(draw: &mut Draw, name: &str, shape: &[i64], values: Values) -> Input {
    let n = shape.iter().product::<i64>().max(1) as usize;
    let values = match values {
        Values::Grid => draw.grid(n),
        Values::Normal(mean, deviation) => draw.normal(n, mean, deviation),
        Values::Positive => draw.normal(n, 0.0, 1.0).iter().map(|x| 1.25 + 0.75 * x.tanh()).collect(),
    };
    Input { name: name.to_owned(), shape: shape.to_vec(), values, role: Role::Learned, structured: false }
}

/// An input of random values without a gradient.
pub(crate) fn fixed(draw: &mut Draw, name: &str, shape: &[i64], values: Values) -> Input {
    Input { role: Role::Fixed, ..learned(draw, name, shape, values) }
}

/// An input that the operation changes.
pub(crate) fn written(draw: &mut Draw, name: &str, shape: &[i64], values: Values) -> Input {
    Input { role: Role::Written, ..learned(draw, name, shape, values) }
}

/// An input of these values, which belong together, without a gradient.
pub(crate) fn structured(name: &str, shape: &[i64], values: Vec<f64>) -> Input {
    let values = if values.is_empty() { vec![0.0] } else { values };
    Input { name: name.to_owned(), shape: shape.to_vec(), values, role: Role::Fixed, structured: true }
}
