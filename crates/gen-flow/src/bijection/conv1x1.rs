use gen_core::native::{Direction, Factors, Mixing, Operands, Way};
use gen_core::params::{Init, Scope};
use tch::{Device, Kind, Tensor};

use super::actnorm::ActNorm;
use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::constant_log_det;

/// A learned invertible linear map of the channels at each position, by its LU decomposition:
///
/// > y = W x, W = P L (U + diag(σ exp s)), log|det| = (positions) · Σ s
///
/// with P a fixed permutation, L unit lower and U strictly upper triangular, and fixed signs σ. It starts as a
/// random rotation. The determinant costs a sum, where that of a full matrix would cost a decomposition a step.
///
/// `x: [batch, channels, height, width]`, or `[batch, channels]` for tabular data.
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

    /// The map as one matrix, or the way back, after (before, on the way back) the normalisation `norm`.
    fn mixing(&self, norm: Option<&ActNorm>, way: Way) -> Mixing {
        let none = norm.is_none().then(|| self.log_scale.zeros_like());
        let none = none.as_ref().unwrap_or(&self.log_scale);
        let [scale, shift] = norm.map_or([none; 2], ActNorm::parameters);
        let Conv1x1 { permutation, lower, upper, log_scale, sign } = self;
        gen_core::native::mixing(Factors { scale, shift, lower, upper, log_scale, permutation, sign }, way)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// W x + b over dimension 1.
fn mix(Mixing { weight, bias, log_det }: &Mixing, x: &Tensor) -> (Tensor, Tensor) {
    let positions: i64 = x.size()[2..].iter().product();
    let y = match x.dim() {
        2 => x.linear(weight, Some(bias)),
        _ => gen_core::native::conv2d(
            x,
            &weight.unsqueeze(-1).unsqueeze(-1),
            Some(bias),
            1,
            0,
            Direction::Down,
            // The likelihood is that of exactly this map.
            Operands::Exact,
        )
        .unwrap_or_else(|error| panic!("{error}")),
    };
    (y, constant_log_det(&(log_det * positions), x))
}

impl Bijection for Conv1x1 {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        mix(&self.mixing(None, Way::Forward), x)
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        mix(&self.mixing(None, Way::Inverse), y)
    }
}

impl Layer for Conv1x1 {
    fn is_step(&self) -> bool {
        true
    }
}

/// [`ActNorm`], then [`Conv1x1`], as the one convolution that they are together,
///
/// > y = W (exp(s) x + b) = (W diag(exp s)) x + W b
///
/// with the log-determinants of both. The way back is one convolution too.
#[derive(Debug)]
pub struct NormalisedConv1x1 {
    norm: ActNorm,
    conv: Conv1x1,
}

impl NormalisedConv1x1 {
    /// For inputs of `channels` channels, with parameters in `actnorm` and `mixing` of this place.
    pub fn new(place: &Scope<'_>, channels: i64) -> Self {
        NormalisedConv1x1 {
            norm: ActNorm::new(place / "actnorm", channels),
            conv: Conv1x1::new(place / "mixing", channels),
        }
    }
}

impl Bijection for NormalisedConv1x1 {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        mix(&self.conv.mixing(Some(&self.norm), Way::Forward), x)
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        mix(&self.conv.mixing(Some(&self.norm), Way::Inverse), y)
    }
}

impl Layer for NormalisedConv1x1 {
    fn parts(&self) -> Vec<&dyn Layer> {
        vec![&self.norm, &self.conv]
    }

    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let _ = self.norm.initialise(x, given);
        self.forward(x, given).0
    }
}
