//! An average of weights of a length that is chosen after training (Karras et al. 2024, section 3.2 and appendix C.3).
//!
//! A run keeps power-function averages of two lengths ([`Length::Power`](super::Length)) and saves snapshots of them
//! now and then. A sum of snapshots with weights x has the profile Σ xᵢ pᵢ; the weights whose profile is nearest to the
//! one wanted, p, minimise ∫ (p - Σ xᵢ pᵢ)² and solve A x = b, with Aᵢⱼ = ∫ pᵢ pⱼ and bᵢ = ∫ pᵢ p. They are scaled to
//! the sum 1, so that weights which never changed stay as they are.
//!
//! The paper keeps relative widths of 0.05 and 0.10. The distance of the profiles falls with the square of the number
//! of snapshots: with 64 of each width it is 0.0003 for a width of 0.07 at the end of the run, and 0.002 for 0.2.
//! Narrower averages than those kept take large weights of both signs, which magnify the rounding of snapshots: for
//! 0.02 the sizes of the weights add up to 37.

use tch::{Kind, Tensor};

use super::power;
use crate::error::{Error, Result};
use crate::params::NamedTensors;

/// A power-function average: the rows that were seen when it was saved, and its relative width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// The time t of the average, in training rows.
    pub images: f64,
    /// The relative width σ, in (0, [`power::LARGEST_WIDTH`]].
    pub width: f64,
}

/// The way to make an average of snapshots.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    /// The weight of each snapshot. Their sum is 1, and they need not be positive.
    pub weights: Vec<f64>,
    /// The distance of the profile that they give from the one wanted, relative to the size of the latter:
    /// ‖p - Σ xᵢ pᵢ‖ / ‖p‖. 0 is exact; 1 says that the snapshots have nothing of what is wanted.
    pub error: f64,
}

/// The weights of snapshots of the profiles `stored` whose sum is nearest to an average of the profile `wanted`.
///
/// ```
/// use gen_core::optim::posthoc::{Profile, blend};
///
/// let stored: Vec<Profile> = [0.05, 0.10]
///     .into_iter()
///     .flat_map(|width| (1..=8).map(move |i| Profile { images: 1e6 * f64::from(i), width }))
///     .collect();
/// let found = blend(&stored, Profile { images: 8e6, width: 0.12 })?;
/// assert!(found.error < 0.02 && (found.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// When there is no snapshot, two are of the same time and width, a time is not positive or a width out of range, or
/// the time wanted is after the last snapshot.
pub fn blend(stored: &[Profile], wanted: Profile) -> Result<Blend> {
    let curves = stored.iter().map(Curve::new).collect::<Result<Vec<Curve>>>()?;
    let target = Curve::new(&wanted)?;
    let last = stored.iter().map(|profile| profile.images).fold(0.0, f64::max);
    if wanted.images > last {
        return Err(Error::invalid(format!(
            "an average at {} images needs a snapshot from there on; the last is at {last}",
            wanted.images
        )));
    }
    for (i, profile) in stored.iter().enumerate() {
        if stored[..i].contains(profile) {
            let Profile { images, width } = profile;
            return Err(Error::invalid(format!("two snapshots have the width {width} at {images} images")));
        }
    }
    // Every profile is divided by its norm, which takes the units away and makes the system as regular as it can be.
    let n = curves.len() as i64;
    let norms: Vec<f64> = curves.iter().map(|curve| curve.product(curve).sqrt()).collect();
    let norm = target.product(&target).sqrt();
    let products = curves
        .iter()
        .zip(&norms)
        .flat_map(|(a, i)| curves.iter().zip(&norms).map(move |(b, j)| a.product(b) / (i * j)));
    let a = Tensor::from_slice(&products.collect::<Vec<f64>>()).view([n, n]);
    let b: Vec<f64> = curves.iter().zip(&norms).map(|(curve, i)| curve.product(&target) / (i * norm)).collect();
    let b = Tensor::from_slice(&b);
    let x = Tensor::f_linalg_solve(&a, &b, true)?;
    // Every profile has the integral 1, and so has their sum after this.
    let x = &x / (&x * norm / Tensor::from_slice(&norms)).sum(Kind::Double);
    let square = (a.matmul(&x) - &b * 2.0).dot(&x).double_value(&[]) + 1.0;
    let weights = Vec::<f64>::try_from(x)?.into_iter().zip(&norms).map(|(x, i)| x * norm / i).collect();
    Ok(Blend { weights, error: square.max(0.0).sqrt() })
}

/// The sum of averaged parameters with the weights of a [`Blend`], in the kinds of the first, summed in f64.
///
/// Snapshots are asked for one at a time, so that a caller may read each from its file. Buffers are not averaged: they
/// are those of the snapshot nearest in time.
///
/// ```
/// use gen_core::optim::posthoc::weighted_sum;
/// use gen_core::params::NamedTensors;
/// use tch::Tensor;
///
/// let snapshot = |x: f64| [("w".to_owned(), Tensor::from(x))].into_iter().collect::<NamedTensors>();
/// let sum = weighted_sum([Ok((0.25, snapshot(2.0))), Ok((0.75, snapshot(4.0)))])?;
/// assert_eq!(sum.get("w").unwrap().double_value(&[]), 3.5);
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// Those of a snapshot, when there is none, and when names or shapes differ.
pub fn weighted_sum(snapshots: impl IntoIterator<Item = Result<(f64, NamedTensors)>>) -> Result<NamedTensors> {
    let mut sum: Option<Vec<(String, Kind, Tensor)>> = None;
    for snapshot in snapshots {
        let (weight, tensors) = snapshot?;
        let weighted = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double) * weight;
        let Some(sums) = &mut sum else {
            sum = Some(tensors.iter().map(|(name, x)| (name.to_owned(), x.kind(), weighted(x))).collect());
            continue;
        };
        let fits = |((name, _, sum), (other, x)): (&(String, Kind, Tensor), (&str, &Tensor))| {
            name == other && sum.size() == x.size()
        };
        if sums.len() != tensors.len() || !sums.iter().zip(tensors.iter()).all(fits) {
            return Err(Error::invalid("the snapshots of an average have different tensors"));
        }
        for ((_, _, sum), (_, x)) in sums.iter_mut().zip(tensors.iter()) {
            let _ = sum.g_add_(&weighted(x));
        }
    }
    let sums = sum.ok_or_else(|| Error::invalid("an average needs a snapshot"))?;
    Ok(sums.into_iter().map(|(name, kind, sum)| (name, sum.to_kind(kind))).collect())
}

/// A profile by its end t and its exponent γ.
struct Curve {
    end: f64,
    exponent: f64,
}

impl Curve {
    fn new(profile: &Profile) -> Result<Self> {
        let end = profile.images;
        if !(end > 0.0 && end.is_finite()) {
            return Err(Error::invalid(format!("an average at {end} images has no weights")));
        }
        Ok(Curve { end, exponent: power::exponent(profile.width)? })
    }

    /// ∫ p q = (γ + 1) (δ + 1) / (γ + δ + 1) s^δ / u for ends s ≤ u with the exponents γ and δ in this order.
    fn product(&self, other: &Curve) -> f64 {
        let (first, last) = if self.end < other.end { (self, other) } else { (other, self) };
        let scale = (first.exponent + 1.0) * (last.exponent + 1.0) / (first.exponent + last.exponent + 1.0);
        scale * (first.end / last.end).powf(last.exponent) / last.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Average, Length, Now};
    use crate::testing::assert_close_f64;

    fn profiles(widths: &[f64], times: &[f64]) -> Vec<Profile> {
        widths.iter().flat_map(|&width| times.iter().map(move |&images| Profile { images, width })).collect()
    }

    #[test]
    fn a_product_is_the_integral() {
        let curve = |end, exponent| Curve { end, exponent };
        for (a, b) in [
            (curve(3.0, 6.5), curve(5.0, 2.25)),
            (curve(5.0, 2.25), curve(3.0, 6.5)),
            (curve(2.0, 0.0), curve(2.0, 9.0)),
        ] {
            let at = |c: &Curve, x: f64| (c.exponent + 1.0) * x.powf(c.exponent) / c.end.powf(c.exponent + 1.0);
            let (end, n) = (a.end.min(b.end), 100_000);
            let midpoints = (0..n).map(|i| (f64::from(i) + 0.5) * end / f64::from(n));
            let integral: f64 = midpoints.map(|x| at(&a, x) * at(&b, x)).sum::<f64>() * end / f64::from(n);
            assert_close_f64(a.product(&b), integral, 1e-7, 0.0);
        }
    }

    #[test]
    fn weights_are_those_of_the_papers_code() {
        // solve_posthoc_coefficients(in_ofs, in_std, out_ofs, out_std) of NVlabs/edm2, training/phema.py, with
        // in_ofs = [250, 500, 750, 1000] * 2, in_std = [0.05] * 4 + [0.10] * 4, out_ofs = 1000, out_std = [0.07, 0.12]
        let expected = [
            (
                0.07,
                [
                    1.8701727360587484e-08,
                    8.350739349474328e-05,
                    0.010685739328585101,
                    0.43456714018574205,
                    -4.593987075159786e-07,
                    -0.000568048060587114,
                    -0.04392123564681019,
                    0.5991533374965556,
                ],
            ),
            (
                0.12,
                [
                    -2.8851209805235643e-05,
                    -0.002180955168515093,
                    -0.025958007788281764,
                    -0.1490780580124411,
                    0.0001333610009680994,
                    0.007368957473123317,
                    0.07313613265520438,
                    1.0966074210497474,
                ],
            ),
        ];
        let stored = profiles(&[0.05, 0.10], &[250.0, 500.0, 750.0, 1000.0]);
        for (width, expected) in expected {
            let found = blend(&stored, Profile { images: 1000.0, width }).unwrap();
            for (found, expected) in found.weights.iter().zip(expected) {
                assert_close_f64(*found, expected, 1e-8, 1e-13);
            }
        }
    }

    #[test]
    fn a_snapshot_is_itself() {
        let stored = profiles(&[0.05, 0.10], &[1e6, 2e6, 3e6]);
        for (i, wanted) in stored.iter().enumerate() {
            let found = blend(&stored, *wanted).unwrap();
            for (j, weight) in found.weights.iter().enumerate() {
                assert_close_f64(*weight, f64::from(u8::from(i == j)), 0.0, 1e-10);
            }
            assert!(found.error < 1e-7, "{}", found.error);
        }
    }

    /// The error that [`blend`] reports is the distance of the profiles, integrated numerically.
    #[test]
    fn the_error_is_the_distance_of_the_profiles() {
        let stored = profiles(&[0.05, 0.10], &[2.0, 4.0]);
        let wanted = Profile { images: 4.0, width: 0.2 };
        let found = blend(&stored, wanted).unwrap();
        let at = |profile: &Profile, x: f64| {
            let exponent = power::exponent(profile.width).unwrap();
            let inside = f64::from(u8::from(x <= profile.images));
            inside * (exponent + 1.0) * x.powf(exponent) / profile.images.powf(exponent + 1.0)
        };
        let (mut distance, mut size) = (0.0, 0.0);
        for x in (0..20_000).map(|i| (f64::from(i) + 0.5) * 4.0 / 20_000.0) {
            let sum: f64 = stored.iter().zip(&found.weights).map(|(profile, weight)| weight * at(profile, x)).sum();
            distance += (at(&wanted, x) - sum).powi(2);
            size += at(&wanted, x).powi(2);
        }
        assert!(found.error > 0.01);
        assert_close_f64(found.error, (distance / size).sqrt(), 1e-5, 0.0);
    }

    /// Reconstructs averages of a trajectory, of which the same lengths were tracked.
    #[test]
    fn a_length_is_chosen_after_training() {
        let options = (Kind::Double, tch::Device::Cpu);
        let rng = crate::rng::Generator::seeded(3);
        let live = Tensor::zeros([64], options);
        let (kept, wanted) = ([0.05, 0.10], [0.06, 0.08, 0.12, 0.15, 0.2]);
        let track = |width| {
            let parameters = [("w".to_owned(), live.shallow_clone())].into_iter().collect();
            Average::new(parameters, NamedTensors::new(), Length::Power { width }).unwrap()
        };
        let mut averages: Vec<Average> = kept.into_iter().chain(wanted).map(track).collect();
        let (steps, batch, snapshots) = (4096, 32, 32);
        let (mut stored, mut taken) = (Vec::new(), Vec::new());
        for step in 0..steps {
            // A random walk that is drawn to a point.
            let noise = rng.randn([64], options) * 0.05;
            let _ = live.shallow_clone().lerp_(&Tensor::ones([64], options), 0.002).g_add_(&noise);
            let now = Now { step, images: step * batch, batch, share: 0.0 };
            averages.iter_mut().for_each(|average| average.update(&now).unwrap());
            if (step + 1) % (steps / snapshots) == 0 {
                for (average, width) in averages.iter().zip(kept) {
                    stored.push(Profile { images: average.images() as f64, width });
                    taken.push(average.weights().snapshot());
                }
            }
        }
        let of = |weights: &NamedTensors| weights.get("w").unwrap().copy();
        for (average, width) in averages[kept.len()..].iter().zip(wanted) {
            let found = blend(&stored, Profile { images: average.images() as f64, width }).unwrap();
            let parts = found.weights.iter().zip(&taken).map(|(weight, tensors)| Ok((*weight, tensors.snapshot())));
            let made = of(&weighted_sum(parts).unwrap());
            let known = of(average.weights());
            let error = ((&made - &known).square().mean(Kind::Double) / known.square().mean(Kind::Double)).sqrt();
            let error = error.double_value(&[]);
            // A length between those kept or near them is exact to four digits, others to the distance of profiles.
            let allowed = if width <= 0.15 { 1e-4 } else { 1e-3 };
            assert!(error < allowed && error < found.error, "{width}: {error:e}, profile {:e}", found.error);
        }
    }

    #[test]
    fn more_snapshots_are_nearer() {
        let error = |n: i32, width| {
            let times: Vec<f64> = (1..=n).map(|i| f64::from(i) / f64::from(n)).collect();
            blend(&profiles(&[0.05, 0.10], &times), Profile { images: 1.0, width }).unwrap().error
        };
        for width in [0.03, 0.07, 0.15, 0.2] {
            let errors = [4, 8, 16, 32, 64].map(|n| error(n, width));
            assert!(errors.is_sorted_by(|few, many| many < few), "{width}: {errors:?}");
            assert!(errors[4] < 0.01, "{width}: {errors:?}");
        }
    }

    #[test]
    fn an_average_of_the_middle_of_a_run_can_be_made() {
        let times: Vec<f64> = (1..=64).map(f64::from).collect();
        let found = blend(&profiles(&[0.05, 0.10], &times), Profile { images: 32.0, width: 0.07 }).unwrap();
        assert!(found.error < 2e-3, "{}", found.error);
        let later: f64 = found.weights.iter().skip(33).take(31).map(|weight| weight.abs()).sum();
        assert!(later < 1e-2, "weights of later snapshots: {later}");
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let stored = profiles(&[0.05, 0.10], &[1.0, 2.0]);
        let message =
            |stored: &[Profile], images, width| blend(stored, Profile { images, width }).unwrap_err().to_string();
        assert!(message(&stored, 3.0, 0.1).contains("the last is at 2"));
        assert!(message(&stored, 2.0, 0.5).contains("relative width"));
        assert!(message(&stored, 0.0, 0.1).contains("no weights"));
        assert!(message(&[], 1.0, 0.1).contains("needs a snapshot"));
        assert!(message(&[stored[0], stored[0]], 1.0, 0.1).contains("two snapshots"));
    }

    #[test]
    fn snapshots_of_different_tensors_have_no_sum() {
        let one = |name: &str, size: i64| -> NamedTensors {
            [(name.to_owned(), Tensor::ones([size], (Kind::Float, tch::Device::Cpu)))].into_iter().collect()
        };
        let sum = |tensors| weighted_sum([Ok((0.5, one("w", 2))), Ok((0.5, tensors))]);
        assert_eq!(sum(one("w", 2)).unwrap().get("w").unwrap().kind(), Kind::Float);
        assert!(sum(one("w", 3)).is_err() && sum(one("v", 2)).is_err());
        assert!(weighted_sum([]).is_err());
    }
}
