//! The table of the report: a row per run, the best of each column marked, reference rows apart.

use maud::{Markup, html};

use super::parts::{named, scroll};
use crate::comparison::Comparison;
use crate::direction::Direction;
use crate::measures::{Measure, is_likelihood};
use crate::metric::{DATA, Key};
use crate::models::Model;
use crate::ranking::Place;
use crate::runs::Run;
use crate::summary::{cell, label, measures_of};

/// The table with its column heads as buttons that sort.
pub(super) fn table(runs: &[Run]) -> Markup {
    let comparison = Comparison::of(runs);
    let columns: Vec<(&Measure, Vec<&str>)> =
        measures_of(runs).map(|measure| (measure, best(&comparison, measure))).collect();
    let models = Model::all(runs);
    let (references, trained): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|run| run.is_reference());
    let table = html! {
        thead {
            tr {
                th scope="col" aria-sort="none" { button type="button" { "model" } }
                @for (measure, _) in &columns { (head(measure)) }
            }
        }
        tbody { @for run in trained { (row(run, &models, &columns)) } }
        tbody.references { @for run in references { (row(run, &models, &columns)) } }
    };
    scroll("Comparison", &table)
}

fn head(measure: &Measure) -> Markup {
    let direction = measure.marked_direction();
    let words = match direction {
        Direction::Neither => String::new(),
        direction => format!("; {}", direction.words()),
    };
    html! {
        th scope="col" aria-sort="none" {
            button type="button" title={ (measure.meaning) (words) } { (measure.head) (direction.arrow()) }
        }
    }
}

fn row(run: &Run, models: &[Model<'_>], columns: &[(&Measure, Vec<&str>)]) -> Markup {
    let name = label(run, models);
    let has_numbers = columns.iter().any(|(measure, _)| run.number(&measure.name).is_some());
    html! {
        tr {
            th scope="row" data-value=(name) {
                @if run.is_reference() { span.model { (name) } } @else { (named(run.family(), &name)) }
            }
            @if run.is_done() || has_numbers {
                @for (measure, best) in columns { (number(run, measure, best.contains(&run.name()))) }
            } @else {
                td.reason colspan=(columns.len().max(1)) { span.failed { "failed" } ": " (run.text("error")) }
            }
        }
    }
}

fn number(run: &Run, measure: &Measure, is_best: bool) -> Markup {
    let value = run.number(&measure.name);
    let error = measure.standard_error.as_deref().and_then(|column| run.number(column));
    // As JavaScript reads numbers; NaN is sorted like an empty cell.
    let sort_by = match value {
        Some(f64::INFINITY) => "Infinity".to_owned(),
        Some(f64::NEG_INFINITY) => "-Infinity".to_owned(),
        Some(value) if !value.is_nan() => value.to_string(),
        _ => String::new(),
    };
    html! {
        td class=[is_best.then_some("best")]
            title=[error.map(|error| format!("standard error {error:.2e}"))] data-value=(sort_by) {
            (cell(run, measure))
            @if is_best { span.hidden { " (best)" } }
            @if value.is_some() && is_likelihood(&measure.name) {
                span.kind { (run.text("likelihood_kind")) }
                // Beside a bound the tighter one.
                @if let Some(tighter) = run.number(&format!("importance_{}", measure.name)) {
                    span.kind { (measure.format().write(tighter)) " " (run.text("importance_kind")) }
                }
            }
        }
    }
}

/// The runs of the models that lead in a column: several where they tie, none where all do.
///
/// Likelihoods of different kinds cannot be compared: a lower bound says only that the true one is no worse.
fn best<'a>(comparison: &Comparison<'a>, measure: &Measure) -> Vec<&'a str> {
    if measure.marked_direction() == Direction::Neither {
        return Vec::new();
    }
    let space = comparison.distance.as_ref().map_or("", |key| key.space.as_str());
    let runs = || comparison.trained().flat_map(|model| model.runs.iter().copied());
    let mut kinds: Vec<&str> = runs()
        .filter(|run| is_likelihood(&measure.name) && run.number(&measure.name).is_some())
        .map(|run| run.text("likelihood_kind"))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let is_it = |key: &&Key| {
        key.metric == measure.name
            && [space, DATA, ""].contains(&key.space.as_str())
            && kinds.first().is_none_or(|kind| key.parameter == *kind)
    };
    if kinds.len() > 1 {
        return Vec::new();
    }
    // Costs under different circumstances have no best in common.
    if comparison.costs(&measure.name).len() > 1 {
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
    use crate::testing::run_folder;

    fn runs(rows: &[(&str, &str)]) -> Vec<Run> {
        let folder = tempfile::tempdir().unwrap();
        for (name, row) in rows {
            let text = format!(
                "family,model,fd,fd_standard_error,parameters,likelihood_kind,bits_per_dim,\
                 bits_per_dim_standard_error\n{row}\n"
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
        ]))
        .into_string();
        assert_eq!(html.matches("class=\"best\"").count(), 2);
        assert!(html.contains("<td class=\"best\" title=\"standard error 1.00e-1\" data-value=\"20\">20.0"), "{html}");
        assert!(html.contains("<td class=\"best\" data-value=\"300\">300"), "{html}");
        let bodies: Vec<&str> = html.split("<tbody").collect();
        assert!(bodies[1].contains("vae") && !bodies[1].contains("floor"), "{html}");
        assert!(bodies[2].contains("floor") && !bodies[2].contains("vae"), "{html}");
    }

    #[test]
    fn likelihoods_of_different_kinds_do_not_compete() {
        let mixed =
            runs(&[("vae-d-s0", "vae,vae,,,,lower-bound,3.5,0.1"), ("realnvp-d-s0", "flow,realnvp,,,,exact,3.0,0.1")]);
        assert!(!table(&mixed).into_string().contains("class=\"best\""));
        let alike = runs(&[
            ("vae-d-s0", "vae,vae,,,,lower-bound,3.5,0.1"),
            ("ddpm-d-s0", "diffusion,ddpm,,,,lower-bound,3.0,0.1"),
        ]);
        assert_eq!(table(&alike).into_string().matches("class=\"best\"").count(), 1);
    }

    #[test]
    fn a_failed_row_tells_why_and_everything_is_escaped() {
        let folder = tempfile::tempdir().unwrap();
        let failed = run_folder(folder.path(), "vae-d-s0", None);
        std::fs::write(failed.join("error.txt"), "expected <u8> & \"more\"\n").unwrap();
        run_folder(folder.path(), "evil-d-s0", Some("family,model,fd\n<b>,<script>alert(1)</script>,1\n"));
        let html = table(&read_all(folder.path()).unwrap()).into_string();
        assert!(html.contains("failed</span>: expected &lt;u8&gt; &amp; &quot;more&quot;"), "{html}");
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    }
}
