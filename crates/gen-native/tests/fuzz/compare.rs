//! Results and gradients, and their comparison.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};

use crate::case::{Case, Input};
use crate::draw::Draw;
use crate::layout::{Layout, Placed};

/// The weights of a result in the score that is differentiated, and the layout of the gradient that they cause.
pub(crate) struct Slope {
    pub(crate) layout: Layout,
    values: Vec<f64>,
    /// A sum, whose gradient is one expanded number.
    pub(crate) plain: bool,
    pub(crate) used: bool,
}

impl Slope {
    pub(crate) fn draw(draw: &mut Draw, shape: &[i64]) -> Self {
        let n = shape.iter().product::<i64>().max(1) as usize;
        Slope {
            layout: Layout::draw(draw, shape, true),
            values: draw.grid(n),
            plain: draw.chance(10),
            used: draw.chance(85),
        }
    }

    pub(crate) fn place(&self, kind: Kind) -> Placed {
        self.layout.place(&self.values, kind)
    }

    /// The weighted sum of a result, by products that autograd can differentiate.
    pub(crate) fn score(&self, result: &Tensor) -> Tensor {
        if self.plain {
            return result.sum(result.kind());
        }
        (result * self.place(result.kind()).view).sum(result.kind())
    }

    /// The same with a contiguous gradient, since libtorch's batch normalisation is wrong for others.
    pub(crate) fn score_of_reference(&self, result: &Tensor) -> Tensor {
        let slope = if self.plain { result.ones_like() } else { self.place(Kind::Double).exact() };
        (result * slope.contiguous()).sum(Kind::Double)
    }
}

/// The sum of the scores of all used results with a gradient.
pub(crate) fn total(results: &[Tensor], slopes: &[Slope], score: impl Fn(&Tensor, &Slope) -> Tensor) -> Option<Tensor> {
    let scores = results.iter().zip(slopes).filter(|(result, slope)| slope.used && result.requires_grad());
    scores.map(|(result, slope)| score(result, slope)).reduce(|a, b| a.to_kind(Kind::Double) + b.to_kind(Kind::Double))
}

/// Gradients of `loss`; zeros for leaves without one.
pub(crate) fn gradients(
    loss: Option<&Tensor>,
    leaves: &[Tensor],
    keep: bool,
    create: bool,
) -> Result<Vec<Tensor>, tch::TchError> {
    let zeros = || leaves.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
    let Some(loss) = loss else { return Ok(zeros()) };
    if leaves.is_empty() {
        return Ok(Vec::new());
    }
    let found = Tensor::f_run_backward(&[loss], leaves, keep || create, create)?;
    Ok(found.into_iter().zip(zeros()).map(|(g, zero)| if g.defined() { g } else { zero }).collect())
}

/// The results of the reference.
pub(crate) struct Expected {
    /// Results, gradients of the leaves, and gradients of these.
    pub(crate) results: Vec<Tensor>,
    pub(crate) first: Vec<Tensor>,
    pub(crate) second: Vec<Tensor>,
}

/// The derivatives that a case asks for.
pub(crate) struct Questions {
    pub(crate) learns: Vec<bool>,
    pub(crate) slopes: Vec<Slope>,
    /// Weights of each leaf's gradient, for gradients of gradients.
    pub(crate) second: Vec<Slope>,
}

/// Copies of the inputs, and the leaves among them.
pub(crate) fn leaves(inputs: &[Tensor], learns: &[bool]) -> (Vec<Tensor>, Vec<Tensor>) {
    let all: Vec<Tensor> = inputs.iter().zip(learns).map(|(x, &learns)| x.set_requires_grad(learns)).collect();
    let leaves = all.iter().zip(learns).filter(|(_, learns)| **learns).map(|(x, _)| x.shallow_clone()).collect();
    (all, leaves)
}

/// The results of the reference without gradients, or nothing if it fails.
pub(crate) fn reference_results(case: &Case, exact: &[Tensor]) -> Option<Vec<Tensor>> {
    let inputs: Vec<Tensor> = exact.iter().map(Tensor::copy).collect();
    catch_unwind(AssertUnwindSafe(|| (case.reference)(&inputs))).ok()
}

/// The reference, with gradients.
pub(crate) fn expected(case: &Case, exact: &[Tensor], questions: &Questions) -> Option<Expected> {
    let copies: Vec<Tensor> = exact.iter().map(Tensor::copy).collect();
    let run = || {
        let (inputs, leaves) = leaves(&copies, &questions.learns);
        let results = (case.reference)(&inputs);
        let twice = !questions.second.is_empty();
        let loss = total(&results, &questions.slopes, |result, slope| slope.score_of_reference(result));
        let first = gradients(loss.as_ref(), &leaves, twice, twice).unwrap();
        let second = if twice {
            let loss = total(&first, &questions.second, |result, slope| slope.score_of_reference(result));
            gradients(loss.as_ref(), &leaves, false, false).unwrap()
        } else {
            Vec::new()
        };
        Expected { results, first: first.iter().map(Tensor::detach).collect(), second }
    };
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// The largest difference, and the largest expected value.
fn difference(a: &Tensor, b: &Tensor) -> [f64; 2] {
    if b.numel() == 0 {
        return [0.0, 0.0];
    }
    let (a, b) = (a.detach().to_kind(Kind::Double), b.detach().to_kind(Kind::Double));
    let same = a.eq_tensor(&b).logical_or(&a.isnan().logical_and(&b.isnan()));
    let most = |x: &Tensor| x.abs().max().double_value(&[]);
    let apart = (&a - &b).masked_fill(&same, 0.0).nan_to_num(f64::MAX, f64::MAX, f64::MAX);
    [most(&apart), most(&b.nan_to_num(0.0, 0.0, 0.0))]
}

/// A place where two lists differ.
pub(crate) struct Difference {
    index: usize,
    size: f64,
    text: String,
}

impl Difference {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The result with the difference, if there is one.
    pub(crate) fn index(&self) -> Option<usize> {
        (self.index != usize::MAX).then_some(self.index)
    }
}

/// The first result that differs by more than the tolerance, relative to its largest value or to `least`.
pub(crate) fn first_difference(
    ours: &[Tensor],
    theirs: &[Tensor],
    [tolerance, least]: [f64; 2],
    what: &str,
) -> Option<Difference> {
    if ours.len() != theirs.len() {
        let text = format!("{} {what}s, expected {}", ours.len(), theirs.len());
        return Some(Difference { index: usize::MAX, size: f64::MAX, text });
    }
    ours.iter().zip(theirs).enumerate().find_map(|(index, (a, b))| {
        if a.size() != b.size() {
            let text = format!("{what} {index} is {:?}, expected {:?}", a.size(), b.size());
            return Some(Difference { index, size: f64::MAX, text });
        }
        let [size, largest] = difference(a, b);
        let scale = largest.max(least);
        let text = || format!("{what} {index} differs by {size:.3e} of {scale:.3e}, allowed {tolerance:.0e}");
        (size > tolerance * scale).then(|| Difference { index, size, text: text() })
    })
}

/// Whether the reference changes about as much if the last digits of its inputs change. At the edge of a bin or the
/// kink of an activation, a difference is not a fault.
pub(crate) fn is_undecided(
    inputs: &[Input],
    exact: &[Tensor],
    precision: f64,
    difference: &Difference,
    theirs: &Tensor,
    again: impl Fn(&[Tensor]) -> Option<Vec<Tensor>>,
) -> bool {
    if difference.size == f64::MAX || difference.index == usize::MAX {
        return false;
    }
    let mut draw = Draw::new(difference.size.to_bits(), 0);
    (0..8).any(|_| {
        let moved: Vec<Tensor> = exact
            .iter()
            .zip(inputs)
            .map(|(x, input)| {
                if input.structured {
                    return x.copy();
                }
                let by: Vec<f64> = (0..x.numel().max(1)).map(|_| draw.pick(&[-2.0, 2.0]) * precision).collect();
                let by = Tensor::from_slice(&by[..x.numel()]).view(&x.size()[..]);
                x + x.abs().clamp_min(1e-2) * by
            })
            .collect();
        let Some(list) = again(&moved) else { return true };
        list[difference.index].size() == theirs.size()
            && self::difference(&list[difference.index], theirs)[0] > difference.size / 8.0
    })
}

pub(crate) const CPU: Device = Device::Cpu;
