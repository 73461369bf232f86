//! A little SVG: elements, scales and axes.
//!
//! Colours are CSS variables of `figure.css`, so that a figure follows the light or dark page that it is in.

use std::fmt::Write;

use super::html::escape;

/// The style of figures; the page has it once, a file of its own each.
pub(super) const STYLE: &str = include_str!("figure.css");

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
    pub(super) fn raw(&mut self, markup: &str) {
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

    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
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
    pub(super) fn inline(&self, class: &str, (width, height): (f64, f64), alt: &str) -> String {
        format!(
            r#"<svg class="figure {class}" viewBox="0 0 {width} {height}" role="img" aria-label="{}">{}</svg>"#,
            escape(alt),
            self.0
        )
    }

    /// The figure as a file.
    pub fn file(&self, (width, height): (f64, f64), alt: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
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

/// The class that carries the colour of a family.
pub(super) fn family_class(family: &str) -> &'static str {
    match family {
        "gan" => "family-gan",
        "vae" => "family-vae",
        "flow" => "family-flow",
        "diffusion" => "family-diffusion",
        _ => "family-other",
    }
}

/// From values to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    pixels: (f64, f64),
}

impl Scale {
    /// From `low` to `high`, evenly.
    pub fn linear(low: f64, high: f64, pixels: (f64, f64)) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Scale { low, high, logarithmic: false, pixels }
    }

    /// From `low` to `high`, both positive, by factors.
    pub fn logarithmic(low: f64, high: f64, pixels: (f64, f64)) -> Self {
        let high = if high > low { high } else { low * 10.0 };
        Scale { low, high, logarithmic: true, pixels }
    }

    /// The pixel of a value.
    pub fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.pixels.0 + part * (self.pixels.1 - self.pixels.0)
    }

    /// Round values within the scale, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if !self.logarithmic {
            return linear_ticks(self.low, self.high, count);
        }
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let within = |value: &f64| (self.low * 0.999..=self.high * 1.001).contains(value);
        let of = |steps: &[f64]| -> Vec<f64> {
            decades
                .clone()
                .flat_map(|d| steps.iter().map(move |step| step * 10f64.powi(d)))
                .filter(within)
                .collect()
        };
        [of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0]), of(&[1.0])]
            .into_iter()
            .find(|ticks| ticks.len() <= count)
            .unwrap_or_else(|| of(&[1.0]))
    }
}

fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * magnitude);
    let first = (low / step - 1e-9).ceil();
    (0..=count + 1)
        .map(|i| (first + i as f64) * step)
        .take_while(|tick| *tick <= high + step * 1e-9)
        .collect()
}

/// A tick in as few characters as it takes.
pub fn tick_label(value: f64) -> String {
    let size = value.abs();
    let shortest = |value: f64| {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match size {
        0.0 => "0".to_owned(),
        1e6.. => format!("{}M", shortest(value / 1e6)),
        1e4.. => format!("{}k", shortest(value / 1e3)),
        1e-3.. => shortest(value),
        _ => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_its_ends_to_its_pixels() {
        let linear = Scale::linear(2.0, 4.0, (0.0, 100.0));
        assert_eq!((linear.at(2.0), linear.at(3.0), linear.at(4.0)), (0.0, 50.0, 100.0));
        let logarithmic = Scale::logarithmic(1.0, 100.0, (100.0, 0.0));
        assert!((logarithmic.at(10.0) - 50.0).abs() < 1e-9);
        assert!(Scale::linear(3.0, 3.0, (0.0, 1.0)).at(3.0).is_finite());
        assert!(Scale::logarithmic(3.0, 3.0, (0.0, 1.0)).at(3.0).is_finite());
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::linear(0.0, 180.0, (0.0, 1.0)).ticks(4), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(Scale::linear(-0.3, 0.3, (0.0, 1.0)).ticks(3), [-0.2, 0.0, 0.2]);
        assert_eq!(Scale::logarithmic(50.0, 20_000.0, (0.0, 1.0)).ticks(4), [100.0, 1000.0, 10_000.0]);
        assert_eq!(Scale::logarithmic(9.0, 60.0, (0.0, 1.0)).ticks(4), [10.0, 20.0, 50.0]);
    }

    #[test]
    fn ticks_have_short_labels() {
        let labels = [0.0, 0.25, 150.0, 1500.0, 20_000.0, 2.5e6, -3.0, 1e-5].map(tick_label);
        assert_eq!(labels, ["0", "0.25", "150", "1500", "20k", "2.5M", "-3", "1e-5"]);
    }

    #[test]
    fn texts_are_escaped() {
        let mut svg = Svg::new();
        svg.text("label", (0.0, 0.0), Anchor::Start, "<script>");
        svg.mark("vae", (0.0, 0.0), "a & b");
        let inline = svg.inline("", (1.0, 1.0), "\"quoted\"");
        assert!(inline.contains("&lt;script&gt;") && inline.contains("a &amp; b"), "{inline}");
        assert!(inline.contains("aria-label=\"&quot;quoted&quot;\""), "{inline}");
    }
}
