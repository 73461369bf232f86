//! ln det(I + J).

use gen_core::rng::Generator;
use tch::{Kind, Tensor};

use super::contraction::Linearised;

/// Of `[batch, d, d]`, J or another matrix with the same positive determinant: `[batch]`.
pub(super) fn exact(jacobian: &Tensor) -> Tensor {
    let entry = |i: i64, j: i64| jacobian.select(1, i).select(1, j);
    match jacobian.size()[1] {
        1 => entry(0, 0).log1p(),
        2 => ((entry(0, 0) + 1.0) * (entry(1, 1) + 1.0) - entry(0, 1) * entry(1, 0)).log(),
        d => Tensor::linalg_slogdet(&(jacobian + Tensor::eye(d, (jacobian.kind(), jacobian.device())))).1,
    }
}

/// The first `terms` of Σ (-1)ᵏ⁺¹ tr(Jᵏ) / k: `[batch]`.
pub(super) fn truncated(jacobian: &Tensor, terms: usize) -> Tensor {
    let trace = |x: &Tensor| x.diagonal(0, 1, 2).sum_dim_intlist(1, false, x.kind());
    let mut power = jacobian.shallow_clone();
    let mut sum = jacobian.select(1, 0).select(1, 0).zeros_like();
    for k in 1..=terms {
        if k > 1 {
            power = power.matmul(jacobian);
        }
        sum += trace(&power) * (sign(k) / k as f64);
    }
    sum
}

/// (-1)ᵏ⁺¹
fn sign(k: usize) -> f64 {
    if k.is_multiple_of(2) { -1.0 } else { 1.0 }
}

/// How likely another term is, after those that are always there.
const CONTINUE: f64 = 0.5;

/// An unbiased estimate of all terms: `[batch]`, with the gradient of the Neumann series.
///
/// With N terms and vᵀ Jᵏ v in place of tr(Jᵏ), term k is divided by P(N ≥ k). The gradient is that of
///
/// > Σ (-1)ᵏ vᵀ Jᵏ (∂J) v / P(N ≥ k + 1)
///
/// in which only the last J has a graph.
pub(super) fn roulette(at: &Linearised<'_>, terms: usize, rng: &Generator) -> Tensor {
    let kind = at.value.kind();
    let v = rng.rand_like(&at.value).ge(0.5).to_kind(kind) * 2.0 - 1.0;
    let further = rng.rand([1], (Kind::Double, at.value.device())).double_value(&[0]);
    let further = ((1.0 - further).ln() / CONTINUE.ln()).floor() as usize;
    let dot = |a: &Tensor| (a * &v).sum_dim_intlist(1, false, kind);
    let (value, neumann) = tch::no_grad(|| {
        let mut row = v.shallow_clone();
        let (mut value, mut neumann) = (dot(&row.zeros_like()), row.zeros_like());
        for k in 1..=terms + further {
            let weight = sign(k) / CONTINUE.powi(k.saturating_sub(terms) as i32);
            neumann += &row * weight;
            row = at.pulled(&row);
            value += dot(&row) * (weight / k as f64);
        }
        (value, neumann)
    });
    let surrogate = (at.pushed(&v) * neumann).sum_dim_intlist(1, false, kind);
    value + &surrogate - surrogate.detach()
}
