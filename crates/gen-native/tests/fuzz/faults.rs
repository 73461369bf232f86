//! Inputs that an operation refuses, or may refuse.

use std::fmt;

use gen_native::without_numbers;
use tch::{Device, Kind, Tensor};

use crate::case::{Case, Input};
use crate::draw::Draw;

/// A fault of an input.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is on the device `meta`, alone or with all others.
    Meta { alone: bool },
    /// It is of another kind.
    Kind(Kind),
    /// It has this shape, filled with its values in turn.
    Shape(Vec<i64>, Vec<f64>),
    /// It is undefined.
    Undefined,
    /// It is sparse.
    Sparse,
    /// It is a zero tensor without memory.
    Zeros,
}

impl Fault {
    pub(crate) fn draw(draw: &mut Draw, input: &Input) -> Self {
        match draw.from(0..=9) {
            0 => Fault::Meta { alone: true },
            1 => Fault::Meta { alone: false },
            2 => Fault::Undefined,
            3 => Fault::Sparse,
            4 => Fault::Zeros,
            5 | 6 => {
                let kinds = [
                    Kind::Int64,
                    Kind::Bool,
                    Kind::ComplexFloat,
                    Kind::BFloat16,
                    Kind::Half,
                    Kind::Float,
                    Kind::Double,
                ];
                Fault::Kind(draw.pick(&kinds))
            }
            _ => {
                let mut shape = input.shape.clone();
                let some = draw.from(0..=shape.len().max(1) as i64 - 1) as usize;
                match draw.from(0..=4) {
                    0 if !shape.is_empty() => shape[some] += 1,
                    1 if !shape.is_empty() => shape[some] = (shape[some] - 1).max(0),
                    2 if !shape.is_empty() => drop(shape.remove(some)),
                    3 if !shape.is_empty() => shape[some] = 1,
                    _ => shape.insert(some, 1),
                }
                let n = shape.iter().product::<i64>().max(1) as usize;
                Fault::Shape(shape, input.values.iter().copied().cycle().take(n).collect())
            }
        }
    }

    pub(crate) fn apply(&self, views: &mut [Tensor], index: usize) {
        let view = &views[index];
        views[index] = match self {
            Fault::Meta { alone: true } => without_numbers(view).unwrap(),
            Fault::Meta { alone: false } => {
                for view in views {
                    *view = without_numbers(view).unwrap();
                }
                return;
            }
            Fault::Kind(kind) => view.to_kind(*kind),
            Fault::Shape(shape, values) => {
                let numel = shape.iter().product::<i64>() as usize;
                Tensor::from_slice(&values[..numel]).view(&shape[..]).to_kind(view.kind())
            }
            Fault::Undefined => Tensor::new(),
            Fault::Sparse => view.resolve_neg().to_sparse(None, None::<&[i64]>, None),
            Fault::Zeros => Tensor::internal_efficientzerotensor(view.size(), (view.kind(), view.device())),
        };
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Fault::Meta { .. })
    }

    /// The input in double precision, if it has one.
    pub(crate) fn exact(&self, view: &Tensor) -> Option<Tensor> {
        match self {
            Fault::Meta { .. } | Fault::Undefined | Fault::Sparse | Fault::Kind(Kind::ComplexFloat) => None,
            Fault::Zeros => Some(Tensor::zeros(view.size(), (Kind::Double, Device::Cpu))),
            Fault::Kind(_) | Fault::Shape(..) => {
                let mut exact = Tensor::empty(view.size(), (Kind::Double, Device::Cpu));
                exact.copy_(view);
                Some(exact)
            }
        }
    }

    /// The tolerance of results, and the precision of numbers.
    pub(crate) fn exactness(&self, case: &Case, kind: Kind) -> [f64; 2] {
        match self {
            Fault::Kind(Kind::BFloat16 | Kind::Half) => [0.1, 1.0 / 128.0],
            _ if kind == Kind::Double && !matches!(self, Fault::Kind(_)) => [case.tolerance[1], f64::EPSILON],
            _ => [case.tolerance[0], case.precision],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Meta { alone: true } => f.write_str("on the meta device"),
            Fault::Meta { alone: false } => f.write_str("on the meta device, as all others are"),
            Fault::Kind(kind) => write!(f, "of kind {kind:?}"),
            Fault::Shape(shape, _) => write!(f, "of shape {shape:?}"),
            Fault::Undefined => f.write_str("undefined"),
            Fault::Sparse => f.write_str("sparse"),
            Fault::Zeros => f.write_str("zeros without memory"),
        }
    }
}
