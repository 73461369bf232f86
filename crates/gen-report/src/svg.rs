//! A little SVG: elements and marks, as part of a page or as a file.
//!
//! Colours come from classes of `figure.css`, so that a figure follows the light or dark page that it is in.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use crate::{png, style};

pub use crate::scale::{Scale, tick_label};

/// An SVG element under construction.
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
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds finished markup.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// A line, styled by its class.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.write(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A text, escaped.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let (anchor, text) = (anchor.name(), escape(text));
        self.write(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
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
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.write(format_args!(r#"<polyline class="{class}" points="{}"/>"#, points.join(" ")));
    }

    /// The mark of a family; families differ by shape as well as by colour.
    pub fn mark(&mut self, family: &str, (x, y): (f64, f64), title: &str) {
        let class = format!("mark {}", family_class(family));
        let path = |points: &[(f64, f64)]| {
            let points: Vec<String> =
                points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
            format!(r#"<polygon class="{class}" points="{}">"#, points.join(" "))
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

    /// The figure as a picture of twice its size, light.
    pub(crate) fn png(&self, size: (f64, f64), alt: &str) -> Result<Vec<u8>, String> {
        png::render(&self.document(size, alt, &style::light()))
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
}
