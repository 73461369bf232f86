//! Sample grids side by side.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use maud::{Markup, html};

use super::parts::{self, Report, swatch};
use crate::measures::Format;
use crate::models::Model;

/// A card per model, of its first seed; the references last.
pub(super) fn section(report: &Report<'_>) -> Markup {
    let cards: Vec<Markup> = Model::all(report.runs).iter().filter_map(card).collect();
    if cards.is_empty() {
        return html! {};
    }
    let note = html! { "Drawn from the models as they were evaluated, not hand-picked." };
    parts::section("Samples", &note, &html! { div.samples { @for card in cards { (card) } } })
}

fn card(model: &Model<'_>) -> Option<Markup> {
    let (run, image) =
        model.runs.iter().find_map(|run| Some((run, Png::read(&run.folder.join("samples/evaluation.png"))?)))?;
    let mut facts = Vec::new();
    if let Some(fd) = run.number("fd") {
        facts.push(format!("FD {}", Format::Significant.write(fd)));
    }
    if let Some(nfe) = run.number("nfe").filter(|_| !run.is_reference()) {
        let plural = if nfe == 1.0 { "" } else { "s" };
        facts.push(format!("{} network evaluation{plural}", Format::Count.write(nfe)));
    }
    if model.runs.len() > 1 && !run.text("seed").is_empty() {
        facts.push(format!("seed {}", run.text("seed")));
    }
    let (name, family) = (&model.label, run.family());
    Some(html! {
        figure {
            img class=[(image.width < 400).then_some("small")] src={ "data:image/png;base64," (image.base64) }
                width=(image.width) height=(image.height) alt={ "Samples of " (name) " (" (family) ")" };
            figcaption {
                @if !run.is_reference() { (swatch(family)) " " }
                b { (name) } " (" (family) ")" br; (facts.join(", "))
            }
        }
    })
}

/// An image to embed.
struct Png {
    base64: String,
    width: u32,
    height: u32,
}

impl Png {
    /// `None` where there is no such file, or it is no PNG of a sensible size.
    fn read(path: &Path) -> Option<Self> {
        const MAX_BYTES: u64 = 16 << 20;
        if fs::metadata(path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return None;
        }
        let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Png { width: side(16)?, height: side(20)?, base64: STANDARD.encode(&bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_png_is_embedded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluation.png");
        for bytes in [&b"<svg onload=alert(1)>"[..], b"\x89PNG\r\n\x1a\n", b""] {
            fs::write(&path, bytes).unwrap();
            assert!(Png::read(&path).is_none(), "{bytes:?}");
        }
    }
}
