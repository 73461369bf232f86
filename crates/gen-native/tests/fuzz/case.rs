//! The inputs of an operation, and its reference.

use tch::{TchError, Tensor};

use crate::draw::Draw;

/// The role of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The input has a gradient.
    Learned,
    /// The input has no gradient.
    Fixed,
    /// The operation changes the input in place and records no gradient of that, even if the input requires one.
    Written,
}

/// An input of an operation.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    /// At least one value, and one for each entry.
    pub(crate) values: Vec<f64>,
    pub(crate) role: Role,
    /// Whether the values belong together, like those of a permutation, so that none may replace another.
    pub(crate) structured: bool,
}

/// Numbers of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values {
    /// Multiples of 1/8 in [-2, 2].
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
    /// Numbers and choices other than the tensors.
    pub(crate) settings: String,
    pub(crate) inputs: Vec<Input>,
    /// The operation; `None` if it leaves the work to its caller, as documented.
    pub(crate) ours: Ours,
    /// The same by libtorch's operations, in double precision.
    pub(crate) reference: Reference,
    /// The largest differences of results and gradients in single and in double precision, relative to the largest
    /// value.
    pub(crate) tolerance: [f64; 2],
    /// The same for gradients of gradients; `None` if they do not exist and must be an error.
    pub(crate) second: Option<[f64; 2]>,
    /// Whether a tangent of a learned input is carried to the results. Otherwise it must be an error, or the work must
    /// be left to the caller.
    pub(crate) forward: bool,
    /// The reference of forward mode, where libtorch's own gradients of tangents are wrong.
    pub(crate) of_tangents: Option<Reference>,
    /// The precision of operands in single precision.
    pub(crate) precision: f64,
    /// The factor by which errors of the inputs grow in the results, if it depends on the inputs.
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
            forward: true,
            of_tangents: None,
            precision: f64::from(f32::EPSILON),
            amplification: None,
        }
    }

    /// The least value that a tolerance is relative to: sums that cancel keep the errors of their terms.
    pub(crate) fn least(&self, exact: &[Tensor]) -> f64 {
        self.amplification.as_ref().map_or(0.1, |of| of(exact).max(1.0))
    }

    pub(crate) fn tolerances(self, tolerance: [f64; 2], second: [f64; 2]) -> Self {
        Case { tolerance, second: Some(second), ..self }
    }
}

/// An input of random values with a gradient.
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

/// An input without a gradient, of values that belong together.
pub(crate) fn structured(name: &str, shape: &[i64], values: Vec<f64>) -> Input {
    let values = if values.is_empty() { vec![0.0] } else { values };
    Input { name: name.to_owned(), shape: shape.to_vec(), values, role: Role::Fixed, structured: true }
}
