use tch::Tensor;

/// The sum over all dimensions but the first: `[batch, ...]` to `[batch]`. No layout of memory is copied.
pub fn sum_rows(x: &Tensor) -> Tensor {
    let dims: Vec<i64> = (1..x.dim() as i64).collect();
    // libtorch takes an empty list for all dimensions.
    if dims.is_empty() { x.shallow_clone() } else { x.sum_dim_intlist(dims, false, x.kind()) }
}
