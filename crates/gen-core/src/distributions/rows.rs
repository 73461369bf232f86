use tch::Tensor;

/// The sum over everything but the first dimension: `[batch, ...]` to `[batch]`.
pub fn sum_rows(x: &Tensor) -> Tensor {
    x.flatten(1, -1).sum_dim_intlist(1, false, x.kind())
}
