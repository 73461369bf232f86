//! Every number in every feature space.

use super::rankings::value;
use super::{Report, scroll};
use crate::escape::escape;
use crate::metrics::{DATA, Key, about, format};
use crate::ranking;

/// A folded table a space: a row a number, a column a model.
pub(super) fn section(report: &Report<'_>) -> String {
    let comparison = report.comparison;
    let mut spaces: Vec<&str> = Vec::new();
    for key in comparison.keys.iter().filter(|key| !key.is_cost()) {
        if !spaces.contains(&key.space.as_str()) {
            spaces.push(&key.space);
        }
    }
    let tables: String = spaces
        .iter()
        .map(|space| {
            let keys: Vec<&Key> = comparison.keys.iter().filter(|key| key.space == *space).collect();
            let name = if *space == DATA { "without a feature space" } else { space };
            format!("<details><summary>{}</summary>{}</details>", escape(name), table(report, name, &keys))
        })
        .collect();
    if tables.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>All measurements by feature space</h2><p class=\"note\">Means over seeds, with the range below. \
         Never compare numbers of different spaces.</p>{tables}</section>"
    )
}

fn table(report: &Report<'_>, name: &str, keys: &[&Key]) -> String {
    let comparison = report.comparison;
    let heads: String = comparison
        .models
        .iter()
        .map(|model| format!("<th scope=\"col\">{}</th>", escape(&model.label)))
        .collect();
    let rows: String = keys
        .iter()
        .map(|key| {
            let (head, meaning) = about(&key.metric);
            let parameter =
                if key.parameter.is_empty() { String::new() } else { format!(" ({})", key.parameter) };
            let arrow = comparison.models.iter().find_map(|model| model.seeds(key));
            let arrow = arrow.map(|seeds| seeds.direction.arrow()).unwrap_or_default();
            let cells: String = comparison
                .models
                .iter()
                .map(|model| {
                    format!(
                        "<td>{}</td>",
                        model.seeds(key).map(|seeds| value(key, &seeds)).unwrap_or_default()
                    )
                })
                .collect();
            let floor = ranking::floor(&comparison.models, key).map(|floor| format(&key.metric).write(floor));
            format!(
                "<tr><th scope=\"row\" title=\"{}\">{}{}{arrow}</th>{cells}<td>{}</td></tr>",
                escape(meaning),
                escape(head),
                escape(&parameter),
                floor.unwrap_or_default()
            )
        })
        .collect();
    scroll(
        name,
        &format!(
            "<thead><tr><th scope=\"col\">number</th>{heads}<th scope=\"col\">floor</th></tr></thead><tbody>{rows}</tbody>"
        ),
    )
}
