//! Whether models repeat what they were trained on.

use maud::{Markup, html};

use super::parts::{self, Report, named, scroll};
use crate::measures::{about, format};
use crate::metric::Key;
use crate::models::Model;
use crate::ranking::floor_model as floor;

/// A larger share of copied samples than this is no accident.
const COPIED: f64 = 0.05;
/// Samples that are nearer to training rows than test rows are, by so many standard deviations, are suspicious.
const NEAR: f64 = -3.0;

/// The numbers that tell, in the order of the table.
const TELLING: [&str; 3] = ["copied_share", "auth_pct", "nearest_train_z"];

/// The numbers of a model in all spaces.
fn values(model: &Model<'_>, metric: &str) -> impl Iterator<Item = f64> {
    let metrics = model.runs.iter().flat_map(|run| &run.metrics);
    metrics.filter(move |found| found.key.metric == metric).map(|found| found.value)
}

/// The lowest or highest number of a model in any space: a copy that one space sees is a copy.
fn extreme(model: &Model<'_>, metric: &str, choose: fn(f64, f64) -> f64) -> Option<f64> {
    values(model, metric).reduce(choose)
}

/// Whether a model copies training data.
pub(crate) fn copies(model: &Model<'_>) -> bool {
    extreme(model, "copied_share", f64::max).is_some_and(|share| share > COPIED)
}

fn verdict(model: &Model<'_>) -> (&'static str, &'static str) {
    let z = extreme(model, "nearest_train_z", f64::min);
    if copies(model) {
        ("failed", "copies training data")
    } else if z.is_some_and(|z| z < NEAR) {
        ("", "closer to training data than test data is: look at its nearest neighbours")
    } else if z.is_none() && extreme(model, "copied_share", f64::max).is_none() {
        ("", "cannot be told: not measured")
    } else if ["copied_share", "nearest_train_z"].iter().any(|metric| values(model, metric).any(f64::is_nan)) {
        ("", "cannot be told: what was measured is no number")
    } else {
        ("", "no sign of copying")
    }
}

/// The table with its verdicts; empty where nothing was measured.
pub(super) fn section(report: &Report<'_>) -> Markup {
    let comparison = report.comparison;
    let space = comparison.distance.as_ref().map_or("", |key| key.space.as_str());
    let keys: Vec<&Key> = TELLING
        .iter()
        .filter_map(|metric| {
            let mut found = comparison.keys.iter().filter(|key| key.metric == *metric);
            found.clone().find(|key| key.space == space).or_else(|| found.next())
        })
        .collect();
    if keys.is_empty() {
        return html! {};
    }
    let cells = |value: &dyn Fn(&Key) -> Option<f64>| {
        html! {
            @for key in &keys { td { @if let Some(value) = value(key) { (format(&key.metric).write(value)) } } }
        }
    };
    let mean = |model: &Model<'_>, key: &Key| model.seeds(key).map(|seeds| seeds.mean);
    // The samples of an honest model resemble test rows; training rows are copies of themselves.
    let honest = |key: &Key| comparison.trained().find_map(|model| model.seeds(key)?.floor);
    let training = |key: &Key| floor(&comparison.models).and_then(|floor| mean(floor, key));
    type Value<'a> = &'a dyn Fn(&Key) -> Option<f64>;
    let references: [(&str, Value<'_>); 2] = [("test data", &honest), ("training data", &training)];
    let table = html! {
        thead {
            tr {
                th scope="col" { "model" }
                th.words scope="col" { "verdict" }
                @for (head, meaning) in keys.iter().map(|key| about(&key.metric)) {
                    th scope="col" title=(meaning) { (head) }
                }
            }
        }
        tbody {
            @for model in comparison.trained() {
                @let (class, said) = verdict(model);
                tr {
                    th scope="row" { (named(model.family(), &model.label)) }
                    td class={ "words " (class) } { (said) }
                    (cells(&|key| mean(model, key)))
                }
            }
        }
        tbody.references {
            @for (name, value) in references {
                @if keys.iter().any(|key| value(key).is_some()) {
                    tr { th scope="row" { (name) } td {} (cells(value)) }
                }
            }
        }
    };
    let note = html! {
        @for (index, (head, meaning)) in keys.iter().map(|key| about(&key.metric)).enumerate() {
            @if index > 0 { "; " }
            i { (head) } ": " (meaning)
        }
        ". An honest model should look like test data; copies look like training data."
    };
    parts::section("Memorisation", &note, &scroll("Memorisation", &table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    fn verdict_of(rows: &str) -> (&'static str, &'static str) {
        let folder = tempfile::tempdir().unwrap();
        let run = run_folder(folder.path(), "vae-d-s0", Some("family,model\nvae,vae\n"));
        let header = "metric,space,value,direction\n";
        std::fs::write(run.join("metrics.csv"), format!("{header}{rows}")).unwrap();
        let runs = read_all(folder.path()).unwrap();
        verdict(&Model::all(&runs)[0])
    }

    #[test]
    fn verdicts_are_plain() {
        let copied = "copied_share,pca-64,0.01,lower\ncopied_share,random-64,0.06,lower\n";
        assert_eq!(verdict_of(copied), ("failed", "copies training data"));
        assert!(verdict_of("copied_share,pca-64,0.05,lower\nnearest_train_z,pca-64,-4,\n").1.starts_with("closer"));
        assert_eq!(verdict_of("copied_share,pca-64,0.01,lower\nnearest_train_z,pca-64,-1,\n").1, "no sign of copying");
        assert!(verdict_of("auth_pct,pca-64,60,\n").1.contains("not measured"));
    }

    #[test]
    fn nan_clears_no_model() {
        for rows in [
            "copied_share,pca-64,NaN,lower\nnearest_train_z,pca-64,NaN,\n",
            "copied_share,pca-64,0.01,lower\nnearest_train_z,pca-64,NaN,\n",
            "copied_share,pca-64,NaN,lower\ncopied_share,random-64,0,lower\n",
        ] {
            assert!(verdict_of(rows).1.ends_with("no number"), "{rows}");
        }
        // Where another number tells, it does.
        let copied = "copied_share,pca-64,NaN,lower\ncopied_share,random-64,0.06,lower\n";
        assert_eq!(verdict_of(copied).0, "failed");
        let near = "copied_share,pca-64,NaN,lower\nnearest_train_z,pca-64,-4,\n";
        assert!(verdict_of(near).1.starts_with("closer"));
    }
}
