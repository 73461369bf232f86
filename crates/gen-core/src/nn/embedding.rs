use tch::{Kind, Tensor};

use crate::params::{Init, Scope};

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

/// Sines and cosines of 2π times a number, at frequencies drawn once from N(0, scale²) (Tancik et al. 2020; Song et al.
/// 2021, appendix C.2, for the logarithm of the noise level).
///
/// The frequencies are the buffer `frequencies: [dimension / 2]`, saved and not trained.
#[derive(Debug)]
pub struct GaussianFourier {
    frequencies: Tensor,
}

impl GaussianFourier {
    /// `dimension` features. A `scale` of 16 is usual for noise levels.
    ///
    /// # Panics
    /// When `dimension` is odd.
    pub fn new(scope: Scope<'_>, dimension: i64, scale: f64) -> Self {
        assert_eq!(dimension % 2, 0, "the embedding needs an even dimension, found {dimension}");
        let drawn = scope.rng().randn([dimension / 2], (scope.kind(), tch::Device::Cpu)) * scale;
        GaussianFourier { frequencies: scope.buffer("frequencies", drawn) }
    }

    /// `t: [batch]` to `[batch, dimension]`, sines first.
    pub fn forward(&self, t: &Tensor) -> Tensor {
        let angles = t.unsqueeze(1) * self.frequencies.unsqueeze(0) * (2.0 * std::f64::consts::PI);
        Tensor::cat(&[angles.sin(), angles.cos()], 1)
    }
}

/// A trained vector for each class, from N(0, 1) as `torch.nn.Embedding`.
#[derive(Debug)]
pub struct ClassEmbedding {
    weight: Tensor,
}

impl ClassEmbedding {
    /// `classes` vectors of `width` values. Classifier-free guidance needs one class more, for "no class" (Ho &
    /// Salimans 2022).
    pub fn new(scope: Scope<'_>, classes: i64, width: i64) -> Self {
        Self::with_init(scope, classes, width, Init::Normal { mean: 0.0, std: 1.0 })
    }

    /// With other initial values.
    pub fn with_init(scope: Scope<'_>, classes: i64, width: i64, init: Init) -> Self {
        ClassEmbedding { weight: scope.parameter("weight", &[classes, width], init) }
    }

    /// `classes: i64 [...]` in `0..classes` to `[..., width]`.
    ///
    /// # Panics
    /// When a class is outside, on the host.
    pub fn forward(&self, classes: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, classes, -1, false, false)
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_1_SQRT_2;

    use super::*;
    use crate::nn::checks::{assert_derivatives, assert_first_derivatives, doubles, leaf, leaves};
    use crate::testing::assert_close;

    /// frequencies, t = torch.tensor([0.5, -1.25]), torch.tensor([0.1, 2.0])
    /// angles = t[:, None] * frequencies * 2 * numpy.pi
    /// torch.cat([angles.sin(), angles.cos()], 1)
    #[test]
    fn features_are_sines_and_cosines_of_turns() {
        let params = doubles();
        let layer = GaussianFourier::new(params.root(), 4, 16.0);
        let frequencies = params.all().get("frequencies").unwrap().shallow_clone();
        frequencies.shallow_clone().copy_(&Tensor::from_slice(&[0.5, -1.25]));
        let y = layer.forward(&Tensor::from_slice(&[0.1, 2.0]));
        let expected = [0.3090169944, -FRAC_1_SQRT_2, 0.9510565163, FRAC_1_SQRT_2, 0.0, 0.0, 1.0, -1.0];
        assert_close(&y, &Tensor::from_slice(&expected).view([2, 4]), 1e-9, 1e-9);
        let t = leaf(1, &[3]);
        assert_derivatives(&[t.shallow_clone()], || layer.forward(&t));
    }

    /// Four standard errors of 2,000 draws.
    #[test]
    fn frequencies_have_the_scale() {
        let params = doubles();
        let _ = GaussianFourier::new(params.root(), 4000, 16.0);
        let std = params.all().get("frequencies").unwrap().std(true).double_value(&[]);
        assert!((std / 16.0 - 1.0).abs() < 4.0 / 4000f64.sqrt(), "{std}");
        assert_eq!(params.count(), 0);
    }

    #[test]
    fn a_class_has_a_row() {
        let params = doubles();
        let layer = ClassEmbedding::new(params.root(), 3, 2);
        let classes = Tensor::from_slice(&[2i64, 0, 2]);
        let weight = params.trainable().remove(0).1;
        let expected = Tensor::stack(&[weight.get(2), weight.get(0), weight.get(2)], 0);
        assert_eq!(layer.forward(&classes), expected);
        let all = leaves(&weight, &params);
        assert_first_derivatives(&all[1..], || layer.forward(&classes));
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
