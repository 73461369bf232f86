use std::f64::consts::TAU;

use tch::{Kind, Tensor};

use crate::params::Scope;

/// Cosines and sines of `t` at `dimension / 2` frequencies in geometric progression from 1 to almost 1/10,000 (Vaswani
/// et al. 2017, section 3.5): `[batch]` to `[batch, dimension]`, cosines first.
///
/// # Panics
/// When `dimension` is odd.
pub fn sinusoidal_embedding(t: &Tensor, dimension: i64) -> Tensor {
    assert_eq!(dimension % 2, 0, "the embedding needs an even dimension, found {dimension}");
    let half = dimension / 2;
    let kind = if t.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let exponents = Tensor::arange(half, (kind, t.device())) * (-(10_000f64.ln()) / half as f64);
    let angles = t.to_kind(kind).unsqueeze(1) * exponents.exp().unsqueeze(0);
    Tensor::cat(&[angles.cos(), angles.sin()], 1)
}

/// Cosines and sines of a number at random frequencies, which are drawn once and saved (Tancik et al. 2020; Song et al.
/// 2021, appendix C.2).
#[derive(Debug)]
pub struct FourierFeatures {
    frequencies: Tensor,
}

impl FourierFeatures {
    /// `dimension / 2` frequencies from N(0, `scale`²); Song et al. have a scale of 16 for ln σ.
    ///
    /// # Panics
    /// When `dimension` is odd.
    pub fn new(scope: Scope<'_>, dimension: i64, scale: f64) -> Self {
        assert_eq!(dimension % 2, 0, "the features need an even dimension, found {dimension}");
        let drawn = scope.rng().randn([dimension / 2], (scope.kind(), tch::Device::Cpu)) * scale;
        FourierFeatures { frequencies: scope.buffer("frequencies", drawn) }
    }

    /// `t: [batch]` to `[batch, dimension]`, cosines first.
    pub fn forward(&self, t: &Tensor) -> Tensor {
        let angles = t.to_kind(self.frequencies.kind()).unsqueeze(1) * &self.frequencies * TAU;
        Tensor::cat(&[angles.cos(), angles.sin()], 1)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient};

    #[test]
    fn frequencies_are_saved_and_have_their_scale() {
        tch::manual_seed(0);
        let params = Params::new(Kind::Double, Device::Cpu);
        let features = FourierFeatures::new(params.root(), 4000, 16.0);
        assert_close_f64(features.frequencies.std(true).double_value(&[]), 16.0, 0.05, 0.0);
        assert!(params.all().get("frequencies").is_some() && params.trainable().is_empty());
        let few = FourierFeatures { frequencies: Tensor::from_slice(&[0.25, 2.0]) };
        // Quarter turns of the first, whole turns of the second.
        let expected = Tensor::from_slice(&[0.0, 1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 0.0]).view([2, 4]);
        assert_close(&few.forward(&Tensor::from_slice(&[1.0, 2.0])), &expected, 0.0, 1e-12);
        assert_gradient(|t| few.forward(t).sum(Kind::Double), &Tensor::from_slice(&[0.3, -0.7]), 1e-6);
    }

    #[test]
    fn one_in_eight_dimensions() {
        // diffusers' get_timestep_embedding(1, 8, flip_sin_to_cos=True, downscale_freq_shift=0)
        let expected = [
            0.540302306,
            0.995004177,
            0.999949992,
            0.999999523,
            0.841470957,
            0.099833414,
            0.00999983307,
            0.000999999815,
        ];
        let actual = sinusoidal_embedding(&Tensor::from_slice(&[1.0]), 8);
        assert_close(&actual, &Tensor::from_slice(&expected).unsqueeze(0), 1e-6, 1e-7);
    }
}
