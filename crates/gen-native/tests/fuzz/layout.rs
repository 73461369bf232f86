//! Layouts of tensors in memory.

use std::collections::HashSet;
use std::fmt;

use tch::{Device, Kind, Tensor};

use crate::draw::Draw;

/// The value of the memory around a tensor: an operation that reads it has NaN as its result.
const OUTSIDE: f64 = f64::NAN;
/// Buffer entries behind the last one of a tensor.
const MARGIN: i64 = 40;

/// Strides and an offset in a buffer, and whether the tensor has lazy negation.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) shape: Vec<i64>,
    strides: Vec<i64>,
    offset: i64,
    negated: bool,
    /// Whether two entries share memory.
    pub(crate) overlaps: bool,
}

impl Layout {
    /// Any layout; entries overlap only if they may.
    pub(crate) fn draw(draw: &mut Draw, shape: &[i64], may_overlap: bool) -> Self {
        let dimensions = shape.len();
        let order = match draw.from(0..=9) {
            // Contiguous.
            0..=3 => (0..dimensions).rev().collect(),
            // Batch-innermost.
            4..=6 => [0, 1].into_iter().filter(|&d| d < dimensions).chain((2..dimensions).rev()).collect::<Vec<_>>(),
            _ => draw.order(dimensions),
        };
        let gaps = draw.chance(30);
        let mut strides = vec![0; dimensions];
        let mut step = if draw.chance(10) { 2 } else { 1 };
        for d in order {
            strides[d] = step;
            step *= shape[d].max(1);
            if gaps && draw.chance(40) {
                step += draw.from(1..=3);
            }
        }
        for d in 0..dimensions {
            // A dimension of size 1 may have any stride.
            if shape[d] <= 1 && draw.chance(20) {
                strides[d] = draw.pick(&[0, 1, 3, 1000]);
            }
        }
        if may_overlap && draw.chance(20) {
            match draw.from(0..=3) {
                0 => strides.iter_mut().for_each(|stride| *stride = draw.from(0..=3)),
                _ => {
                    for stride in &mut strides {
                        if draw.chance(40) {
                            *stride = 0;
                        }
                    }
                }
            }
        }
        let offset = if draw.chance(30) { draw.pick(&[1, 1, 3, 5]) } else { 0 };
        let mut layout = Layout { shape: shape.to_vec(), strides, offset, negated: draw.chance(4), overlaps: false };
        layout.overlaps = may_overlap && layout.has_overlap();
        layout
    }

    fn has_overlap(&self) -> bool {
        let mut places = vec![0];
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            places = places.iter().flat_map(|place| (0..size).map(move |i| place + i * stride)).collect();
        }
        let different: HashSet<i64> = places.iter().copied().collect();
        different.len() < places.len()
    }

    /// The numbers of the buffer.
    fn span(&self) -> i64 {
        if self.shape.contains(&0) {
            return self.offset;
        }
        let last: i64 = self.shape.iter().zip(&self.strides).map(|(size, stride)| (size - 1) * stride).sum();
        self.offset + last + 1
    }

    /// A tensor of `values` in this layout; overlapping entries use only some of them.
    pub(crate) fn place(&self, values: &[f64], kind: Kind) -> Placed {
        let sign = if self.negated { -1.0 } else { 1.0 };
        let length = self.span() + MARGIN;
        let options = (kind, Device::Cpu);
        let base = if self.overlaps {
            let all: Vec<f64> = (0..length as usize).map(|i| sign * values[i % values.len()]).collect();
            Tensor::from_slice(&all).to_kind(kind)
        } else {
            Tensor::full([length], OUTSIDE, options)
        };
        let mut view = base.as_strided(&self.shape, &self.strides, self.offset);
        if !self.overlaps {
            let numel: i64 = self.shape.iter().product();
            view.copy_(&(Tensor::from_slice(&values[..numel as usize]) * sign).view(&self.shape[..]));
        }
        if self.negated {
            view = view.internal_neg_view();
        }
        Placed { before: base.copy(), view: view.detach(), base, layout: self.clone() }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} strides {:?} offset {}", self.shape, self.strides, self.offset)?;
        if self.negated {
            write!(f, " negated")?;
        }
        if self.overlaps {
            write!(f, " overlapping")?;
        }
        Ok(())
    }
}

/// A tensor in its buffer.
pub(crate) struct Placed {
    pub(crate) view: Tensor,
    base: Tensor,
    before: Tensor,
    layout: Layout,
}

impl Placed {
    /// A copy in double precision.
    pub(crate) fn exact(&self) -> Tensor {
        let mut exact = Tensor::empty(self.view.size(), (Kind::Double, Device::Cpu));
        exact.copy_(&self.view);
        exact
    }

    /// Whether the buffer is unchanged, except for the tensor itself if it is `written`. Overlapping entries must not
    /// be
    /// written.
    pub(crate) fn is_untouched(&self, written: bool) -> bool {
        let after = self.base.copy();
        if written && !self.layout.overlaps {
            let inside = |buffer: &Tensor| {
                let layout = &self.layout;
                buffer.as_strided(&layout.shape, &layout.strides, layout.offset)
            };
            inside(&after).copy_(&inside(&self.before));
        }
        after.allclose(&self.before, 0.0, 0.0, true)
    }
}
