//! The scores of `gen ood`, and `ood.csv`.

use std::path::Path;

use gen_core::model::LikelihoodKind;
use gen_eval::{Detection, OodScore};
use serde::Serialize;

use crate::files::write_rows;

/// The scores of one model on two data sets.
pub(super) struct Found {
    pub(super) run: String,
    pub(super) model: &'static str,
    pub(super) dataset: String,
    pub(super) against: String,
    pub(super) background: Option<String>,
    pub(super) kind: LikelihoodKind,
    pub(super) scores: Vec<(OodScore, Detection)>,
}

/// A row of `ood.csv`: one score.
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

impl Found {
    /// Writes a row for each score.
    pub(super) fn save(&self, path: &Path) -> gen_core::Result<()> {
        write_rows(path, self.scores.iter().map(|(score, detection)| self.row(*score, detection)))
    }

    fn row(&self, score: OodScore, detection: &Detection) -> Row<'_> {
        let Detection { auroc, fpr95, n_in, n_out, mean_in, mean_out } = *detection;
        Row {
            run: &self.run,
            model: self.model,
            dataset: &self.dataset,
            against: &self.against,
            background: self.background.as_deref(),
            likelihood_kind: self.kind.to_string(),
            score: score.to_string(),
            auroc: auroc.value,
            standard_error: auroc.standard_error,
            fpr95,
            n_in,
            n_out,
            mean_in: Some(mean_in).filter(|mean| mean.is_finite()),
            mean_out: Some(mean_out).filter(|mean| mean.is_finite()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use gen_eval::Estimate;

    use super::*;

    pub(in super::super) fn found() -> Found {
        let detection = |auroc: f64, error: f64, fpr95: f64, mean_in: f64, mean_out: f64| Detection {
            auroc: Estimate { value: auroc, standard_error: Some(error) },
            fpr95,
            n_in: 10,
            n_out: 20,
            mean_in,
            mean_out,
        };
        Found {
            run: "flow".to_owned(),
            model: "glow",
            dataset: "clothes".to_owned(),
            against: "digits".to_owned(),
            background: None,
            kind: LikelihoodKind::Exact,
            scores: vec![
                (OodScore::LogLikelihood, detection(0.25, 0.125, 0.75, -900.0, -500.0)),
                (OodScore::Typicality, detection(0.875, 0.0625, 0.5, -20.0, f64::NEG_INFINITY)),
            ],
        }
    }

    #[test]
    fn rows_have_the_documented_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ood.csv");
        found().save(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
        let rows = reader.records().map(Result::unwrap).filter(|row| &row[0] == "ood.csv");
        assert_eq!(lines[0], rows.map(|row| row[1].to_owned()).collect::<Vec<_>>().join(","));
        assert_eq!(lines[1], "flow,glow,clothes,digits,,exact,log-likelihood,0.25,0.125,0.75,10,20,-900.0,-500.0");
        assert!(lines[2].ends_with(",typicality,0.875,0.0625,0.5,10,20,-20.0,"), "{text}");
    }
}
