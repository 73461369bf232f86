//! `ood.csv`.

use std::path::Path;

use gen_eval::Detection;
use gen_run::write_atomically;
use serde::Serialize;

use super::Found;

/// A row of `ood.csv`: what one score came to.
#[derive(Serialize)]
struct Row<'a> {
    run: &'a str,
    model: &'a str,
    dataset: &'a str,
    against: &'a str,
    background: Option<&'a str>,
    likelihood_kind: String,
    score: String,
    auroc: f64,
    standard_error: Option<f64>,
    fpr95: f64,
    n_in: usize,
    n_out: usize,
    mean_in: Option<f64>,
    mean_out: Option<f64>,
}

pub(super) fn save(path: &Path, found: &Found) -> anyhow::Result<()> {
    let text = text(found)?;
    write_atomically(path, |temporary| std::fs::write(temporary, &text).map_err(gen_core::Error::io(path)))?;
    Ok(())
}

fn text(found: &Found) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (score, detection) in &found.scores {
        let Detection { auroc, fpr95, n_in, n_out, mean_in, mean_out } = *detection;
        writer.serialize(Row {
            run: &found.run,
            model: found.model,
            dataset: &found.dataset,
            against: &found.against,
            background: found.background.as_deref(),
            likelihood_kind: found.kind.to_string(),
            score: score.to_string(),
            auroc: auroc.value,
            standard_error: auroc.standard_error,
            fpr95,
            n_in,
            n_out,
            mean_in: Some(mean_in).filter(|mean| mean.is_finite()),
            mean_out: Some(mean_out).filter(|mean| mean.is_finite()),
        })?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ood::tests::found;

    #[test]
    fn rows_have_the_documented_columns() {
        let text = String::from_utf8(text(&found()).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
        let rows = reader.records().map(Result::unwrap).filter(|row| &row[0] == "ood.csv");
        assert_eq!(lines[0], rows.map(|row| row[1].to_owned()).collect::<Vec<_>>().join(","));
        assert_eq!(
            lines[1],
            "flow,glow,clothes,digits,,exact,log-likelihood,0.25,0.125,0.75,10,20,-900.0,-500.0"
        );
        assert!(lines[2].ends_with(",typicality,0.875,0.0625,0.5,10,20,-20.0,"), "{text}");
    }
}
