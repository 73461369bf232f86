//! Augmentations for the training of feature networks. All take `x: f32 [n, channels, height, width]` in [-1, 1], where
//! -1 is black, and draw from `rng`.

use tch::{Kind, Tensor};

use gen_core::rng::Generator;

/// A uniform number in [low, high] per image: `[n, 1, 1, 1]`.
pub(super) fn each(x: &Tensor, low: f64, high: f64, rng: &Generator) -> Tensor {
    rng.rand([x.size()[0], 1, 1, 1], (Kind::Float, x.device())) * (high - low) + low
}

/// Images shifted by up to `most` pixels in both directions; pixels from outside are black.
pub(super) fn shifted(x: &Tensor, most: i64, rng: &Generator) -> Tensor {
    if most == 0 {
        return x.shallow_clone();
    }
    let [n, channels, height, width] = sides(x);
    let indices = |side: i64, shape: [i64; 4]| {
        let options = (Kind::Int64, x.device());
        let start = rng.randint(0, 2 * most + 1, [n, 1], options);
        (start + Tensor::arange(side, options)).view(shape)
    };
    let rows = indices(height, [n, 1, height, 1]).expand([n, channels, height, width + 2 * most], false);
    let columns = indices(width, [n, 1, 1, width]).expand([n, channels, height, width], false);
    x.pad([most, most, most, most], "constant", -1.0).gather(2, &rows, false).gather(3, &columns, false)
}

/// Adds flaws that do not change what an image shows to the first `share` of the images: half are blurred, half have a
/// little noise. Widths of the blur are uniform in [0.1, `blur`] pixels, standard deviations of the noise in [0,
/// `noise`].
pub(super) fn flawed(x: &Tensor, share: f64, blur: f64, noise: f64, rng: &Generator) -> Tensor {
    let n = x.size()[0];
    let flaws = (n as f64 * share).round() as i64;
    if flaws == 0 {
        return x.shallow_clone();
    }
    let (soft, rough) = (flaws / 2, flaws - flaws / 2);
    let parts = x.split_with_sizes([soft, rough, n - flaws], 0);
    let soft = blurred(&parts[0], &each(&parts[0], 0.1, blur, rng));
    let rough = &parts[1] + rng.randn_like(&parts[1]) * each(&parts[1], 0.0, noise, rng);
    Tensor::cat(&[soft, rough.clamp(-1.0, 1.0), parts[2].shallow_clone()], 0)
}

/// Gives the last `share` of the images a texture: their brightness is multiplied by stripes, checks or speckles, a
/// third each. Stripes have a period of 2 to 5 pixels and any direction. Black pixels stay black.
pub(super) fn patterned(x: &Tensor, share: f64, rng: &Generator) -> Tensor {
    let [n, channels, height, width] = sides(x);
    let count = (n as f64 * share).round() as i64;
    if count == 0 {
        return x.shallow_clone();
    }
    let mut parts = vec![x.narrow(0, 0, n - count)];
    for (kind, part) in x.narrow(0, n - count, count).chunk(3, 0).iter().enumerate() {
        let pattern = match kind {
            0 => waves(part, rng).0,
            1 => {
                let (one, other) = waves(part, rng);
                one * other
            }
            _ => rng.rand([part.size()[0], 1, height, width], (Kind::Float, x.device())),
        };
        let depth = each(part, 0.0, 1.0, rng);
        let light: Tensor = 1.0 - depth * (1.0 - pattern);
        parts.push((part + 1.0) * light.expand([-1, channels, -1, -1], false) - 1.0);
    }
    Tensor::cat(&parts, 0)
}

/// Stripes in [0, 1] of random direction, period and sharpness, and stripes across them: `[n, 1, height, width]` each.
fn waves(x: &Tensor, rng: &Generator) -> (Tensor, Tensor) {
    use std::f64::consts::{PI, TAU};
    let [_, _, height, width] = sides(x);
    let at = |side: i64, shape: [i64; 4]| Tensor::arange(side, (Kind::Float, x.device())).view(shape);
    let (down, right) = (at(height, [1, 1, height, 1]), at(width, [1, 1, 1, width]));
    let angle = each(x, 0.0, PI, rng);
    let frequency = each(x, TAU / 5.0, PI, rng);
    let sharpness = each(x, 0.5, 3.0, rng);
    let wave = |along: Tensor| {
        let phase = each(x, 0.0, TAU, rng);
        ((along * &frequency + phase).sin() * &sharpness + 0.5).clamp(0.0, 1.0)
    };
    let (cos, sin) = (angle.cos(), angle.sin());
    (wave(&right * &cos + &down * &sin), wave(&down * cos - &right * sin))
}

/// Images `f32 [n, channels, height, width]` in [-1, 1] under Gaussian blurs of width `sigma: f32 [n, 1, 1, 1]` in
/// pixels, above 0. Pixels outside count as black.
///
/// # Panics
/// When `x` or `sigma` has another shape.
pub fn blurred(x: &Tensor, sigma: &Tensor) -> Tensor {
    let [_, _, height, width] = sides(x);
    // A blur along one axis is a product with a matrix.
    let along = |side: i64| {
        let at = Tensor::arange(side, (Kind::Float, x.device()));
        let weight = |squares: Tensor| (squares / (sigma.square() * -2.0)).exp();
        let between = (at.unsqueeze(1) - at.unsqueeze(0)).square().view([1, 1, side, side]);
        // The sum of the weights without a border.
        let reach = Tensor::arange_start(-side, side + 1, (Kind::Float, x.device())).square();
        let total = weight(reach.view([1, 1, 1, -1])).sum_dim_intlist([3i64].as_slice(), true, Kind::Float);
        weight(between) / total
    };
    along(height).matmul(&(x + 1.0)).matmul(&along(width)) - 1.0
}

/// Ranges of the random views of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Views {
    /// Largest shift in both directions, in pixels; fractions occur.
    pub shift: f64,
    /// Largest difference of the scale factor from 1.
    pub zoom: f64,
    /// Largest rotation in degrees.
    pub turn: f64,
    /// Largest difference of the factor of brightness from 1.
    pub contrast: f64,
    /// Whether half of the views are mirrored.
    pub flip: bool,
}

/// A random view of each image.
pub(super) fn viewed(x: &Tensor, views: &Views, rng: &Generator) -> Tensor {
    let [n, _, height, width] = sides(x);
    let options = (Kind::Float, x.device());
    let around_zero = |most: f64| (rng.rand([n], options) * 2.0 - 1.0) * most;
    let zoom = around_zero(views.zoom) + 1.0;
    let turn = around_zero(views.turn.to_radians());
    let (right, down) = (around_zero(views.shift * 2.0 / width as f64), around_zero(views.shift * 2.0 / height as f64));
    let mirror = match views.flip {
        true => rng.randint(0, 2, [n], (Kind::Int64, x.device())).to_kind(Kind::Float) * 2.0 - 1.0,
        false => Tensor::ones([n], options),
    };
    let (cos, sin) = (&zoom * turn.cos(), &zoom * turn.sin());
    let rows = [Tensor::stack(&[&cos * &mirror, -&sin, right], 1), Tensor::stack(&[&sin * &mirror, cos, down], 1)];
    let grid = Tensor::affine_grid_generator(&Tensor::stack(&rows, 1), x.size(), false);
    // The sampler fills with 0, so black is moved to 0.
    let moved = (x + 1.0).grid_sampler(&grid, 0, 0, false);
    let factor = each(x, 1.0 - views.contrast, 1.0 + views.contrast, rng);
    (moved * factor - 1.0).clamp(-1.0, 1.0)
}

fn sides(x: &Tensor) -> [i64; 4] {
    match x.size()[..] {
        [n, channels, height, width] => [n, channels, height, width],
        ref other => panic!("images have four dimensions, found {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::testing::assert_close;

    fn images(n: i64, side: i64) -> Tensor {
        let i = Tensor::arange(n * side * side, (Kind::Float, Device::Cpu));
        ((&i * &i * 0.37).sin() * 0.9).view([n, 1, side, side])
    }

    #[test]
    fn shifting_moves_whole_images() {
        let x = Tensor::full([64, 1, 5, 4], -1.0, (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 2, 1).narrow(3, 2, 1).fill_(1.0);
        let moved = shifted(&x, 1, &Generator::seeded(3));
        let bright = moved.gt(0.0);
        assert_eq!(
            bright
                .sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Int64)
                .unique_consecutive(false, false, None)
                .0,
            Tensor::from_slice(&[1i64])
        );
        let seen = bright.any_dim(0, false);
        assert_eq!(seen.sum(Kind::Int64).int64_value(&[]), 9);
    }

    /// A bright pixel becomes the product of two Gaussians, and its light stays.
    #[test]
    fn a_blurred_pixel_is_a_gaussian() {
        let x = Tensor::full([2, 1, 15, 13], -1.0, (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 7, 1).narrow(3, 6, 1).fill_(1.0);
        let sigma = Tensor::from_slice(&[0.6f32, 1.1]).view([2, 1, 1, 1]);
        let light = (blurred(&x, &sigma) + 1.0) / 2.0;
        for (image, sigma) in [(0, 0.6f64), (1, 1.1)] {
            let at = |row: i64, column: i64| light.double_value(&[image, 0, row, column]);
            for (row, column) in [(7, 7), (8, 6), (9, 5), (6, 8)] {
                let squares = ((row - 7) * (row - 7) + (column - 6) * (column - 6)) as f64;
                let expected = (-squares / (2.0 * sigma * sigma)).exp();
                assert!((at(row, column) / at(7, 6) - expected).abs() < 1e-5, "{row} {column}");
            }
            let total = light.get(image).sum(Kind::Double).double_value(&[]);
            assert!((total - 1.0).abs() < 1e-4, "{total}");
        }
    }

    #[test]
    fn the_share_that_is_flawed_is_the_first() {
        let x = images(40, 8);
        let made = flawed(&x, 0.25, 1.0, 0.1, &Generator::seeded(1));
        let changed = (&made - &x).abs().amax([1i64, 2, 3].as_slice(), false).gt(1e-3);
        assert_eq!(changed.narrow(0, 10, 30).sum(Kind::Int64).int64_value(&[]), 0);
        assert!(changed.narrow(0, 0, 10).sum(Kind::Int64).int64_value(&[]) > 7, "{changed}");
        assert!(made.abs().max().double_value(&[]) <= 1.0);
        assert_eq!(flawed(&x, 0.0, 1.0, 0.1, &Generator::seeded(1)), x);
    }

    #[test]
    fn the_share_that_has_a_pattern_is_the_last_and_gets_darker() {
        let x = images(40, 12);
        let made = patterned(&x, 0.75, &Generator::seeded(1));
        assert_eq!(made.narrow(0, 0, 10), x.narrow(0, 0, 10));
        let darker = (&x - &made).amax([1i64, 2, 3].as_slice(), false).gt(0.01);
        assert!(darker.narrow(0, 10, 30).sum(Kind::Int64).int64_value(&[]) > 26, "{darker}");
        assert!((&x - &made).min().double_value(&[]) > -1e-6);
        assert!(made.min().double_value(&[]) >= -1.0);
        let black = Tensor::full([6, 3, 8, 8], -1.0, (Kind::Float, Device::Cpu));
        assert_eq!(patterned(&black, 1.0, &Generator::seeded(1)), black);
        assert_eq!(patterned(&x, 0.0, &Generator::seeded(1)), x);
    }

    /// Along some direction the light repeats itself after 2 to 5 pixels, and across it does not change.
    #[test]
    fn waves_have_the_stated_periods() {
        let x = images(64, 40);
        let stripes = waves(&x, &Generator::seeded(2)).0;
        assert!(stripes.min().double_value(&[]) >= 0.0 && stripes.max().double_value(&[]) <= 1.0);
        let light = &stripes - stripes.mean_dim([2i64, 3].as_slice(), true, Kind::Float);
        let power = light.squeeze_dim(1).fft_fft2(None::<&[i64]>, [-2, -1], "backward").abs().square();
        let strongest = Vec::<i64>::try_from(power.flatten(1, 2).argmax(1, false)).unwrap();
        for at in strongest {
            let frequency = |k: i64| k.min(40 - k) as f64 / 40.0;
            let period = 1.0 / frequency(at / 40).hypot(frequency(at % 40));
            assert!((1.8..5.7).contains(&period), "{period}");
        }
    }

    #[test]
    fn a_view_without_change_is_the_image_and_a_mirrored_one_its_mirror() {
        let x = images(32, 9);
        let still = Views { shift: 0.0, zoom: 0.0, turn: 0.0, contrast: 0.0, flip: false };
        assert_close(&viewed(&x, &still, &Generator::seeded(2)), &x, 1e-5, 1e-5);
        let flipped = viewed(&x, &Views { flip: true, ..still }, &Generator::seeded(2));
        let same = |other: &Tensor| {
            (&flipped - other).abs().amax([1i64, 2, 3].as_slice(), false).lt(1e-4).sum(Kind::Int64).int64_value(&[])
        };
        let (kept, mirrored) = (same(&x), same(&x.flip([3])));
        assert!(kept > 8 && mirrored > 8 && kept + mirrored == 32, "{kept} {mirrored}");
    }

    /// A shift of one pixel by the sampler is that by the index.
    #[test]
    fn views_move_by_up_to_the_shift() {
        let x = Tensor::full([200, 1, 9, 9], -1.0, (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 4, 1).narrow(3, 4, 1).fill_(1.0);
        let views = Views { shift: 2.0, zoom: 0.0, turn: 0.0, contrast: 0.0, flip: false };
        let light = viewed(&x, &views, &Generator::seeded(4)) + 1.0;
        let seen = light.amax([0i64].as_slice(), false).gt(0.3);
        assert!(!bool::try_from(seen.narrow(1, 0, 2).any()).unwrap());
        assert_eq!(seen.narrow(1, 2, 5).narrow(2, 2, 5).sum(Kind::Int64).int64_value(&[]), 25);
    }
}
