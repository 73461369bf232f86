//! A figure of the ratios to other implementations.

use gen_report::svg::{Anchor, Scale, Svg, tick_label};

use super::cases::{Against, Implementation, Task};
use super::measure::Row;
use super::report::ratios;
use crate::statistics::{max, median, min};

/// `bench.svg`; `None` if there was no peer.
///
/// There is a line for each case and task, with the median over the rounds and the range of our time divided by that of
/// the faster PyTorch. Libraries and another build have a line each.
pub(super) fn file(rows: &[Row], against: Against) -> Option<String> {
    let title = match against {
        Against::PyTorch => "Time of gen over that of the faster PyTorch",
        Against::Libraries => "Time of gen over that of others with the same architecture",
        Against::Build => "Time of gen over that of the other build",
    };
    let of_ours = against == Against::PyTorch;
    let compared: Vec<(&Row, Vec<f64>)> = Task::NAMES
        .into_iter()
        .flat_map(|task| rows.iter().filter(move |row| row.task.name() == task))
        .filter(|row| row.implementation.is_ours() == of_ours)
        .filter_map(|row| Some((row, ratios(rows, row)?)))
        .collect();
    let all: Vec<f64> = compared.iter().flat_map(|(_, ratios)| ratios.iter().copied()).collect();
    if all.is_empty() {
        return None;
    }
    const LINE: f64 = 26.0;
    const CHARACTER: f64 = 7.0;
    let longest = compared.iter().map(|(row, _)| name(row).chars().count()).max().unwrap_or(0);
    let (left, top, right) = (f64::max(230.0, 16.0 + CHARACTER * longest as f64), 40.0, 700.0);
    let bottom = top + LINE * compared.len() as f64 + 8.0;
    let size = (720.0, bottom + 52.0);
    let x = Scale::logarithmic(min(&all).min(0.5), max(&all).max(2.0), (left, right));
    let mut svg = Svg::new();
    svg.text("title", (4.0, 20.0), Anchor::Start, title);
    for tick in x.ticks(9) {
        svg.line("grid", (x.at(tick), top), (x.at(tick), bottom));
        svg.text("tick", (x.at(tick), bottom + 18.0), Anchor::Middle, &tick_label(tick));
    }
    svg.line("reference", (x.at(1.0), top), (x.at(1.0), bottom));
    svg.text("name", (right, bottom + 40.0), Anchor::End, "further left is faster; the line is 1");
    let mut alt = Vec::new();
    for (index, (row, ratios)) in compared.iter().enumerate() {
        let y = top + LINE * (index as f64 + 0.7);
        let name = name(row);
        let middle = median(ratios);
        svg.text("name", (left - 12.0, y + 4.0), Anchor::End, &name);
        svg.line("axis", (x.at(min(ratios)), y), (x.at(max(ratios)), y));
        svg.mark(row.case.family, (x.at(middle), y), &format!("{name}: {middle:.3}"));
        alt.push(format!("{name} {middle:.2}"));
    }
    Some(svg.file(size, &format!("{title}: {}", alt.join(", "))))
}

/// The label of a line: `train vae`, `train vae, bf16` or `sample 256 nsf, zuko`.
fn name(row: &Row) -> String {
    let of = match row.implementation {
        Implementation::Gen => String::new(),
        Implementation::GenBf16 => ", bf16".to_owned(),
        other => format!(", {}", other.name()),
    };
    let at_once = match row.task {
        Task::Sample(n) if row.case.samples.len() > 1 => format!(" {n}"),
        _ => String::new(),
    };
    format!("{}{at_once} {}{of}", row.task.name(), row.case.name)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{libraries, rows};
    use super::*;

    #[test]
    fn a_mark_a_comparison_and_nothing_without_a_peer() {
        let rows = rows();
        let figure = file(&rows, Against::PyTorch).unwrap();
        assert_eq!(figure.matches("class=\"mark ").count(), 1);
        assert!(figure.contains("train vae 1.50"), "{figure}");
        assert_eq!(file(&rows[..1], Against::PyTorch), None);
    }

    #[test]
    fn each_library_has_a_mark_of_its_own() {
        let figure = file(&libraries(), Against::Libraries).unwrap();
        assert_eq!(figure.matches("class=\"mark ").count(), 2);
        assert!(figure.contains("sample 256 nsf, zuko 0.50"), "{figure}");
        assert!(figure.contains("sample 256 nsf, pytorch-eager 0.80"), "{figure}");
    }
}
