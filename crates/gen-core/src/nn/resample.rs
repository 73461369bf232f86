use tch::Tensor;

/// The taps of the filter along one side, which sum to 1.
const TAPS: [f64; 4] = [0.125, 0.375, 0.375, 0.125];

/// Half the sides of `x: [batch, channels, height, width]`, which are even, after a blur by [1, 3, 3, 1] along both:
/// sampling without the blur would fold high frequencies onto low ones (Zhang 2019; StyleGAN2, Karras et al. 2020).
/// Zeros lie outside the map.
///
/// # Panics
/// When `x` is no feature map.
pub fn blur_downsample2(x: &Tensor) -> Tensor {
    let channels = channels(x);
    x.conv2d(&filter(x, channels, 1.0), None::<&Tensor>, [2, 2], [1, 1], [1, 1], channels)
}

/// Twice the sides of `x: [batch, channels, height, width]`: zeros between the values, then the blur of
/// [`blur_downsample2`], which keeps the brightness.
///
/// # Panics
/// When `x` is no feature map.
pub fn blur_upsample2(x: &Tensor) -> Tensor {
    let channels = channels(x);
    let filter = filter(x, channels, 4.0);
    x.conv_transpose2d(&filter, None::<&Tensor>, [2, 2], [1, 1], [0, 0], channels, [1, 1])
}

/// Twice the sides of `x: [batch, channels, height, width]` by bilinear interpolation between the centres of pixels
/// (PyTorch's `align_corners=False`).
///
/// # Panics
/// When `x` is no feature map.
pub fn bilinear_upsample2(x: &Tensor) -> Tensor {
    let [_, _, height, width] = x.size()[..] else { panic!("a feature map is needed, found {:?}", x.size()) };
    x.upsample_bilinear2d([2 * height, 2 * width], false, None, None)
}

fn channels(x: &Tensor) -> i64 {
    let [_, channels, _, _] = x.size()[..] else { panic!("a feature map is needed, found {:?}", x.size()) };
    channels
}

/// The filter of every channel, `[channels, 1, 4, 4]`, whose entries sum to `gain`.
fn filter(x: &Tensor, channels: i64, gain: f64) -> Tensor {
    let taps = Tensor::from_slice(&TAPS);
    let square = (taps.unsqueeze(1) * taps.unsqueeze(0) * gain).to_kind(x.kind()).to_device(x.device());
    square.expand([channels, 1, 4, 4], false).contiguous()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::testing::{assert_close, assert_gradient, assert_penalty_gradient};

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn one_pixel_spreads_over_the_filter() {
        let pixel = Tensor::zeros([1, 1, 4, 4], F64);
        let _ = pixel.get(0).get(0).get(1).get(1).fill_(64.0);
        // Taps 1, 3, 3, 1 in both directions, over 64 and times 4, around the pixel's own place.
        let row = Tensor::from_slice(&[0.0, 1.0, 3.0, 3.0, 1.0, 0.0, 0.0, 0.0]);
        let expected = row.unsqueeze(1) * row.unsqueeze(0) * 4.0;
        assert_close(&blur_upsample2(&pixel).squeeze(), &expected, 1e-12, 1e-12);
        let expected = Tensor::from_slice(&[9.0, 3.0, 3.0, 1.0]).view([2, 2]);
        assert_close(&blur_downsample2(&pixel).squeeze(), &expected, 1e-12, 1e-12);
    }

    #[test]
    fn a_constant_keeps_its_brightness_inside() {
        let x = Tensor::full([2, 3, 6, 8], 5.0, F64);
        let inside = |x: Tensor| x.narrow(2, 1, x.size()[2] - 2).narrow(3, 1, x.size()[3] - 2);
        for (y, size) in [(blur_upsample2(&x), [2, 3, 12, 16]), (blur_downsample2(&x), [2, 3, 3, 4])] {
            assert_eq!(y.size(), size);
            let inside = inside(y);
            assert_close(&inside, &inside.full_like(5.0), 1e-12, 1e-12);
        }
        assert_close(&bilinear_upsample2(&x), &Tensor::full([2, 3, 12, 16], 5.0, F64), 1e-12, 1e-12);
    }

    #[test]
    fn bilinear_values_lie_between_their_neighbours() {
        // torch.nn.functional.interpolate(torch.tensor([[[[0., 4.]]]]), scale_factor=2, mode="bilinear")[0, 0, 0]
        let x = Tensor::from_slice(&[0.0, 4.0]).view([1, 1, 1, 2]);
        let row = bilinear_upsample2(&x).select(2, 0).squeeze();
        assert_close(&row, &Tensor::from_slice(&[0.0, 1.0, 3.0, 4.0]), 1e-12, 1e-12);
    }

    #[test]
    fn gradients_and_those_of_penalties_are_right() {
        tch::manual_seed(0);
        let (x, w) = (Tensor::randn([2, 2, 4, 4], F64), Tensor::randn([2], F64));
        for resample in [blur_downsample2, blur_upsample2, bilinear_upsample2] {
            assert_gradient(|x| resample(x).sin().sum(Kind::Double), &x, 1e-7);
            assert_penalty_gradient(|x, w| (resample(x) * w.view([2, 1, 1])).tanh(), &x, &w, 1e-6);
        }
    }
}
