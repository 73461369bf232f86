//! Every number in every feature space.

use maud::{Markup, html};

use super::parts::{self, Report, scroll};
use super::rankings::value;
use crate::measures::{about, format};
use crate::metric::{DATA, Key};
use crate::ranking;

/// A folded table per space: a row per number, a column per model.
pub(super) fn section(report: &Report<'_>) -> Markup {
    let comparison = report.comparison;
    let mut spaces: Vec<&str> = Vec::new();
    for key in comparison.keys.iter().filter(|key| !key.is_cost()) {
        if !spaces.contains(&key.space.as_str()) {
            spaces.push(&key.space);
        }
    }
    if spaces.is_empty() {
        return html! {};
    }
    let note = html! { "Means over seeds, with the range below. Never compare numbers of different spaces." };
    let tables = html! {
        @for space in spaces {
            @let name = if space == DATA { "without a feature space" } else { space };
            details { summary { (name) } (table(report, name, space)) }
        }
    };
    parts::section("All measurements by feature space", &note, &tables)
}

fn table(report: &Report<'_>, name: &str, space: &str) -> Markup {
    let models = &report.comparison.models;
    let row = |key: &Key| {
        let (head, meaning) = about(&key.metric);
        let direction = models.iter().find_map(|model| model.seeds(key)).map(|seeds| seeds.direction);
        let floor = ranking::floor(models, key).map(|floor| format(&key.metric).write(floor));
        html! {
            tr {
                th scope="row" title=(meaning) {
                    (head)
                    @if !key.parameter.is_empty() { " (" (key.parameter) ")" }
                    @if let Some(direction) = direction { (direction.arrow()) }
                }
                @for model in models { td { @if let Some(seeds) = model.seeds(key) { (value(key, &seeds)) } } }
                td { @if let Some(floor) = floor { (floor) } }
            }
        }
    };
    let table = html! {
        thead {
            tr {
                th scope="col" { "number" }
                @for model in models { th scope="col" { (model.label) } }
                th scope="col" { "floor" }
            }
        }
        tbody { @for key in report.comparison.keys.iter().filter(|key| key.space == space) { (row(key)) } }
    };
    scroll(name, &table)
}
