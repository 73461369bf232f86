//! Whether models repeat what they were trained on.

use super::{Report, scroll, swatch};
use crate::escape::escape;
use crate::metrics::{Key, about, format};
use crate::models::Model;

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
    } else if ["copied_share", "nearest_train_z"].iter().any(|metric| values(model, metric).any(f64::is_nan))
    {
        ("", "cannot be told: what was measured is no number")
    } else {
        ("", "no sign of copying")
    }
}

/// The table with its verdicts; empty where nothing was measured.
pub(super) fn section(report: &Report<'_>) -> String {
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
        return String::new();
    }
    let heads: String = keys
        .iter()
        .map(|key| {
            let (head, meaning) = about(&key.metric);
            format!("<th scope=\"col\" title=\"{}\">{}</th>", escape(meaning), escape(head))
        })
        .collect();
    let cell = |key: &Key, value: Option<f64>| {
        let value = value.map(|value| format(&key.metric).write(value)).unwrap_or_default();
        format!("<td>{value}</td>")
    };
    let rows: String = comparison
        .trained()
        .map(|model| {
            let (class, said) = verdict(model);
            let cells: String =
                keys.iter().map(|key| cell(key, model.seeds(key).map(|seeds| seeds.mean))).collect();
            format!(
                "<tr><th scope=\"row\"><span class=\"model\">{}{}</span></th><td class=\"words {class}\">{said}</td>{cells}</tr>",
                swatch(model.family()),
                escape(&model.label)
            )
        })
        .collect();
    // Test rows are what an honest model's samples should look like; training rows are copies of themselves.
    let honest = |key: &Key| comparison.trained().find_map(|model| model.seeds(key)?.floor);
    let copies = |key: &Key| {
        let floor = comparison
            .models
            .iter()
            .find(|model| model.is_reference() && model.runs[0].model() == "floor")?;
        Some(floor.seeds(key)?.mean)
    };
    let reference = |name: &str, value: &dyn Fn(&Key) -> Option<f64>| {
        let cells: String = keys.iter().map(|key| cell(key, value(key))).collect();
        let known = keys.iter().any(|key| value(key).is_some());
        if known { format!("<tr><th scope=\"row\">{name}</th><td></td>{cells}</tr>") } else { String::new() }
    };
    let references = reference("test data", &honest) + &reference("training data", &copies);
    let meanings: Vec<String> = keys
        .iter()
        .map(|key| {
            let (head, meaning) = about(&key.metric);
            format!("<i>{}</i>: {}", escape(head), escape(meaning))
        })
        .collect();
    format!(
        "<section><h2>Memorisation</h2><p class=\"note\">{}. Test data is what an honest model should look \
         like, training data what copies do.</p>{}</section>",
        meanings.join("; "),
        scroll(
            "Memorisation",
            &format!(
                "<thead><tr><th scope=\"col\">model</th><th scope=\"col\" class=\"words\">verdict</th>{heads}</tr></thead>\
                 <tbody>{rows}</tbody><tbody class=\"references\">{references}</tbody>"
            )
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::runs::tests::run_folder;

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
        assert!(
            verdict_of("copied_share,pca-64,0.05,lower\nnearest_train_z,pca-64,-4,\n")
                .1
                .starts_with("closer")
        );
        assert_eq!(
            verdict_of("copied_share,pca-64,0.01,lower\nnearest_train_z,pca-64,-1,\n").1,
            "no sign of copying"
        );
        assert!(verdict_of("auth_pct,pca-64,60,\n").1.contains("not measured"));
    }

    #[test]
    fn what_is_nan_clears_no_model() {
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
