use tch::Tensor;

/// The taps of StyleGAN2's low-pass filter, [1, 3, 3, 1] / 8 (Karras et al. 2020, following Zhang 2019).
pub const BLUR: [f64; 4] = [0.125, 0.375, 0.375, 0.125];

/// Resizes `x: [batch, channels, h, w]` to `[batch, channels, height, width]` by linear interpolation along both sides.
///
/// The centre of pixel `i` of the result lies at `(i + ½) h / height - ½` of `x`, and beyond the centres of the border
/// pixels the value stays: PyTorch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing, so that
/// sizes below half of the input's skip pixels. Differentiable any number of times.
pub fn resize_bilinear(x: &Tensor, [height, width]: [i64; 2]) -> Tensor {
    x.upsample_bilinear2d([height, width], false, None, None)
}

/// [`resize_bilinear`] to sides `by` times as long.
///
/// # Panics
/// When `x` is not `[batch, channels, height, width]`.
pub fn upsample_bilinear(x: &Tensor, by: i64) -> Tensor {
    let [_, _, height, width] = sizes(x);
    resize_bilinear(x, [height * by, width * by])
}

/// Averages squares of `by` by `by` pixels: `[batch, channels, height, width]` to `[batch, channels, height / by, width
/// / by]`. For `by` 2 this is [`resize_bilinear`] to half the sides. Differentiable any number of times.
///
/// # Panics
/// When `by` does not divide the sides.
pub fn downsample_average(x: &Tensor, by: i64) -> Tensor {
    let [_, _, height, width] = sizes(x);
    assert!(height % by == 0 && width % by == 0, "squares of {by} do not divide {height} x {width} pixels");
    x.avg_pool2d([by, by], [by, by], [0, 0], false, true, None)
}

/// Inserts `up - 1` zeros after each pixel, pads by `[before, after]` zeros along both sides (negative numbers cut
/// off), convolves rows and columns with `taps`, and keeps each `down`-th pixel: StyleGAN2's `upfirdn2d` with a
/// separable filter. `[batch, channels, height, width]` to `[batch, channels, (height up + before + after - taps) /
/// down + 1, ...]`.
///
/// A filter that makes more pixels needs taps with the sum `up`. [`blur_upsample`] and [`blur_downsample`] have the
/// paddings that keep images in place. Differentiable any number of times.
///
/// # Panics
/// When `x` has other dimensions, a factor is below 1, or the result would have no pixel.
pub fn upfirdn2d(x: &Tensor, taps: &[f64], up: i64, down: i64, [before, after]: [i64; 2]) -> Tensor {
    let [batch, channels, height, width] = sizes(x);
    let spread = if up == 1 {
        x.reshape([batch * channels, 1, height, width])
    } else {
        x.reshape([batch * channels, 1, height, 1, width, 1]).constant_pad_nd([0, up - 1, 0, 0, 0, up - 1]).view([
            batch * channels,
            1,
            height * up,
            width * up,
        ])
    };
    let padded = spread.constant_pad_nd([before, after, before, after]);
    let blurred = filter(&padded, taps, down);
    let [_, _, height, width] = sizes(&blurred);
    blurred.reshape([batch, channels, height, width])
}

/// Doubles the sides of `x: [batch, channels, height, width]`, with a filter whose taps have the sum 1 (Karras et al.
/// 2020; [`BLUR`] is theirs). Outside the image are zeros.
///
/// # Panics
/// When `x` has other dimensions, or there are no taps.
pub fn blur_upsample(x: &Tensor, taps: &[f64]) -> Tensor {
    let length = count(taps);
    let doubled: Vec<f64> = taps.iter().map(|tap| 2.0 * tap).collect();
    upfirdn2d(x, &doubled, 2, 1, [(length + 1) / 2, (length - 2).div_euclid(2)])
}

/// Halves the sides of `x: [batch, channels, height, width]`, with a filter whose taps have the sum 1 (Karras et al.
/// 2020; [`BLUR`] is theirs). Outside the image are zeros; [`blur_pool`] reflects it.
///
/// # Panics
/// When `x` has other dimensions, or there are no taps.
pub fn blur_downsample(x: &Tensor, taps: &[f64]) -> Tensor {
    let length = count(taps);
    upfirdn2d(x, taps, 1, 2, [(length - 1) / 2, (length - 2).div_euclid(2)])
}

/// Blurs with the image reflected at its borders and keeps each `stride`-th pixel (Zhang 2019, section 3.2): `[batch,
/// channels, height, width]` to `[batch, channels, ⌈height / stride⌉, ⌈width / stride⌉]`. The taps have the sum 1.
///
/// After a convolution or a maximum of stride 1, it takes the place of their stride.
///
/// # Panics
/// When `x` has other dimensions, a side is not longer than half of the taps, or there are no taps.
pub fn blur_pool(x: &Tensor, taps: &[f64], stride: i64) -> Tensor {
    let [batch, channels, height, width] = sizes(x);
    let length = count(taps);
    let (before, after) = ((length - 1) / 2, length / 2);
    let padded = x.reshape([batch * channels, 1, height, width]).reflection_pad2d([before, after, before, after]);
    let blurred = filter(&padded, taps, stride);
    let [_, _, height, width] = sizes(&blurred);
    blurred.reshape([batch, channels, height, width])
}

/// Convolves `x: [maps, 1, height, width]` with `taps` along both sides.
fn filter(x: &Tensor, taps: &[f64], stride: i64) -> Tensor {
    let length = count(taps);
    // libtorch's convolution is a correlation.
    let reversed: Vec<f64> = taps.iter().rev().copied().collect();
    let taps = Tensor::from_slice(&reversed).to_kind(x.kind()).to_device(x.device());
    let along = |x: &Tensor, shape: [i64; 4], stride: [i64; 2]| {
        x.conv2d(&taps.view(shape), None::<&Tensor>, stride, [0, 0], [1, 1], 1)
    };
    let columns = along(x, [1, 1, length, 1], [stride, 1]);
    along(&columns, [1, 1, 1, length], [1, stride])
}

fn count(taps: &[f64]) -> i64 {
    assert!(!taps.is_empty(), "a filter needs taps");
    taps.len() as i64
}

fn sizes(x: &Tensor) -> [i64; 4] {
    x.size4().map_or_else(|_| panic!("a feature map has four dimensions, found {:?}", x.size()), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, leaf};
    use crate::testing::assert_close;

    /// Asymmetric, so that a filter the wrong way round is seen.
    const TAPS: [f64; 3] = [0.5, 0.3, 0.2];

    #[test]
    fn images_are_resampled_as_by_pytorch_and_stylegan2() {
        let golden = Golden::of("resample");
        let x = golden.get("x");
        golden.check("bilinear to 7 x 3", &resize_bilinear(&x, [7, 3]));
        golden.check("bilinear by 2", &upsample_bilinear(&x, 2));
        golden.check("average", &downsample_average(&x, 2));
        assert_close(&downsample_average(&x, 2), &resize_bilinear(&x, [2, 3]), 1e-12, 1e-12);
        golden.check("upfirdn", &upfirdn2d(&x, &TAPS, 3, 2, [-1, 2]));
        golden.check("up", &blur_upsample(&x, &BLUR));
        golden.check("down", &blur_downsample(&x, &BLUR));
        golden.check("pool", &blur_pool(&x, &TAPS, 2));
        golden.check("pool by 4 taps", &blur_pool(&x, &BLUR, 2));
    }

    /// Away from the border.
    #[test]
    fn a_constant_image_stays_constant() {
        let x = Tensor::ones([1, 1, 8, 8], (tch::Kind::Double, tch::Device::Cpu));
        for y in [blur_upsample(&x, &BLUR), blur_downsample(&x, &BLUR)] {
            let inside = y.narrow(2, 2, y.size()[2] - 4).narrow(3, 2, y.size()[3] - 4);
            assert_close(&inside, &inside.ones_like(), 1e-12, 0.0);
        }
        let pooled = blur_pool(&x, &BLUR, 2);
        assert_close(&pooled, &pooled.ones_like(), 1e-12, 0.0);
    }

    #[test]
    fn gradients_have_gradients() {
        let x = leaf(1, &[1, 2, 4, 4]);
        let all = [x.shallow_clone()];
        assert_derivatives(&all, || resize_bilinear(&x, [7, 3]));
        assert_derivatives(&all, || downsample_average(&x, 2));
        assert_derivatives(&all, || upfirdn2d(&x, &TAPS, 3, 2, [-1, 2]));
        assert_derivatives(&all, || blur_upsample(&x, &BLUR));
        assert_derivatives(&all, || blur_downsample(&x, &BLUR));
        assert_derivatives(&all, || blur_pool(&x, &BLUR, 2));
    }
}
