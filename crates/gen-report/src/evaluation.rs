//! The evaluation of a run, and the measurements in it.

use std::collections::HashMap;
use std::path::Path;

use crate::csv_file::Table;
use crate::dictionary;
use crate::direction::Direction;
use crate::error::{Error, Result};
use crate::measures::{self, Kind, Measure, measure};
use crate::metric::{DATA, Key, Metric};

/// The values of a run, by column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(pub(crate) HashMap<String, String>);

impl Values {
    /// The value in a column; empty where there is none.
    pub fn text(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// The number in a column, which may be infinite or NaN; `None` where there is none.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }

    fn finite(&self, column: &str) -> Option<f64> {
        self.number(column).filter(|value| value.is_finite())
    }

    pub(crate) fn insert(&mut self, column: &str, value: &str) {
        self.0.insert(column.to_owned(), value.to_owned());
    }
}

/// The latest row of a run's `evaluation.csv`; `None` where there is no such file.
///
/// # Errors
///
/// If the file is not an evaluation.
pub fn evaluation(folder: &Path) -> Result<Option<Values>> {
    let path = folder.join("evaluation.csv");
    if !path.exists() {
        return Ok(None);
    }
    evaluation_in(&path).map(Some).map_err(|reason| Error::Content {
        file: "evaluation.csv".to_owned(),
        advice: " (remove it to evaluate again)",
        reason,
    })
}

/// The last row of an `evaluation.csv`, or what is wrong with it.
fn evaluation_in(path: &Path) -> Result<Values, String> {
    let table = Table::read(path)?;
    let row = table.rows.last().ok_or("it has no row")?;
    let values = Values(table.columns.iter().cloned().zip(row.iter().cloned()).collect());
    if values.text("model").is_empty() {
        return Err("it has no `model`".to_owned());
    }
    for column in dictionary::columns_of(dictionary::EVALUATION).filter(|column| column.kind != "string") {
        let value = values.text(&column.name);
        let (fits, what) = match column.kind.as_str() {
            "boolean" => (["true", "false"].contains(&value), "`true` or `false`"),
            _ => (value.parse::<f64>().is_ok(), "a number"),
        };
        if !value.is_empty() && !fits {
            return Err(format!("`{}` should be {what}, found {value:?}", column.name));
        }
    }
    Ok(values)
}

/// The measurements in an evaluation, for a run without `metrics.csv`.
pub(crate) fn metrics(values: &Values) -> Vec<Metric> {
    let whole = |column: &str| values.number(column).map(|n| n as u64);
    let mut metrics = Vec::new();
    let mut add = |column: &str, key: Key, (n_real, n_fake): (Option<u64>, Option<u64>)| {
        let Some(value) = values.number(column) else { return };
        let measure = measure(&key.metric);
        let error = measure.filter(|measure| measure.name == column).and_then(|it| it.standard_error.as_deref());
        metrics.push(Metric {
            value,
            standard_error: error.and_then(|column| values.finite(column)),
            floor: values.finite("fd_floor").filter(|_| column == "fd"),
            n_real,
            n_fake,
            direction: measure.map_or(Direction::Neither, Measure::direction),
            key,
        });
    };
    let space = values.text("feature_space");
    let k = Some(values.text("prdc_k")).filter(|k| !k.is_empty()).map(|k| format!("k={k}")).unwrap_or_default();
    let rows = (whole("n_real"), whole("n_fake"));
    let neighbours = (whole("prdc_n"), whole("prdc_n"));
    for metric in ["fd", "kid"] {
        add(metric, Key::new(metric, space, ""), rows);
    }
    for metric in ["precision", "recall", "density", "coverage"] {
        add(metric, Key::new(metric, space, &k), neighbours);
    }
    add("mmd", Key::new("mmd", space, ""), rows);
    for metric in ["modes_covered", "high_quality_share"] {
        add(metric, Key::new(metric, DATA, ""), rows);
    }
    let likelihood = (whole("n_likelihood").or(rows.0), None);
    for metric in ["bits_per_dim", "nll_nats", "nll_gap_nats", "kl_nats"] {
        add(metric, Key::new(metric, DATA, values.text("likelihood_kind")), likelihood);
    }
    for metric in ["bits_per_dim", "nll_nats"] {
        let key = Key::new(metric, DATA, values.text("importance_kind"));
        add(&format!("importance_{metric}"), key, likelihood);
    }
    metrics
}

/// The costs in an evaluation. What each depends on besides the model is its parameter: `device=cpu threads=2`.
pub(crate) fn costs(values: &Values) -> Vec<Metric> {
    let circumstances = |measure: &Measure| {
        let columns = measure.circumstances.split_whitespace().map(|column| (column, values.text(column)));
        let known = columns.filter(|(_, value)| !value.is_empty());
        let told = known.map(|(column, value)| format!("{}={value}", column.trim_start_matches("sample_")));
        told.collect::<Vec<_>>().join(" ")
    };
    let cost = |measure: &Measure| {
        Some(Metric {
            key: Key::new(&measure.name, "", &circumstances(measure)),
            value: values.number(&measure.name)?,
            standard_error: None,
            floor: None,
            n_real: None,
            n_fake: None,
            direction: measure.direction(),
        })
    };
    measures::of_kind(Kind::Cost).filter_map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_folder;

    #[test]
    fn costs_tell_under_which_circumstances_they_were_taken() {
        let folder = tempfile::tempdir().unwrap();
        let text = "model,family,device,threads,sample_images_per_second,sample_latency_ms,sample_device,\
                    sample_threads,\
                    sample_batch,train_seconds,parameters\nvae,vae,cuda,4,100,3,cpu,2,500,9,7\n";
        let values = evaluation(&run_folder(folder.path(), "vae-d-s0", Some(text))).unwrap().unwrap();
        let found: Vec<(String, String)> =
            costs(&values).into_iter().map(|cost| (cost.key.metric, cost.key.parameter)).collect();
        let expected = [
            ("sample_images_per_second", "device=cpu threads=2 batch=500"),
            ("sample_latency_ms", "device=cpu threads=2"),
            ("train_seconds", "device=cuda threads=4"),
            ("parameters", ""),
        ];
        assert_eq!(found, expected.map(|(metric, parameter)| (metric.to_owned(), parameter.to_owned())));
    }

    #[test]
    fn an_old_evaluation_tells_its_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let text = "model,family,feature_space,fd,fd_floor,coverage,prdc_k,prdc_n,likelihood_kind,bits_per_dim,\
                    importance_kind,importance_bits_per_dim\n\
                    vae,vae,pca-9,3,0.5,0.75,5,100,lower-bound,4,importance-64,3.5\n";
        let values = evaluation(&run_folder(folder.path(), "vae-d-s0", Some(text))).unwrap().unwrap();
        let metrics = metrics(&values);
        let keys: Vec<(Key, f64)> = metrics.iter().map(|m| (m.key.clone(), m.value)).collect();
        assert_eq!(
            keys,
            [
                (Key::new("fd", "pca-9", ""), 3.0),
                (Key::new("coverage", "pca-9", "k=5"), 0.75),
                (Key::new("bits_per_dim", DATA, "lower-bound"), 4.0),
                (Key::new("bits_per_dim", DATA, "importance-64"), 3.5),
            ]
        );
        assert_eq!((metrics[0].floor, metrics[1].n_real), (Some(0.5), Some(100)));
    }
}
