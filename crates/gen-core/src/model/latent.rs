use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A model whose samples are made of latents: draws from a known distribution, from which the sample follows.
///
/// ```
/// use gen_core::Result;
/// use gen_core::model::{Interpolation, Latent};
/// use gen_core::rng::{Purpose, stream};
/// use tch::{Device, Kind, Tensor};
///
/// /// N(1, 4): the latent of x is (x - 1) / 2.
/// struct Gaussian;
///
/// impl Latent for Gaussian {
///     fn latent_shape(&self) -> Vec<i64> {
///         vec![1]
///     }
///     fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
///         Ok(stream(seed, Purpose::Sample, 0).randn([n as i64, 1], (Kind::Float, Device::Cpu)))
///     }
///     fn decode(&self, latents: &Tensor) -> Result<Tensor> {
///         Ok(latents * 2.0 + 1.0)
///     }
///     fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
///         Ok(Some((x - 1.0) / 2.0))
///     }
///     fn interpolation(&self) -> Interpolation {
///         Interpolation::Spherical
///     }
/// }
///
/// let x = Gaussian.decode(&Gaussian.prior(10, 0)?)?;
/// assert_eq!(Gaussian.decode(&Gaussian.encode(&x, 0)?.unwrap())?, x);
/// # Ok::<(), gen_core::Error>(())
/// ```
pub trait Latent {
    /// The shape of the latents of one sample, without the batch.
    fn latent_shape(&self) -> Vec<i64>;

    /// `n` latents as sampling draws them: `[n, ...]`. Decoded, they are distributed as the model's samples, but for
    /// the noise that a sampler adds.
    ///
    /// # Errors
    /// When libtorch fails.
    fn prior(&self, n: usize, seed: u64) -> Result<Tensor>;

    /// The data of latents `[n, ...]`, in the range of samples: the same latents give the same data. Without gradients.
    ///
    /// It changes continuously with the latents, even where samples are rounded to grey levels: rounded, it is what the
    /// sample would be.
    ///
    /// # Errors
    /// When the latents have another shape than [`Latent::latent_shape`].
    fn decode(&self, latents: &Tensor) -> Result<Tensor>;

    /// The latents of data as a data set delivers it, `[n, ...]`; `None` for a model that has no way back. Without
    /// gradients. `seed` is for those that need noise on the way.
    ///
    /// # Errors
    /// When `x` has not the shape of the data.
    fn encode(&self, x: &Tensor, seed: u64) -> Result<Option<Tensor>>;

    /// Where the model places data, for a map of it: `[n, ...]`; the latents, unless the model has a space of its own
    /// before them, in which similar data lies together.
    ///
    /// # Errors
    /// As [`Latent::encode`].
    fn represent(&self, x: &Tensor, seed: u64) -> Result<Option<Tensor>> {
        self.encode(x, seed)
    }

    /// How to interpolate between latents.
    fn interpolation(&self) -> Interpolation;

    /// Refuses latents of another shape.
    ///
    /// [`Latent::decode`] calls it first.
    ///
    /// # Errors
    /// When `latents` is not a batch of [`Latent::latent_shape`].
    fn check_latents(&self, latents: &Tensor) -> Result<()> {
        let (expected, found) = (self.latent_shape(), latents.size());
        if found.is_empty() || found[1..] != expected {
            return Err(Error::invalid(format!("latents should be [n] of {expected:?}, found {found:?}")));
        }
        Ok(())
    }
}

/// A way from the latents of one sample to those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// Along a great circle, for latents that are standard normal noise: (a + b) / 2 is shorter than a or b in many
    /// dimensions, and lies where no latents are ever drawn.
    Spherical,
    /// Along a straight line.
    Linear,
}

/// Latents this near to a common line through the origin (the sine of the angle between them) have no great circle of
/// their own, and are joined by a straight line.
const PARALLEL: f64 = 1e-4;

impl Interpolation {
    /// The latents at `fraction` of the way from each row of `from` to that of `to`, both `[n, ...]`; 0 is `from`, 1 is
    /// `to`.
    ///
    /// Spherical: sin((1 - f) ω) / sin ω · a + sin(f ω) / sin ω · b, with ω the angle between a and b (Shoemake 1985;
    /// White 2016, section 2.1).
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn between(self, from: &Tensor, to: &Tensor, fraction: f64) -> Result<Tensor> {
        let rows = from.size().first().copied().unwrap_or(0);
        self.between_each(from, to, &Tensor::full([rows], fraction, (Kind::Double, from.device())))
    }

    /// [`Interpolation::between`] with a fraction of its own for each row: `[n]`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn between_each(self, from: &Tensor, to: &Tensor, fractions: &Tensor) -> Result<Tensor> {
        if from.size() != to.size() || from.dim() == 0 || fractions.size() != from.size()[..1] {
            return Err(Error::invalid(format!(
                "two batches of latents of the same shape are interpolated, found {:?} and {:?}",
                from.size(),
                to.size()
            )));
        }
        let f = fractions.to_kind(Kind::Double).to_device(from.device()).unsqueeze(1);
        let [a, b] = [from, to].map(|latents| latents.to_kind(Kind::Double).view([latents.size()[0], -1]));
        let rest = f.neg() + 1.0;
        let line = &a * &rest + &b * &f;
        let latents = match self {
            Interpolation::Linear => line,
            Interpolation::Spherical => {
                let dot = |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist(1, true, Kind::Double);
                let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
                let cosine = dot(&a, &b) / lengths.clamp_min(f64::MIN_POSITIVE);
                let angle = cosine.clamp(-1.0, 1.0).acos();
                let sine = angle.sin();
                let arc = ((&angle * &rest).sin() * a + (&angle * &f).sin() * b) / sine.clamp_min(f64::MIN_POSITIVE);
                line.where_self(&sine.lt(PARALLEL).logical_or(&lengths.eq(0.0)), &arc)
            }
        };
        Ok(latents.to_kind(from.kind()).view_as(from))
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::testing::assert_close;

    fn latents(seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn([6, 2, 3, 4], (Kind::Double, Device::Cpu))
    }

    #[test]
    fn both_ways_start_and_end_at_the_latents() {
        let (a, b) = (latents(0), latents(1));
        for way in [Interpolation::Linear, Interpolation::Spherical] {
            assert_close(&way.between(&a, &b, 0.0).unwrap(), &a, 1e-12, 1e-12);
            assert_close(&way.between(&a, &b, 1.0).unwrap(), &b, 1e-12, 1e-12);
        }
    }

    #[test]
    fn a_great_circle_keeps_the_length_and_turns_evenly() {
        let unit = |x: Tensor| {
            let norm = x.square().sum_dim_intlist([1i64, 2, 3].as_slice(), true, Kind::Double).sqrt();
            x / norm
        };
        let (a, b) = (unit(latents(0)), unit(latents(1)));
        let at = |f: f64| Interpolation::Spherical.between(&a, &b, f).unwrap();
        let dot = |a: &Tensor, b: &Tensor| {
            (a * b).sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Double).clamp(-1.0, 1.0)
        };
        let whole = dot(&a, &b).acos();
        for f in [0.1, 0.25, 0.5, 0.9] {
            assert_close(&dot(&at(f), &at(f)), &whole.ones_like(), 1e-12, 0.0);
            assert_close(&dot(&a, &at(f)).acos(), &(&whole * f), 1e-9, 1e-9);
        }
        // The straight line cuts the corner.
        let chord = Interpolation::Linear.between(&a, &b, 0.5).unwrap();
        assert!(dot(&chord, &chord).max().double_value(&[]) < 0.9);
    }

    #[test]
    fn parallel_and_opposite_latents_are_joined_by_a_line() {
        let a = latents(0);
        for b in [&a * 1.0, &a * 3.0, -&a, a.zeros_like()] {
            let there = Interpolation::Spherical.between(&a, &b, 0.25).unwrap();
            let line = Interpolation::Linear.between(&a, &b, 0.25).unwrap();
            assert_close(&there, &line, 1e-9, 1e-9);
        }
    }

    #[test]
    fn latents_of_different_shapes_are_refused() {
        let error = Interpolation::Spherical.between(&latents(0), &latents(1).narrow(0, 0, 3), 0.5);
        assert!(error.unwrap_err().to_string().contains("found [6, 2, 3, 4] and [3, 2, 3, 4]"));
    }
}
