//! A picture to draw on.

use image::{Rgb, RgbImage, imageops};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

pub(crate) const WHITE: Rgb<u8> = Rgb([255; 3]);
/// Text and frames.
pub(crate) const INK: Rgb<u8> = Rgb([40, 44, 52]);
/// What should not draw attention.
pub(crate) const FAINT: Rgb<u8> = Rgb([200, 203, 209]);

const WEIGHT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;
/// The height of a line of text, in pixels.
pub(crate) const TEXT_HEIGHT: u32 = SIZE.val() as u32;

/// How wide a text is drawn, in pixels.
pub(crate) fn text_width(text: &str) -> u32 {
    text.chars().count() as u32 * get_raster_width(WEIGHT, SIZE) as u32
}

/// White at first; what is drawn outside is cut off.
pub(crate) struct Canvas(RgbImage);

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Canvas(RgbImage::from_pixel(width, height, WHITE))
    }

    pub(crate) fn into_image(self) -> RgbImage {
        self.0
    }

    /// Mixes one pixel with `colour`; a weight of 1 replaces it.
    fn blend(&mut self, x: i64, y: i64, colour: Rgb<u8>, weight: f64) {
        let (width, height) = self.0.dimensions();
        if x < 0 || y < 0 || x >= i64::from(width) || y >= i64::from(height) {
            return;
        }
        let pixel = self.0.get_pixel_mut(x as u32, y as u32);
        for (old, new) in pixel.0.iter_mut().zip(colour.0) {
            *old = (f64::from(*old) + weight * (f64::from(new) - f64::from(*old))).round() as u8;
        }
    }

    pub(crate) fn paste(&mut self, tile: &RgbImage, x: u32, y: u32) {
        imageops::replace(&mut self.0, tile, x.into(), y.into());
    }

    pub(crate) fn fill(&mut self, [x, y, width, height]: [u32; 4], colour: Rgb<u8>) {
        for v in y..y + height {
            for u in x..x + width {
                self.blend(u.into(), v.into(), colour, 1.0);
            }
        }
    }

    /// A frame `thickness` pixels wide around a rectangle, outside of it.
    pub(crate) fn frame(&mut self, [x, y, width, height]: [u32; 4], thickness: u32, colour: Rgb<u8>) {
        let (outer_x, outer_y) = (x.saturating_sub(thickness), y.saturating_sub(thickness));
        let (outer_width, outer_height) = (width + 2 * thickness, height + 2 * thickness);
        self.fill([outer_x, outer_y, outer_width, thickness], colour);
        self.fill([outer_x, y + height, outer_width, thickness], colour);
        self.fill([outer_x, outer_y, thickness, outer_height], colour);
        self.fill([x + width, outer_y, thickness, outer_height], colour);
    }

    /// Text whose upper left corner is at (x, y). A letter that the font lacks is a question mark.
    pub(crate) fn text(&mut self, text: &str, x: i64, y: i64, colour: Rgb<u8>) {
        let advance = get_raster_width(WEIGHT, SIZE) as i64;
        for (i, letter) in text.chars().enumerate() {
            let raster = get_raster(letter, WEIGHT, SIZE).or_else(|| get_raster('?', WEIGHT, SIZE));
            let Some(raster) = raster else { continue };
            for (v, row) in raster.rows().enumerate() {
                for (u, intensity) in row.iter().enumerate() {
                    let weight = f64::from(*intensity) / 255.0;
                    self.blend(x + i as i64 * advance + u as i64, y + v as i64, colour, weight);
                }
            }
        }
    }

    /// Text around the middle `x`.
    pub(crate) fn text_centred(&mut self, text: &str, x: i64, y: i64, colour: Rgb<u8>) {
        self.text(text, x - i64::from(text_width(text)) / 2, y, colour);
    }

    /// Text that ends at `x`.
    pub(crate) fn text_to(&mut self, text: &str, x: i64, y: i64, colour: Rgb<u8>) {
        self.text(text, x - i64::from(text_width(text)), y, colour);
    }

    /// A round dot with a soft edge.
    pub(crate) fn dot(&mut self, [x, y]: [f64; 2], radius: f64, colour: Rgb<u8>, weight: f64) {
        let reach = radius.ceil() as i64 + 1;
        let (middle_x, middle_y) = (x.floor() as i64, y.floor() as i64);
        for v in middle_y - reach..=middle_y + reach {
            for u in middle_x - reach..=middle_x + reach {
                let distance = (u as f64 + 0.5 - x).hypot(v as f64 + 0.5 - y);
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                if cover > 0.0 {
                    self.blend(u, v, colour, cover * weight);
                }
            }
        }
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: [f64; 2], to: [f64; 2], radius: f64, colour: Rgb<u8>) {
        let steps = ((to[0] - from[0]).hypot(to[1] - from[1]).ceil() as usize * 2).clamp(1, 10_000);
        for i in 0..=steps {
            let f = i as f64 / steps as f64;
            self.dot([0, 1].map(|axis| from[axis] + f * (to[axis] - from[axis])), radius, colour, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_cut_off() {
        let mut canvas = Canvas::new(20, 20);
        canvas.text("far too long for this", -5, 10, INK);
        canvas.dot([-1.0, 25.0], 4.0, INK, 1.0);
        canvas.line([-50.0, -50.0], [50.0, 50.0], 1.0, INK);
        canvas.frame([1, 1, 30, 30], 3, INK);
        let image = canvas.into_image();
        assert_eq!(image.dimensions(), (20, 20));
        assert_eq!(*image.get_pixel(8, 8), INK);
    }

    #[test]
    fn a_frame_leaves_what_it_frames() {
        let mut canvas = Canvas::new(10, 10);
        canvas.frame([3, 3, 4, 4], 2, INK);
        let image = canvas.into_image();
        let inked = image.pixels().filter(|pixel| **pixel == INK).count();
        assert_eq!(inked, 8 * 8 - 4 * 4);
        assert_eq!(*image.get_pixel(3, 3), WHITE);
    }

    #[test]
    fn text_is_as_wide_as_it_says() {
        let mut canvas = Canvas::new(100, TEXT_HEIGHT);
        canvas.text("MM", 0, 0, INK);
        let image = canvas.into_image();
        let right = image.enumerate_pixels().filter(|(_, _, p)| **p != WHITE).map(|(x, _, _)| x).max();
        assert!(right.is_some_and(|x| x < text_width("MM") && x + 4 > text_width("MM")), "{right:?}");
    }
}
