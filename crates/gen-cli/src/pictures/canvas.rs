//! A picture to draw on.

use gen_report::svg::{self, Anchor, Svg};
use image::{DynamicImage, Rgb, RgbImage, imageops};

/// What stands out from all colours of classes.
pub(crate) const INK: Rgb<u8> = Rgb([40, 44, 52]);
/// What should not draw attention.
pub(crate) const FAINT: Rgb<u8> = Rgb([200, 203, 209]);
/// The height of a line of text, in pixels.
pub(crate) const TEXT_HEIGHT: u32 = 16;

/// How wide a text is drawn, in pixels, about.
pub(crate) fn text_width(text: &str) -> u32 {
    svg::text_width(text).ceil() as u32
}

/// A white picture.
pub(crate) fn blank(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb([255; 3]))
}

/// Puts a tile where its upper left corner is at (x, y).
pub(crate) fn paste(picture: &mut RgbImage, tile: &RgbImage, x: u32, y: u32) {
    imageops::replace(picture, tile, x.into(), y.into());
}

/// A white picture with tiles of pixels, and a drawing over them. Whatever lies outside is cut off.
pub(crate) struct Canvas {
    tiles: RgbImage,
    pub(crate) drawing: Svg,
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Canvas { tiles: blank(width, height), drawing: Svg::new() }
    }

    /// The picture; an error if the drawing is not valid.
    pub(crate) fn into_image(self) -> anyhow::Result<RgbImage> {
        let mut picture = DynamicImage::ImageRgb8(self.tiles).into_rgba8();
        let (width, height) = picture.dimensions();
        self.drawing.draw_over(&mut picture, width, height).map_err(anyhow::Error::msg)?;
        Ok(DynamicImage::ImageRgba8(picture).into_rgb8())
    }

    pub(crate) fn paste(&mut self, tile: &RgbImage, x: u32, y: u32) {
        paste(&mut self.tiles, tile, x, y);
    }

    /// A frame `thickness` pixels wide around a rectangle, outside of it.
    pub(crate) fn frame(&mut self, rectangle: [u32; 4], thickness: u32, colour: Rgb<u8>) {
        self.drawing.frame(rectangle.map(f64::from), thickness.into(), colour.0);
    }

    /// A line of text whose upper end is at `y`.
    pub(crate) fn text(&mut self, anchor: Anchor, text: &str, x: u32, y: u32) {
        self.styled("tick", anchor, text, x, y);
    }

    /// The same, in bold letters.
    pub(crate) fn title(&mut self, anchor: Anchor, text: &str, x: u32, y: u32) {
        self.styled("name", anchor, text, x, y);
    }

    fn styled(&mut self, class: &str, anchor: Anchor, text: &str, x: u32, y: u32) {
        self.drawing.text(class, (x.into(), f64::from(y) + 12.0), anchor, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_below_the_drawing_and_what_lies_outside_is_cut_off() {
        let mut canvas = Canvas::new(20, 20);
        canvas.paste(&RgbImage::from_pixel(4, 4, INK), 18, 2);
        canvas.text(Anchor::Start, "far too long for this", 5, 10);
        canvas.drawing.dot((-1.0, 25.0), 4.0, INK.0, 1.0);
        canvas.frame([2, 2, 30, 30], 2, FAINT);
        let image = canvas.into_image().unwrap();
        assert_eq!(image.dimensions(), (20, 20));
        let pixels = [(19, 5), (19, 1), (0, 10), (5, 5)].map(|(x, y)| *image.get_pixel(x, y));
        assert_eq!(pixels, [INK, FAINT, FAINT, Rgb([255; 3])]);
    }

    #[test]
    fn text_is_no_wider_than_it_says() {
        let mut canvas = Canvas::new(100, TEXT_HEIGHT);
        canvas.text(Anchor::Start, "guess x_t 0.25", 0, 0);
        let image = canvas.into_image().unwrap();
        let right = image.enumerate_pixels().filter(|(_, _, p)| p.0[0] < 200).map(|(x, _, _)| x).max();
        assert!(right.is_some_and(|x| x > 40 && x < text_width("guess x_t 0.25")), "{right:?}");
    }
}
