//! The table of the report: a row a run, the best of each column marked, reference rows apart.

use super::swatch;
use crate::comparison::Comparison;
use crate::direction::Direction;
use crate::escape::escape;
use crate::measures::Measure;
use crate::metrics::{DATA, Key};
use crate::models::Model;
use crate::ranking::Place;
use crate::runs::Run;
use crate::summary::{cell, is_likelihood, label, measures_of};

/// The table with its column heads as buttons that sort.
pub(super) fn table(runs: &[Run]) -> String {
    let measures: Vec<Measure> = measures_of(runs).collect();
    let (references, models): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|run| run.is_reference());
    let comparison = Comparison::of(runs);
    let best: Vec<Vec<&str>> = measures.iter().map(|measure| best(&comparison, measure)).collect();
    let heads: String = measures.iter().map(head).collect();
    let all = Model::all(runs);
    let rows =
        |group: &[&Run]| -> String { group.iter().map(|run| row(run, &all, &measures, &best)).collect() };
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"Comparison\" tabindex=\"0\"><table>\
         <thead><tr><th scope=\"col\" aria-sort=\"none\"><button type=\"button\">model</button></th>{heads}</tr></thead>\
         <tbody>{}</tbody><tbody class=\"references\">{}</tbody></table></div>",
        rows(&models),
        rows(&references)
    )
}

fn head(measure: &Measure) -> String {
    let arrow = measure.direction.arrow();
    let words = match measure.direction {
        Direction::Neither => String::new(),
        direction => format!("; {}", direction.words()),
    };
    format!(
        "<th scope=\"col\" aria-sort=\"none\"><button type=\"button\" title=\"{}{words}\">{}{arrow}</button></th>",
        escape(measure.meaning),
        escape(measure.head)
    )
}

fn row(run: &Run, models: &[Model<'_>], measures: &[Measure], best: &[Vec<&str>]) -> String {
    let name = escape(&label(run, models));
    let mark = if run.is_reference() { String::new() } else { swatch(run.family()) };
    let mut cells =
        format!("<th scope=\"row\" data-value=\"{name}\"><span class=\"model\">{mark}{name}</span></th>");
    if !run.is_done() && measures.iter().all(|measure| run.number(measure.column).is_none()) {
        let reason = escape(run.text("error"));
        cells += &format!(
            "<td class=\"reason\" colspan=\"{}\"><span class=\"failed\">failed</span>: {reason}</td>",
            measures.len().max(1)
        );
    } else {
        for (measure, best) in measures.iter().zip(best) {
            cells += &number(run, measure, best.contains(&run.name()));
        }
    }
    format!("<tr>{cells}</tr>")
}

fn number(run: &Run, measure: &Measure, is_best: bool) -> String {
    let value = run.number(measure.column);
    let class = if is_best { " class=\"best\"" } else { "" };
    let said = if is_best { "<span class=\"hidden\"> (best)</span>" } else { "" };
    let kind = if value.is_some() { kind(run, measure.column) } else { String::new() };
    let error = standard_error(measure.column).and_then(|column| run.number(column));
    let title = error.map(|error| format!(" title=\"standard error {error:.2e}\"")).unwrap_or_default();
    // As JavaScript reads numbers; what is NaN is sorted like what is not there.
    let sort_by = match value {
        Some(value) if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Some(value) if !value.is_nan() => value.to_string(),
        _ => String::new(),
    };
    format!("<td{class}{title} data-value=\"{sort_by}\">{}{said}{kind}</td>", escape(&cell(run, measure)))
}

/// How a likelihood was computed, and beside a bound the tighter one.
fn kind(run: &Run, column: &str) -> String {
    if !is_likelihood(column) {
        return String::new();
    }
    let mut kinds = vec![run.text("likelihood_kind").to_owned()];
    let tighter = match column {
        "bits_per_dim" => run.number("importance_bits_per_dim"),
        "nll_nats" => run.number("importance_nll_nats"),
        _ => None,
    };
    kinds.extend(tighter.map(|value| format!("{value:.3} {}", run.text("importance_kind"))));
    kinds.iter().map(|kind| format!("<span class=\"kind\">{}</span>", escape(kind))).collect()
}

/// The column with the standard error of a column.
fn standard_error(column: &str) -> Option<&'static str> {
    match column {
        "fd" => Some("fd_standard_error"),
        "second_fd" => Some("second_fd_standard_error"),
        "kid" => Some("kid_standard_error"),
        "bits_per_dim" => Some("bits_per_dim_standard_error"),
        "nll_nats" => Some("nll_standard_error"),
        _ => None,
    }
}

/// The runs of the models that lead in a column: several where they tie, none where all do.
///
/// Likelihoods of different kinds cannot be compared: a lower bound says only that the true one is no worse.
fn best<'a>(comparison: &Comparison<'a>, measure: &Measure) -> Vec<&'a str> {
    if measure.direction == Direction::Neither {
        return Vec::new();
    }
    let space = comparison.distance.as_ref().map_or("", |key| key.space.as_str());
    let runs = || comparison.trained().flat_map(|model| model.runs.iter().copied());
    let mut kinds: Vec<&str> = runs()
        .filter(|run| is_likelihood(measure.column) && run.number(measure.column).is_some())
        .map(|run| run.text("likelihood_kind"))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let is_it = |key: &&Key| {
        key.metric == measure.column
            && [space, DATA, ""].contains(&key.space.as_str())
            && kinds.first().is_none_or(|kind| key.parameter == *kind)
    };
    if kinds.len() > 1 {
        return Vec::new();
    }
    // Costs under different circumstances have no best in common.
    if comparison.costs(measure.column).len() > 1 {
        return Vec::new();
    }
    let places = comparison.places(comparison.keys.iter().find(is_it));
    let leaders: Vec<&Place> = places.iter().filter(|place| place.leads()).collect();
    if leaders.len() == places.len() {
        return Vec::new();
    }
    let runs = leaders.iter().flat_map(|place| &comparison.models[place.model].runs);
    runs.map(|run| run.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::runs::tests::run_folder;

    fn runs(rows: &[(&str, &str)]) -> Vec<Run> {
        let folder = tempfile::tempdir().unwrap();
        for (name, row) in rows {
            let text = format!(
                "family,model,fd,fd_standard_error,parameters,likelihood_kind,bits_per_dim,bits_per_dim_standard_error\n{row}\n"
            );
            run_folder(folder.path(), name, if row.is_empty() { None } else { Some(&text) });
        }
        read_all(folder.path()).unwrap()
    }

    #[test]
    fn the_best_of_each_column_is_marked_and_references_do_not_compete() {
        let html = table(&runs(&[
            ("dcgan-d-s0", "gan,dcgan,20,0.1,400,,,"),
            ("vae-d-s0", "vae,vae,30,0.1,300,,,"),
            ("reference-floor", "reference,floor,1,0.1,,,,"),
        ]));
        assert_eq!(html.matches("class=\"best\"").count(), 2);
        assert!(
            html.contains("<td class=\"best\" title=\"standard error 1.00e-1\" data-value=\"20\">20.0"),
            "{html}"
        );
        assert!(html.contains("<td class=\"best\" data-value=\"300\">300"), "{html}");
        let bodies: Vec<&str> = html.split("<tbody").collect();
        assert!(bodies[1].contains("vae") && !bodies[1].contains("floor"), "{html}");
        assert!(bodies[2].contains("floor") && !bodies[2].contains("vae"), "{html}");
    }

    #[test]
    fn likelihoods_of_different_kinds_do_not_compete() {
        let mixed = runs(&[
            ("vae-d-s0", "vae,vae,,,,lower-bound,3.5,0.1"),
            ("realnvp-d-s0", "flow,realnvp,,,,exact,3.0,0.1"),
        ]);
        assert!(!table(&mixed).contains("class=\"best\""));
        let alike = runs(&[
            ("vae-d-s0", "vae,vae,,,,lower-bound,3.5,0.1"),
            ("ddpm-d-s0", "diffusion,ddpm,,,,lower-bound,3.0,0.1"),
        ]);
        assert_eq!(table(&alike).matches("class=\"best\"").count(), 1);
    }

    #[test]
    fn a_failed_row_tells_why_and_everything_is_escaped() {
        let folder = tempfile::tempdir().unwrap();
        let failed = run_folder(folder.path(), "vae-d-s0", None);
        std::fs::write(failed.join("error.txt"), "expected <u8> & \"more\"\n").unwrap();
        run_folder(folder.path(), "evil-d-s0", Some("family,model,fd\n<b>,<script>alert(1)</script>,1\n"));
        let html = table(&read_all(folder.path()).unwrap());
        assert!(html.contains("failed</span>: expected &lt;u8&gt; &amp; &quot;more&quot;"), "{html}");
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    }
}
