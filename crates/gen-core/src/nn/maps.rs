//! Operations that rearrange feature maps, in either memory layout: with the batch innermost, as the convolutions of
//! gen-native leave them, or in libtorch's order. libtorch's own operations are slow on the former.

use gen_native::is_batch_innermost;
use tch::Tensor;

/// `[batch, channels, height, width]` as a view `[height, width, channels, batch]`, which is contiguous if the batch is
/// innermost, and back.
const INSIDE_OUT: [i64; 4] = [2, 3, 1, 0];
const OUTSIDE_IN: [i64; 4] = [3, 2, 0, 1];

/// Concatenates the channels of two feature maps: `[batch, a, height, width]` and `[batch, b, height, width]` to
/// `[batch, a + b, height, width]`.
///
/// # Panics
/// When any side but the channels differs.
pub fn concat_channels(a: &Tensor, b: &Tensor) -> Tensor {
    if !(is_batch_innermost(a) && is_batch_innermost(b)) {
        return Tensor::cat(&[a, b], 1);
    }
    Tensor::cat(&[a.permute(INSIDE_OUT), b.permute(INSIDE_OUT)], 2).permute(OUTSIDE_IN)
}

/// Rearranges channels into squares of pixels (Shi et al. 2016): `[batch, channels * by * by, height, width]` to
/// `[batch, channels, height * by, width * by]`.
///
/// # Panics
/// When the square of `by` does not divide the channels.
pub fn pixel_shuffle(x: &Tensor, by: i64) -> Tensor {
    if by == 1 {
        return x.shallow_clone();
    }
    let &[batch, channels, height, width] = &x.size()[..] else { return x.pixel_shuffle(by) };
    if !is_batch_innermost(x) {
        return x.pixel_shuffle(by);
    }
    x.permute(INSIDE_OUT)
        .view([height, width, channels / (by * by), by, by, batch])
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([height * by, width * by, channels / (by * by), batch])
        .permute(OUTSIDE_IN)
}

/// Rearranges squares of pixels into channels: `[batch, channels, height * by, width * by]` to
/// `[batch, channels * by * by, height, width]`.
///
/// # Panics
/// When `by` does not divide the sides.
pub fn pixel_unshuffle(x: &Tensor, by: i64) -> Tensor {
    if by == 1 {
        return x.shallow_clone();
    }
    let &[batch, channels, height, width] = &x.size()[..] else { return x.pixel_unshuffle(by) };
    if !is_batch_innermost(x) {
        return x.pixel_unshuffle(by);
    }
    x.permute(INSIDE_OUT)
        .view([height / by, by, width / by, by, channels, batch])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([height / by, width / by, channels * by * by, batch])
        .permute(OUTSIDE_IN)
}

/// The pixels of each image with their channels innermost: `[batch, channels, height, width]` to a contiguous
/// `[batch, height, width, channels]`.
pub(crate) fn to_rows(x: &Tensor) -> Tensor {
    if !is_batch_innermost(x) {
        return x.permute([0, 2, 3, 1]).contiguous();
    }
    let &[batch, channels, height, width] = &x.size()[..] else { unreachable!("it has four dimensions") };
    // libtorch transposes a matrix fast.
    x.permute(INSIDE_OUT)
        .view([height * width * channels, batch])
        .transpose(0, 1)
        .contiguous()
        .view([batch, height, width, channels])
}

/// The inverse of [`to_rows`], to a map in either layout.
pub(crate) fn from_rows(x: &Tensor, batch_innermost: bool) -> Tensor {
    if !batch_innermost {
        return x.permute([0, 3, 1, 2]).contiguous();
    }
    let &[batch, height, width, channels] = &x.size()[..] else { panic!("rows of pixels, found {:?}", x.size()) };
    x.view([batch, height * width * channels])
        .transpose(0, 1)
        .contiguous()
        .view([height, width, channels, batch])
        .permute(OUTSIDE_IN)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::nn::checks::{assert_derivatives, leaf};

    fn random(size: [i64; 4]) -> [Tensor; 2] {
        let x = Tensor::randn(size, (Kind::Float, Device::Cpu));
        let innermost = gen_native::batch_innermost(&x).unwrap();
        [x, innermost]
    }

    /// The values are equal, and a batch that was innermost still is.
    fn assert_moved(got: [Tensor; 2], expected: &Tensor) {
        assert!(got.iter().all(|got| got == expected));
        assert!(is_batch_innermost(&got[1]));
    }

    #[test]
    fn values_are_rearranged_as_by_libtorch() {
        let (a, b) = (random([16, 12, 4, 6]), random([16, 4, 4, 6]));
        let both = [0, 1].map(|i| concat_channels(&a[i], &b[i]));
        assert_moved(both, &Tensor::cat(&[&a[0], &b[0]], 1));
        assert_moved([0, 1].map(|i| pixel_shuffle(&a[i], 2)), &a[0].pixel_shuffle(2));
        assert_moved([0, 1].map(|i| pixel_unshuffle(&a[i], 2)), &a[0].pixel_unshuffle(2));
        assert_moved([0, 1].map(|i| pixel_shuffle(&a[i], 1)), &a[0]);
    }

    #[test]
    fn gradients_have_gradients() {
        let x = leaf(1, &[1, 4, 2, 2]);
        assert_derivatives(&[x.shallow_clone()], || pixel_shuffle(&x, 2));
        assert_derivatives(&[x.shallow_clone()], || pixel_unshuffle(&x, 2));
    }

    #[test]
    fn rows_are_pixels_with_their_channels_innermost() {
        let x = random([17, 3, 2, 5]);
        for (x, innermost) in x.iter().zip([false, true]) {
            let rows = to_rows(x);
            assert!(rows.is_contiguous());
            assert_eq!(rows, x.permute([0, 2, 3, 1]));
            assert_eq!(from_rows(&rows, innermost), *x);
            assert_eq!(is_batch_innermost(&from_rows(&rows, innermost)), innermost);
        }
    }
}
