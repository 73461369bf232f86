//! Feature maps, which lie as their convolutions left them: batch-innermost or as libtorch's do.
//!
//! Operations on single values keep either. What moves values from one place to another is here, since libtorch's own
//! operations take long detours to a batch that is innermost.

use gen_native::is_batch_innermost;
use tch::Tensor;

/// `[batch, channels, height, width]` seen as `[height, width, channels, batch]`, and back from it.
///
/// It moves nothing; a batch-innermost map is contiguous then.
const INSIDE_OUT: [i64; 4] = [2, 3, 1, 0];
const OUTSIDE_IN: [i64; 4] = [3, 2, 0, 1];

/// The channels of two feature maps beside each other: `[batch, a, height, width]` and `[batch, b, height, width]` to
/// `[batch, a + b, height, width]`.
///
/// # Panics
/// When other sides than the channels differ.
pub fn concat_channels(a: &Tensor, b: &Tensor) -> Tensor {
    if !(is_batch_innermost(a) && is_batch_innermost(b)) {
        return Tensor::cat(&[a, b], 1);
    }
    Tensor::cat(&[a.permute(INSIDE_OUT), b.permute(INSIDE_OUT)], 2).permute(OUTSIDE_IN)
}

/// Channels to squares of pixels (Shi et al. 2016): `[batch, channels * by * by, height, width]` to
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

/// Squares of pixels to channels: `[batch, channels, height * by, width * by]` to
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

/// The values of each image beside each other, the channels innermost: `[batch, channels, height, width]` to
/// `[batch, height, width, channels]`, which is contiguous.
pub(crate) fn to_rows(x: &Tensor) -> Tensor {
    if !is_batch_innermost(x) {
        return x.permute([0, 2, 3, 1]).contiguous();
    }
    let &[batch, channels, height, width] = &x.size()[..] else { unreachable!("it has four dimensions") };
    // Of a matrix libtorch knows how to turn it over.
    x.permute(INSIDE_OUT)
        .view([height * width * channels, batch])
        .transpose(0, 1)
        .contiguous()
        .view([batch, height, width, channels])
}

/// Back from [`to_rows`], to a map that is batch-innermost or not.
pub(crate) fn from_rows(x: &Tensor, batch_innermost: bool) -> Tensor {
    if !batch_innermost {
        return x.permute([0, 3, 1, 2]).contiguous();
    }
    let &[batch, height, width, channels] = &x.size()[..] else {
        panic!("rows of pixels, found {:?}", x.size())
    };
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

    fn random(size: [i64; 4]) -> [Tensor; 2] {
        let x = Tensor::randn(size, (Kind::Float, Device::Cpu));
        let innermost = gen_native::batch_innermost(&x).unwrap();
        [x, innermost]
    }

    /// The same values, and, where the batch was innermost, it still is.
    fn assert_moved(got: [Tensor; 2], expected: &Tensor) {
        assert!(got.iter().all(|got| got == expected));
        assert!(is_batch_innermost(&got[1]));
    }

    #[test]
    fn values_move_as_libtorch_moves_them() {
        let (a, b) = (random([16, 12, 4, 6]), random([16, 4, 4, 6]));
        let both = [0, 1].map(|i| concat_channels(&a[i], &b[i]));
        assert_moved(both, &Tensor::cat(&[&a[0], &b[0]], 1));
        assert_moved([0, 1].map(|i| pixel_shuffle(&a[i], 2)), &a[0].pixel_shuffle(2));
        assert_moved([0, 1].map(|i| pixel_unshuffle(&a[i], 2)), &a[0].pixel_unshuffle(2));
        assert_moved([0, 1].map(|i| pixel_shuffle(&a[i], 1)), &a[0]);
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
