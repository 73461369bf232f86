use gen_core::params::{Init, Scope};
use tch::{Device, Kind, Tensor};

use super::{Bijection, constant_log_det};

/// A learned invertible linear map of the channels at each position, by its LU decomposition:
///
/// > y = W x, W = P L (U + diag(σ exp s)), log|det| = (positions) · Σ s
///
/// with P a fixed permutation, L unit lower and U strictly upper triangular, and fixed signs σ. It starts as a
/// random rotation. The determinant costs a sum, where that of a full matrix would cost a decomposition a step.
///
/// `x: [batch, channels, height, width]`, or `[batch, channels]` for points.
///
/// Kingma & Dhariwal 2018 (Glow), section 3.2, equation 10.
#[derive(Debug)]
pub struct Conv1x1 {
    permutation: Tensor,
    lower: Tensor,
    upper: Tensor,
    log_scale: Tensor,
    sign: Tensor,
}

impl Conv1x1 {
    /// For inputs of `channels` channels; the rotation is drawn as initial parameters are.
    pub fn new(scope: Scope<'_>, channels: i64) -> Self {
        // On the host and in f64, so that the start does not depend on device and kind.
        let gaussian = scope.rng().randn([channels, channels], (Kind::Double, Device::Cpu));
        let (rotation, _) = Tensor::linalg_qr(&gaussian, "reduced");
        let (permutation, lower, upper) = Tensor::linalg_lu(&rotation, true);
        let diagonal = upper.diagonal(0, 0, 1);
        let conv = Conv1x1 {
            permutation: scope.buffer("permutation", permutation.to_kind(scope.kind())),
            lower: scope.parameter("lower", &[channels, channels], Init::ZEROS),
            upper: scope.parameter("upper", &[channels, channels], Init::ZEROS),
            log_scale: scope.parameter("log_scale", &[channels], Init::ZEROS),
            sign: scope.buffer("sign", diagonal.sign().to_kind(scope.kind())),
        };
        let _no_grad = tch::no_grad_guard();
        conv.lower.shallow_clone().copy_(&lower.tril(-1));
        conv.upper.shallow_clone().copy_(&upper.triu(1));
        conv.log_scale.shallow_clone().copy_(&diagonal.abs().log());
        conv
    }

    /// L and U + diag(σ exp s).
    fn factors(&self) -> (Tensor, Tensor) {
        let identity = Tensor::eye(self.lower.size()[0], (self.lower.kind(), self.lower.device()));
        let diagonal = (self.log_scale.exp() * &self.sign).diag_embed(0, 0, 1);
        (self.lower.tril(-1) + identity, self.upper.triu(1) + diagonal)
    }

    fn log_det(&self, x: &Tensor) -> Tensor {
        let positions: i64 = x.size()[2..].iter().product();
        self.log_scale.sum(self.log_scale.kind()) * positions
    }
}

/// W x over dimension 1.
fn mix(weight: &Tensor, x: &Tensor) -> Tensor {
    match x.dim() {
        2 => x.linear(weight, None::<Tensor>),
        _ => x.conv2d(&weight.unsqueeze(-1).unsqueeze(-1), None::<Tensor>, 1, 0, 1, 1),
    }
}

impl Bijection for Conv1x1 {
    fn forward(&self, x: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (lower, upper) = self.factors();
        let weight = self.permutation.matmul(&lower).matmul(&upper);
        (mix(&weight, x), constant_log_det(&self.log_det(x), x))
    }

    fn inverse(&self, y: &Tensor, _context: Option<&Tensor>) -> (Tensor, Tensor) {
        let (lower, upper) = self.factors();
        // U⁻¹ L⁻¹ Pᵀ by two substitutions.
        let weight = lower.linalg_solve_triangular(&self.permutation.tr(), false, true, true);
        let weight = upper.linalg_solve_triangular(&weight, true, true, false);
        (mix(&weight, y), constant_log_det(&-self.log_det(y), y))
    }
}
