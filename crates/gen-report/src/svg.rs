//! Drawings: SVG elements, as part of a page, as a file, or as pixels.
//!
//! Lines, texts and marks take their colours from classes of `figure.css`, so that a figure follows the light or dark
//! page that it is in. Shapes that show data in many colours name theirs.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use crate::{raster, style};

pub use crate::scale::{Scale, tick_label};

/// Red, green and blue.
pub type Colour = [u8; 3];

/// A drawing under construction.
#[derive(Debug, Default)]
pub struct Svg(String);

/// Where a text is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// At its start.
    Start,
    /// At its middle.
    Middle,
    /// At its end.
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

impl Svg {
    /// An empty drawing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds finished markup.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// A line, styled by its class.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.write(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// A text, escaped.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let (anchor, text) = (anchor.name(), escape(text));
        self.write(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#));
    }

    /// A part of a circle, from its top and clockwise.
    pub(crate) fn arc(&mut self, class: &str, (x, y): (f64, f64), radius: f64, share: f64) {
        if share >= 0.9995 {
            self.write(format_args!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"/>"#));
        } else if share > 0.0 {
            let angle = std::f64::consts::TAU * share;
            let (to_x, to_y) = (x + radius * angle.sin(), y - radius * angle.cos());
            let large = u8::from(share > 0.5);
            self.write(format_args!(
                r#"<path class="{class}" d="M{x:.1} {:.1}A{radius:.1} {radius:.1} 0 {large} 1 {to_x:.1} {to_y:.1}"/>"#,
                y - radius
            ));
        }
    }

    pub(crate) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let points = joined(points);
        self.write(format_args!(r#"<polyline class="{class}" points="{points}"/>"#));
    }

    /// The mark of a family; families differ by shape as well as by colour.
    pub fn mark(&mut self, family: &str, (x, y): (f64, f64), title: &str) {
        let class = format!("mark {}", family_class(family));
        let path = |corners: &[(f64, f64)]| {
            let corners: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
            format!(r#"<polygon class="{class}" points="{}">"#, joined(&corners))
        };
        let (open, close) = match family {
            "gan" => (format!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="7">"#), "circle"),
            "vae" => (path(&[(-6.5, -6.5), (6.5, -6.5), (6.5, 6.5), (-6.5, 6.5)]), "polygon"),
            "flow" => (path(&[(0.0, -8.5), (8.0, 6.0), (-8.0, 6.0)]), "polygon"),
            "diffusion" => (path(&[(0.0, -9.0), (9.0, 0.0), (0.0, 9.0), (-9.0, 0.0)]), "polygon"),
            _ => (path(&[(-8.0, -6.0), (8.0, -6.0), (0.0, 8.5)]), "polygon"),
        };
        self.write(format_args!("{open}<title>{}</title></{close}>", escape(title)));
    }

    /// A frame around a rectangle (left, top, width, height), outside of it.
    pub fn frame(&mut self, [x, y, width, height]: [f64; 4], thickness: f64, stroke: Colour) {
        let (x, y, width, height) = (x - thickness / 2.0, y - thickness / 2.0, width + thickness, height + thickness);
        let stroke = hex(stroke);
        self.write(format_args!(r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" "#));
        self.write(format_args!(r#"fill="none" stroke="{stroke}" stroke-width="{thickness:.1}"/>"#));
    }

    /// A filled circle; an opacity of 1 hides what is below it.
    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, fill: Colour, opacity: f64) {
        let fill = hex(fill);
        self.write(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" fill="{fill}" fill-opacity="{opacity:.2}"/>"#
        ));
    }

    /// A line through points, `width` wide.
    pub fn path(&mut self, points: &[(f64, f64)], width: f64, stroke: Colour) {
        let (points, stroke) = (joined(points), hex(stroke));
        self.write(format_args!(
            r#"<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="{width:.1}"/>"#
        ));
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(arguments);
    }

    /// The figure as an element of a page. `class` is for the page's layout, `alt` for those who do not see it.
    pub(crate) fn inline(&self, class: &str, (width, height): (f64, f64), alt: &str) -> Markup {
        let view = format_args!("0 0 {width} {height}");
        html! { svg class={ "figure " (class) } viewBox=(view) role="img" aria-label=(alt) { (PreEscaped(&self.0)) } }
    }

    /// The figure as a file, light or dark as the reader's screen is.
    pub fn file(&self, (width, height): (f64, f64), alt: &str) -> String {
        self.document((width, height), alt, &style::adaptive())
    }

    /// The figure as a PNG file of twice its size, light; an error says what is wrong with the SVG.
    pub(crate) fn png(&self, size: (f64, f64), alt: &str) -> Result<Vec<u8>, String> {
        raster::png(&self.document(size, alt, &style::light()))
    }

    /// Draws over a picture, `width * height` pixels of red, green, blue and 255. A pixel is one unit of the drawing.
    ///
    /// # Errors
    ///
    /// What is wrong with the drawing, or with the size of the picture.
    pub fn draw_over(&self, rgba: &mut [u8], width: u32, height: u32) -> Result<(), String> {
        let (style, elements) = (style::light(), &self.0);
        let document = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" width=\"{width}\" height=\"{height}\">\
             <style>{style}</style>{elements}</svg>"
        );
        raster::draw_over(&document, rgba, width, height)
    }

    fn document(&self, (width, height): (f64, f64), alt: &str, style: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>{style}</style>\n\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>{}</svg>\n",
            escape(alt),
            self.0
        )
    }

    /// The elements alone.
    pub fn markup(&self) -> &str {
        &self.0
    }
}

/// `x,y x,y`
fn joined(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// How wide a text of class `name` is, about, in the units of a drawing; others are narrower.
pub fn text_width(text: &str) -> f64 {
    6.8 * text.chars().count() as f64
}

/// Text as it may stand in XML. Control characters are not allowed there.
fn escape(text: &str) -> String {
    html! { (text.replace(|c: char| c.is_control() && !c.is_whitespace(), "\u{fffd}")) }.into_string()
}

/// The class that carries the colour of a family.
pub(crate) fn family_class(family: &str) -> &'static str {
    match family {
        "gan" => "family-gan",
        "vae" => "family-vae",
        "flow" => "family-flow",
        "diffusion" => "family-diffusion",
        _ => "family-other",
    }
}

#[cfg(test)]
mod tests {
    use resvg::tiny_skia::Pixmap;

    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut svg = Svg::new();
        svg.text("label", (0.0, 0.0), Anchor::Start, "<script>\u{7}");
        svg.mark("vae", (0.0, 0.0), "a & b");
        let inline = svg.inline("", (1.0, 1.0), "\"quoted\"").into_string();
        assert!(inline.contains("&lt;script&gt;\u{fffd}") && inline.contains("a &amp; b"), "{inline}");
        assert!(inline.contains("aria-label=\"&quot;quoted&quot;\""), "{inline}");
    }

    #[test]
    fn colours_and_letters_are_drawn() {
        let mut svg = Svg::new();
        svg.mark("gan", (20.0, 20.0), "gan");
        svg.text("name", (40.0, 24.0), Anchor::Start, "dcgan é →");
        let pixels = Pixmap::decode_png(&svg.png((120.0, 40.0), "alt").unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (240, 80));
        let colour = |x, y| {
            let pixel = pixels.pixel(x, y).unwrap();
            (pixel.red(), pixel.green(), pixel.blue())
        };
        assert_eq!(colour(40, 40), (0xd9, 0x5f, 0x02));
        assert_eq!(colour(2, 2), (255, 255, 255));
        let dark = (80..240).flat_map(|x| (20..60).map(move |y| (x, y))).filter(|(x, y)| colour(*x, *y).0 < 100);
        assert!(dark.count() > 200);
    }

    #[test]
    fn a_drawing_leaves_the_picture_below_it() {
        let mut svg = Svg::new();
        svg.frame([2.0, 2.0, 3.0, 1.0], 2.0, [10, 20, 30]);
        svg.dot((8.5, 2.5), 1.0, [255, 0, 0], 1.0);
        svg.path(&[(-5.0, 7.0), (50.0, 7.0)], 2.0, [0, 0, 255]);
        let mut pixels = vec![200; 4 * 10 * 8];
        svg.draw_over(&mut pixels, 10, 8).unwrap();
        let pixel = |x: usize, y: usize| &pixels[4 * (10 * y + x)..][..3];
        assert_eq!([pixel(3, 2), pixel(9, 0)], [[200; 3]; 2]);
        assert_eq!([pixel(0, 2), pixel(8, 2), pixel(9, 7)], [[10, 20, 30], [255, 0, 0], [0, 0, 255]]);
        assert!(svg.draw_over(&mut pixels, 10, 9).is_err());
    }
}
