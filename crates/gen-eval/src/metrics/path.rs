//! The perceptual path length.

use tch::{Kind, Tensor};

use super::estimate::Estimate;
use super::rows::{checked, row_sums, values};
use gen_core::model::Interpolation;
use gen_core::rng::{Purpose, stream};
use gen_core::{Error, Result};

/// The step of a [`path_length`] along a path from 0 to 1. Karras et al. (2019) use 10⁻⁴. Rounding in f32 changes
/// features by about 10⁻⁶, a hundredth of the effect of such a step, and the square of a difference keeps that noise.
pub const PATH_STEP: f64 = 1e-2;
/// Latents in one call of the decoder.
const PART: i64 = 250;

/// The perceptual path length (Karras et al. 2019, section 4.1) in a feature space: `E |f(z(t + ε)) - f(z(t))|² / ε²`
/// for a small `step` ε between latents. It is at least 0. Small values mean a latent space without jumps; a collapsed
/// generator has 0, so the number ranks no model.
///
/// For each pair of rows of `start` and `end`, `[n, ...]`, a position `t` on the path is drawn by `seed`. `features`
/// maps latents `[m, ...]` to the features of their decoded samples, `[m, features]`, in the same order. It must not
/// round the samples to bytes, which would hide the difference. As in the paper, the mean excludes values outside the
/// 1st to the 99th percentile.
///
/// ```
/// use gen_eval::{PATH_STEP, path_length};
/// use gen_core::model::Interpolation;
/// use tch::{Device, Kind, Tensor};
///
/// let latents = || Tensor::randn([300, 4], (Kind::Float, Device::Cpu));
/// let (a, b) = (latents(), latents());
/// let mut stretch = |z: &Tensor| Ok(z * 3.0);
/// let found = path_length(&a, &b, Interpolation::Linear, PATH_STEP, 0, &mut stretch).unwrap();
/// // 3² times the squared lengths of the paths, which are 2 d on average.
/// assert!((found.value - 72.0).abs() < 20.0);
/// ```
///
/// # Errors
/// When the shapes of the latents differ or there are none, `step` is not between 0 and 1, or `features` fails or gives
/// another number of rows or values that are not finite.
pub fn path_length(
    start: &Tensor,
    end: &Tensor,
    interpolation: Interpolation,
    step: f64,
    seed: u64,
    features: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Estimate> {
    let n = start.size().first().copied().unwrap_or(0);
    if start.dim() < 2 || n < 1 || start.size() != end.size() {
        return Err(Error::invalid(format!(
            "a path length needs latents as [n, ...] of one shape: found {:?} and {:?}",
            start.size(),
            end.size()
        )));
    }
    if !(step > 0.0 && step < 1.0) {
        return Err(Error::invalid(format!("the step of a path length is between 0 and 1, found {step}")));
    }
    let t = stream(seed, Purpose::Evaluate, 0).rand([n], (Kind::Double, start.device())) * (1.0 - step);
    let mut lengths = Vec::with_capacity(n as usize);
    for first in (0..n).step_by(PART as usize) {
        let length = PART.min(n - first);
        let part = |x: &Tensor| x.narrow(0, first, length);
        let mut at = |t: &Tensor| -> Result<Tensor> {
            let found = features(&interpolation.between_each(&part(start), &part(end), t)?)?;
            let found = checked("a path length", "decoded", &found, 1)?;
            if found.size()[0] != length {
                return Err(Error::invalid(format!(
                    "a path length: {length} latents should have as many features, found {:?}",
                    found.size()
                )));
            }
            Ok(found)
        };
        let moved = at(&(part(&t) + step))? - at(&part(&t))?;
        lengths.extend(values(&(row_sums(&moved.square()) / (step * step)))?);
    }
    lengths.sort_unstable_by(f64::total_cmp);
    let last = (lengths.len() - 1) as f64;
    let kept = &lengths[(0.01 * last).floor() as usize..=(0.99 * last).ceil() as usize];
    let kept = Tensor::from_slice(kept);
    let standard_error = (kept.numel() > 1).then(|| kept.std(true).double_value(&[]) / (kept.numel() as f64).sqrt());
    Ok(Estimate { value: kept.mean(Kind::Double).double_value(&[]), standard_error })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::testing::assert_close_f64;

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 1).randn([n, d], (Kind::Double, Device::Cpu))
    }

    #[test]
    fn the_length_of_a_linear_map_is_known() {
        let (a, b) = (normal(700, 3, 3), normal(700, 3, 4));
        let map = normal(3, 5, 5);
        let mut parts = Vec::new();
        let mut features = |z: &Tensor| {
            parts.push(z.size()[0]);
            Ok(z.matmul(&map) + 7.0)
        };
        let found = path_length(&a, &b, Interpolation::Linear, 0.01, 1, &mut features).unwrap();
        let mut all = values(&row_sums(&(&b - &a).matmul(&map).square())).unwrap();
        all.sort_by(f64::total_cmp);
        // floor(0.01 * 699) and ceil(0.99 * 699).
        let kept = &all[6..=693];
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        assert_close_f64(found.value, mean, 1e-9, 0.0);
        let error = Tensor::from_slice(kept).std(true).double_value(&[]) / (kept.len() as f64).sqrt();
        assert_close_f64(found.standard_error.unwrap(), error, 1e-9, 0.0);
        assert_eq!(parts, [250, 250, 250, 250, 200, 200]);
        let mut collapsed = |z: &Tensor| Ok(z.zeros_like());
        let found = path_length(&a, &b, Interpolation::Spherical, 0.01, 1, &mut collapsed).unwrap();
        assert_eq!(found, Estimate { value: 0.0, standard_error: Some(0.0) });
    }

    #[test]
    fn arcs_of_unit_latents_have_the_square_of_their_angle() {
        let (a, b) = (normal(1, 2, 6).zeros_like(), normal(1, 2, 7).zeros_like());
        let (_, _) = (a.get(0).get(0).fill_(1.0), b.get(0).get(1).fill_(1.0));
        let mut identity = |z: &Tensor| Ok(z.shallow_clone());
        let found = path_length(&a, &b, Interpolation::Spherical, 1e-3, 2, &mut identity).unwrap();
        let quarter = std::f64::consts::FRAC_PI_2;
        assert_close_f64(found.value, quarter * quarter, 1e-6, 0.0);
        assert_eq!(found.standard_error, None);
    }

    #[test]
    fn impossible_input_is_explained() {
        let z = normal(4, 2, 8);
        let message = |end: &Tensor, step, features: &mut dyn FnMut(&Tensor) -> Result<Tensor>| {
            path_length(&z, end, Interpolation::Linear, step, 0, features).unwrap_err().to_string()
        };
        let mut same = |z: &Tensor| Ok(z.shallow_clone());
        assert_eq!(
            message(&z.narrow(0, 0, 3), 0.1, &mut same),
            "a path length needs latents as [n, ...] of one shape: found [4, 2] and [3, 2]"
        );
        assert_eq!(message(&z, 1.0, &mut same), "the step of a path length is between 0 and 1, found 1");
        assert_eq!(
            message(&z, 0.1, &mut |z| Ok(z.narrow(0, 0, 2))),
            "a path length: 4 latents should have as many features, found [2, 2]"
        );
        assert_eq!(message(&z, 0.1, &mut |z| Ok(z / 0.0)), "a path length: the decoded features are not all finite");
    }
}
