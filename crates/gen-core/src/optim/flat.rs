//! Many tensors laid end to end in one buffer.
//!
//! An optimizer step over a hundred small tensors is bound by the cost of calling a hundred small kernels;
//! over one long vector it is a handful of memory-bound ones. The tensors stay usable: each becomes a view.

use tch::{Kind, Tensor};

/// Each tensor starts at a multiple of this many entries, so that kernels see aligned memory.
const ALIGNMENT: i64 = 16;

/// Where each of a list of tensors lies in the flat buffer.
pub(super) struct Layout {
    shapes: Vec<Vec<i64>>,
    offsets: Vec<i64>,
    total: i64,
}

impl Layout {
    pub(super) fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let shapes: Vec<_> = tensors.into_iter().map(Tensor::size).collect();
        let mut offsets = Vec::with_capacity(shapes.len());
        let mut total = 0;
        for shape in &shapes {
            offsets.push(total);
            total += padded(shape.iter().product());
        }
        Layout { shapes, offsets, total }
    }

    /// A zero buffer for this layout.
    pub(super) fn zeros(&self, like: &Tensor) -> Tensor {
        Tensor::zeros([self.total], (like.kind(), like.device()))
    }

    /// The part of `flat` that belongs to tensor `index`, in its shape.
    pub(super) fn view(&self, flat: &Tensor, index: usize) -> Tensor {
        let length = self.shapes[index].iter().product();
        flat.narrow(0, self.offsets[index], length).view(self.shapes[index].as_slice())
    }

    /// The tensors end to end; an undefined one (a parameter that took no part) counts as zeros.
    pub(super) fn concat(&self, tensors: &[Tensor], like: &Tensor) -> Tensor {
        let mut parts = Vec::with_capacity(2 * tensors.len());
        for (tensor, shape) in tensors.iter().zip(&self.shapes) {
            let length: i64 = shape.iter().product();
            let filler = padded(length) - length;
            if tensor.defined() {
                parts.push(tensor.reshape([-1]));
            } else {
                parts.push(Tensor::zeros([length], (like.kind(), like.device())));
            }
            if filler > 0 {
                parts.push(Tensor::zeros([filler], (like.kind(), like.device())));
            }
        }
        Tensor::cat(&parts, 0)
    }

    /// Moves `tensors` into one buffer: afterwards each is a view of it, with the same values.
    pub(super) fn adopt(&self, tensors: &mut [(String, Tensor)]) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let like = tensors.first().map(|(_, t)| t.shallow_clone());
        let flat = match &like {
            Some(like) => self.zeros(like),
            None => Tensor::zeros([0], (Kind::Float, tch::Device::Cpu)),
        };
        for (index, (_, tensor)) in tensors.iter_mut().enumerate() {
            let mut place = self.view(&flat, index);
            place.copy_(&tensor.detach());
            tensor.set_data(&place);
        }
        flat
    }
}

fn padded(length: i64) -> i64 {
    (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
}
