use tch::{Kind, Tensor};

use gen_core::data::bytes_to_signed;

/// Rows in a feature space.
#[derive(Debug)]
pub struct Embedded {
    /// `f64 [n, features]`
    pub features: Tensor,
    /// Class scores before the softmax, if the space is a classifier's: `f64 [n, classes]`
    pub logits: Option<Tensor>,
}

/// Images in [-1, 1], from bytes or from images in [-1, 1].
pub(super) fn as_signed(x: &Tensor) -> Tensor {
    if x.kind() == Kind::Uint8 { bytes_to_signed(x) } else { x.to_kind(Kind::Float) }
}
