//! What the sections of the page share.

use maud::{Markup, PreEscaped, html};

use crate::comparison::Comparison;
use crate::figures::agreement::Agreement;
use crate::figures::classes::Classes;
use crate::figures::{Figure, curves};
use crate::record::Record;
use crate::runs::Run;
use crate::svg::Svg;

/// What a page is made of.
pub(crate) struct Report<'a> {
    pub(crate) name: &'a str,
    pub(crate) record: Option<&'a Record>,
    pub(crate) runs: &'a [Run],
    pub(crate) comparison: &'a Comparison<'a>,
    pub(crate) panels: &'a [curves::Panel],
    pub(crate) trilemma: Option<&'a Figure>,
    pub(crate) training_time: Option<&'a Figure>,
    pub(crate) agreement: Option<&'a (Agreement, Figure)>,
    /// The distance within each class, and the share of samples in it.
    pub(crate) classes: &'a [Option<(Classes, Figure)>; 2],
    /// What could not be shown, and why.
    pub(crate) notes: &'a [String],
}

/// A section with a heading and a remark.
pub(super) fn section(title: &str, note: &Markup, content: &Markup) -> Markup {
    html! { section { h2 { (title) } p.note { (note) } (content) } }
}

/// The mark of a family, beside its name.
pub(super) fn swatch(family: &str) -> Markup {
    let mut svg = Svg::new();
    svg.mark(family, (10.0, 10.0), family);
    html! { svg.figure.swatch viewBox="0 0 20 20" aria-hidden="true" { (PreEscaped(svg.markup())) } }
}

/// The name of a model beside the mark of its family.
pub(super) fn named(family: &str, name: &str) -> Markup {
    html! { span.model { (swatch(family)) (name) } }
}

/// A table that scrolls sideways where it is too wide; also by keyboard.
pub(super) fn scroll(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { table { (table) } } }
}

/// The values of a column among these runs, each once, in the order of the runs.
pub(super) fn distinct<'a>(runs: impl Iterator<Item = &'a Run>, column: &str) -> String {
    let mut values: Vec<&str> = Vec::new();
    for value in runs.map(|run| run.text(column)).filter(|value| !value.is_empty()) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values.join(", ")
}
