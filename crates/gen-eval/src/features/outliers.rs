//! Images that are not of a data set.

use tch::{Kind, Tensor};

use super::augment::each;
use gen_core::rng::Generator;

/// Images that are not of the data set, made from `x: [n, channels, height, width]` in [-1, 1], as many as in `x`. A
/// network learns to tell them from the real ones (outlier exposure, Hendrycks et al. 2019).
///
/// A classifier learns the differences of its classes alone, and assigns noise to one of them. The images made here are
/// known failures of generators, each from a part of `x`: noise, noisy images, shuffled pixels, swapped halves, two
/// images blended, smooth blots. Blurred images are not among them, since blur does not change what an image shows
/// ([`flawed`](super::augment::flawed)).
pub(super) fn outliers(x: &Tensor, rng: &Generator) -> Tensor {
    type Kinds = [fn(&Tensor, &Generator) -> Tensor; 6];
    const KINDS: Kinds = [noise, noisy, shuffled, halves_swapped, blended, blots];
    let parts: Vec<Tensor> =
        x.chunk(KINDS.len() as i64, 0).iter().zip(KINDS).map(|(part, make)| make(part, rng).clamp(-1.0, 1.0)).collect();
    Tensor::cat(&parts, 0)
}

/// Independent uniform values of random mean and range.
fn noise(x: &Tensor, rng: &Generator) -> Tensor {
    (rng.rand_like(x) * 2.0 - 1.0) * each(x, 0.2, 1.0, rng) + each(x, -0.5, 0.5, rng)
}

fn noisy(x: &Tensor, rng: &Generator) -> Tensor {
    x + rng.randn_like(x) * each(x, 0.3, 1.0, rng)
}

/// All images with their pixels in one random order.
fn shuffled(x: &Tensor, rng: &Generator) -> Tensor {
    let flat = x.flatten(2, -1);
    let order = rng.randperm(flat.size()[2]).to_device(x.device());
    flat.index_select(2, &order).view_as(x)
}

/// Images rolled by half of their height or width.
fn halves_swapped(x: &Tensor, rng: &Generator) -> Tensor {
    let along = 2 + rng.randint(0, 2, [1], (Kind::Int64, x.device())).int64_value(&[0]);
    x.roll([x.size()[along as usize] / 2], [along])
}

/// Each image blended with the next.
fn blended(x: &Tensor, _: &Generator) -> Tensor {
    x * 0.5 + x.roll([1], [0]) * 0.5
}

/// Noise of 4x4 pixels, enlarged.
fn blots(x: &Tensor, rng: &Generator) -> Tensor {
    let [n, channels, height, width] = x.size()[..] else { unreachable!("images have four dimensions") };
    let coarse = rng.randn([n, channels, 4, 4], (Kind::Float, x.device()));
    coarse.upsample_bilinear2d([height, width], false, None, None)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn they_are_as_many_in_range_and_unlike_the_images() {
        let i = Tensor::arange(24 * 64, (Kind::Float, Device::Cpu));
        let x = (&i * &i * 0.37).sin().view([24, 1, 8, 8]);
        let made = outliers(&x, &Generator::seeded(1));
        assert_eq!(made.size(), x.size());
        assert!(made.abs().max().double_value(&[]) <= 1.0);
        let differs = (&made - &x).abs().amax([1i64, 2, 3].as_slice(), false).gt(0.05);
        assert!(bool::try_from(differs.all()).unwrap(), "{differs}");
        assert_eq!(made, outliers(&x, &Generator::seeded(1)));
    }

    #[test]
    fn a_few_images_make_a_few() {
        let x = Tensor::zeros([2, 3, 5, 7], (Kind::Float, Device::Cpu));
        assert_eq!(outliers(&x, &Generator::seeded(1)).size(), [2, 3, 5, 7]);
    }
}
