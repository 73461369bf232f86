//! The figures: each within the page, and as an SVG and a PNG file beside it.

pub(crate) mod agreement;
pub(crate) mod classes;
pub(crate) mod curves;
pub(crate) mod scatter;

use std::path::Path;

use maud::{Markup, html};

use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::svg::Svg;

/// Width and height.
pub(crate) type Size = (f64, f64);

/// A figure, drawn for wide pages and for phones.
#[derive(Debug)]
pub(crate) struct Figure {
    /// The name of its files.
    pub(crate) name: &'static str,
    /// What it shows, in words.
    pub(crate) alt: String,
    /// What has no place in it, and why; empty where everything has.
    pub(crate) left_out: Vec<String>,
    pub(crate) wide: (Svg, Size),
    pub(crate) narrow: (Svg, Size),
}

/// On a page.
pub(crate) const WIDE: Size = (640.0, 420.0);
/// On a phone.
pub(crate) const NARROW: Size = (380.0, 380.0);

impl Figure {
    /// Draws for both.
    pub(crate) fn new(name: &'static str, alt: String, sizes: [Size; 2], draw: impl Fn(Size) -> Svg) -> Self {
        let [wide, narrow] = sizes;
        Figure { name, alt, left_out: Vec::new(), wide: (draw(wide), wide), narrow: (draw(narrow), narrow) }
    }

    /// As elements of the page, which shows one of the two.
    pub(crate) fn inline(&self) -> Markup {
        let part = |class: &str, (svg, size): &(Svg, Size)| svg.inline(class, *size, &self.alt);
        html! { (part("wide", &self.wide)) (part("narrow", &self.narrow)) }
    }

    /// Writes `<name>.svg` and `<name>.png` into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write(folder, self.name, &self.wide.0, self.wide.1, &self.alt)
    }
}

/// Writes a figure as two files.
pub(crate) fn write(folder: &Path, name: &str, svg: &Svg, size: Size, alt: &str) -> Result<()> {
    write_atomically(&folder.join(format!("{name}.svg")), svg.file(size, alt).as_bytes())?;
    let path = folder.join(format!("{name}.png"));
    let png = svg.png(size, alt).map_err(|reason| Error::Figure { path: path.clone(), reason })?;
    write_atomically(&path, &png)
}
