use tch::{Kind, Tensor};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

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
