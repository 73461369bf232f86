//! Sets of images of known quality, made from training images, that feature spaces are checked with.

use gen_core::data::{Dataset, bytes_to_signed, signed_to_bytes};
use gen_core::rng::{Purpose, permutation, stream};
use gen_eval::Reference;
use gen_eval::features::blurred;
use tch::{Device, IndexOp, Kind, Tensor};

/// The largest side of an image, in pixels, that counts as small. On small images fewer severities make sense.
const SMALL: i64 = 16;

/// A distortion of a set of images that has severities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distortion {
    /// Gaussian blur; the severity is the standard deviation in pixels.
    Blur,
    /// Gaussian noise; the severity is the standard deviation in grey levels.
    Noise,
    /// Missing classes; the severity is their number.
    MissingClasses,
    /// Copies of one image; the severity is their share.
    Collapse,
    /// A mixture of two images; the severity is the share of the second.
    Mix,
    /// A shift in one of eight directions; the severity is in pixels.
    Shift,
    /// Squares of one grey; the severity is their side in pixels.
    Blocks,
}

impl Distortion {
    pub(super) const ALL: [Distortion; 7] = [
        Distortion::Blur,
        Distortion::Noise,
        Distortion::MissingClasses,
        Distortion::Collapse,
        Distortion::Mix,
        Distortion::Shift,
        Distortion::Blocks,
    ];

    /// The severities for images of this larger side, the mildest first.
    pub(super) fn severities(self, side: i64) -> &'static [f64] {
        let small = side <= SMALL;
        match self {
            Distortion::Blur => &[0.3, 0.5, 0.7, 1.0, 1.5, 2.0],
            // The digits have 17 grey levels. Noise below one step cannot be detected with so few images.
            Distortion::Noise if small => &[8.0, 16.0, 32.0, 64.0, 128.0],
            Distortion::Noise => &[2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0],
            Distortion::MissingClasses => &[1.0, 2.0, 5.0],
            Distortion::Collapse => &[0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0],
            Distortion::Mix => &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5],
            Distortion::Shift if small => &[1.0, 2.0],
            Distortion::Shift => &[1.0, 2.0, 3.0, 4.0],
            Distortion::Blocks if small => &[2.0, 4.0],
            Distortion::Blocks => &[2.0, 4.0, 7.0],
        }
    }

    /// A description of the distortion at this severity.
    pub(super) fn description(self, severity: f64) -> String {
        let percent = 100.0 * severity;
        match self {
            Distortion::Blur => format!("blur, sigma {severity}"),
            Distortion::Noise => format!("noise, sd {severity}"),
            Distortion::MissingClasses if severity == 1.0 => "1 class dropped".to_owned(),
            Distortion::MissingClasses => format!("{severity} classes dropped"),
            Distortion::Collapse => format!("{percent} % are one image"),
            Distortion::Mix => format!("{percent} % of another image"),
            Distortion::Shift => format!("shift by {severity} px"),
            Distortion::Blocks => format!("blocks of {severity}x{severity}"),
        }
    }
}

/// A set of images of the ladder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rung {
    /// Unchanged training images.
    Floor,
    /// Distorted training images, with the severity.
    Distorted(Distortion, f64),
    /// Training images, averaged over 3x3 pixels.
    BoxBlur,
    /// Samples of a Gaussian with the mean and the covariance of the pixels.
    PixelGaussian,
    /// Uniform noise.
    PixelNoise,
}

impl Rung {
    /// All rungs for images of this larger side.
    pub(super) fn all(side: i64) -> Vec<Rung> {
        let graded = Distortion::ALL.into_iter().flat_map(|distortion| {
            distortion.severities(side).iter().map(move |severity| Rung::Distorted(distortion, *severity))
        });
        let ungraded = [Rung::BoxBlur, Rung::PixelGaussian, Rung::PixelNoise];
        std::iter::once(Rung::Floor).chain(graded).chain(ungraded).collect()
    }

    /// A blur that keeps images of this larger side recognisable. A 3x3 average of 8x8 pixels does not.
    pub(super) fn mild_blur(side: i64) -> Rung {
        if side <= SMALL { Rung::Distorted(Distortion::Blur, 0.5) } else { Rung::BoxBlur }
    }

    /// A description of the rung.
    pub(super) fn description(self) -> String {
        match self {
            Rung::Floor => "training images (floor)".to_owned(),
            Rung::Distorted(distortion, severity) => distortion.description(severity),
            Rung::BoxBlur => "3x3 blur".to_owned(),
            Rung::PixelGaussian => "pixel Gaussian".to_owned(),
            Rung::PixelNoise => "uniform noise".to_owned(),
        }
    }
}

/// The images that all rungs are made from: the same rows in the same order, with the same random numbers.
pub(super) struct Base<'a> {
    data: &'a Dataset,
    /// All training rows; the first `n` are those of the floor.
    order: Vec<i64>,
    n: usize,
}

impl<'a> Base<'a> {
    /// A ladder of `n` training images, or of all if there are fewer.
    pub(super) fn new(data: &'a Dataset, n: usize) -> Self {
        let order = permutation(data.train.len(), 0, Purpose::Evaluate, 1);
        Base { data, n: n.min(order.len()), order }
    }

    fn rows(&self, order: &[i64]) -> Tensor {
        self.data.train.x.index_select(0, &Tensor::from_slice(order))
    }

    /// The images of a rung, `u8 [n, channels, height, width]`; fewer if not enough rows have one of the kept classes.
    pub(super) fn samples(&self, rung: Rung) -> gen_core::Result<Tensor> {
        Ok(match rung {
            Rung::Floor => self.rows(&self.order[..self.n]),
            Rung::PixelGaussian => Reference::PixelGaussian.sample(self.data, self.n, 0)?,
            Rung::PixelNoise => Reference::PixelNoise.sample(self.data, self.n, 0)?,
            Rung::BoxBlur => {
                let x = self.samples(Rung::Floor)?.to_kind(Kind::Float);
                bytes(&x.avg_pool2d([3, 3], [1, 1], [1, 1], false, true, None))
            }
            Rung::Distorted(Distortion::MissingClasses, count) => self.without_classes(count as i64),
            Rung::Distorted(distortion, severity) => distorted(&self.samples(Rung::Floor)?, distortion, severity),
        })
    }

    fn without_classes(&self, count: i64) -> Tensor {
        let labels = self.data.train.labels().map(Vec::<i64>::try_from);
        let labels = labels.and_then(Result::ok).unwrap_or_default();
        let is_left = |row: &i64| labels.get(*row as usize).is_some_and(|label| *label >= count);
        let left: Vec<i64> = self.order.iter().copied().filter(is_left).take(self.n).collect();
        self.rows(&left)
    }
}

fn distorted(x: &Tensor, distortion: Distortion, severity: f64) -> Tensor {
    let n = x.size()[0];
    let rng = stream(0, Purpose::Evaluate, 8);
    let real = x.to_kind(Kind::Float);
    match distortion {
        Distortion::Blur => {
            let sigma = Tensor::full([n, 1, 1, 1], severity, (Kind::Float, Device::Cpu));
            signed_to_bytes(&blurred(&bytes_to_signed(x), &sigma))
        }
        Distortion::Noise => bytes(&(&real + rng.randn_like(&real) * severity)),
        Distortion::MissingClasses => unreachable!("missing classes are handled by the caller"),
        Distortion::Collapse => {
            let count = ((n as f64 * severity).round() as i64).max(1);
            // A larger share contains the rows of a smaller one.
            let chosen = rng.randperm(n).narrow(0, 0, count);
            let _ = real.shallow_clone().index_copy_(0, &chosen, &real.i(0..1).repeat([count, 1, 1, 1]));
            bytes(&real)
        }
        Distortion::Mix => bytes(&(&real * (1.0 - severity) + real.roll([1], [0]) * severity)),
        Distortion::Shift => shifted(x, severity as i64, &rng.randint(0, 8, [n, 1, 1, 1], (Kind::Int64, Device::Cpu))),
        Distortion::Blocks => blocks(&real, severity as i64),
    }
}

/// Shifts each image by `by` pixels in its direction, a number from 0 to 7, `[n, 1, 1, 1]`. The margin becomes black.
fn shifted(x: &Tensor, by: i64, direction: &Tensor) -> Tensor {
    const DIRECTIONS: [[i64; 2]; 8] = [[0, 1], [1, 0], [0, -1], [-1, 0], [1, 1], [1, -1], [-1, 1], [-1, -1]];
    let (height, width) = (x.size()[2], x.size()[3]);
    let wide = x.constant_pad_nd([by, by, by, by]);
    let mut moved = x.shallow_clone();
    for (index, [down, right]) in DIRECTIONS.into_iter().enumerate() {
        let part = wide.narrow(2, by * (1 - down), height).narrow(3, by * (1 - right), width);
        moved = part.where_self(&direction.eq(index as i64), &moved);
    }
    moved
}

/// Replaces each square of `side` pixels by its mean.
fn blocks(x: &Tensor, side: i64) -> Tensor {
    let means = x.avg_pool2d([side, side], [side, side], [0, 0], true, false, None);
    let large = means.repeat_interleave_self_int(side, 2, None).repeat_interleave_self_int(side, 3, None);
    bytes(&large.narrow(2, 0, x.size()[2]).narrow(3, 0, x.size()[3]))
}

fn bytes(x: &Tensor) -> Tensor {
    x.round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    /// The mean absolute difference of a set from the floor, in grey levels.
    fn change(base: &Base<'_>, rung: Rung) -> f64 {
        let [a, b] = [Rung::Floor, rung].map(|rung| base.samples(rung).unwrap().to_kind(Kind::Float));
        (a - b).abs().mean(Kind::Double).double_value(&[])
    }

    #[test]
    fn a_higher_severity_changes_more() {
        let data = catalog::load("digits").unwrap();
        let base = Base::new(&data, 300);
        for distortion in Distortion::ALL.into_iter().filter(|it| *it != Distortion::MissingClasses) {
            let changes: Vec<f64> = distortion
                .severities(8)
                .iter()
                .map(|severity| change(&base, Rung::Distorted(distortion, *severity)))
                .collect();
            assert!(changes.is_sorted_by(|a, b| a < b) && changes[0] > 0.0, "{distortion:?} {changes:?}");
        }
    }

    #[test]
    fn a_shift_keeps_the_pixels_that_stay_inside() {
        let x = Tensor::arange(8 * 25, (Kind::Float, Device::Cpu)).view([8, 1, 5, 5]).to_kind(Kind::Uint8) + 1;
        let direction = Tensor::arange(8, (Kind::Int64, Device::Cpu)).view([8, 1, 1, 1]);
        let moved = shifted(&x, 2, &direction);
        assert_eq!(moved.i((0, 0, .., 2..)), x.i((0, 0, .., ..3)));
        assert_eq!(moved.i((3, 0, ..3, ..)), x.i((3, 0, 2.., ..)));
        assert_eq!(moved.i((6, 0, ..3, 2..)), x.i((6, 0, 2.., ..3)));
        assert_eq!(moved.i((0, 0, .., ..2)).max().int64_value(&[]), 0);
    }

    #[test]
    fn blocks_have_their_mean_and_dropped_classes_are_missing() {
        let x = Tensor::from_slice(&[0f32, 4., 8., 8., 2., 6., 1., 3., 9.]).view([1, 1, 3, 3]);
        let expected = Tensor::from_slice(&[4u8, 4, 7, 4, 4, 7, 2, 2, 9]).view([1, 1, 3, 3]);
        assert_eq!(blocks(&x, 2), expected);
        let data = catalog::load("digits").unwrap();
        let without = |count: i64| Base::new(&data, 10_000).without_classes(count).size()[0];
        let labels = Vec::<i64>::try_from(data.train.labels().unwrap()).unwrap();
        for count in [1, 5] {
            assert_eq!(without(count) as usize, labels.iter().filter(|label| **label >= count).count());
        }
    }
}
