//! The CSV files of an experiment.

use std::path::Path;

use crate::csv_file::{self, Table};
use crate::dictionary::{
    self, Column, DICTIONARY, HISTORY, METRICS, MODELS, RUNS, SUMMARY, columns_of, names_of, typed,
};
use crate::error::Result;
use crate::metric::{Key, Metric};
use crate::models::{by_dataset, keys};
use crate::ranking;
use crate::runs::Run;

/// Writes them all.
pub(crate) fn write(runs: &[Run], folder: &Path) -> Result<()> {
    let unknown = unknown_columns(runs);
    let write = |name: &str, rows| csv_file::write(&folder.join(name), &names_of(name), rows);
    let mut all_columns: Vec<&Column> = columns_of(RUNS).collect();
    all_columns.extend(&unknown);
    rows_of_runs(&folder.join(RUNS), runs, &all_columns)?;
    rows_of_runs(&folder.join(SUMMARY), runs, &columns_of(SUMMARY).collect::<Vec<_>>())?;
    write(MODELS, models(runs))?;
    write(METRICS, metrics(runs))?;
    write(HISTORY, history(runs))?;
    csv_file::write(&folder.join(DICTIONARY), &names_of(DICTIONARY), dictionary::rows(&unknown))
}

/// Columns of evaluations that this version does not know, as columns of `runs.csv`.
fn unknown_columns(runs: &[Run]) -> Vec<Column> {
    let mut names: Vec<&str> = runs.iter().flat_map(Run::columns).collect();
    names.sort_unstable();
    names.dedup();
    let known = names_of(RUNS);
    let unknown = names.into_iter().filter(|name| !known.contains(name));
    unknown
        .map(|name| {
            let mut cells = runs.iter().map(|run| run.text(name)).filter(|cell| !cell.is_empty());
            let kind = if cells.all(|cell| cell.parse::<f64>().is_ok()) { "Float64" } else { "string" };
            Column {
                file: RUNS.to_owned(),
                name: name.to_owned(),
                kind: kind.to_owned(),
                unit: String::new(),
                direction: String::new(),
                meaning: "not known to this version; as the runs have it".to_owned(),
            }
        })
        .collect()
}

/// Writes a row per run.
fn rows_of_runs(path: &Path, runs: &[Run], columns: &[&Column]) -> Result<()> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let row = |run: &Run| columns.iter().map(|column| typed(&column.kind, run.text(&column.name))).collect();
    csv_file::write(path, &names, runs.iter().map(row).collect::<Vec<Vec<String>>>())
}

/// A number; empty where there is none.
fn optional<Number: ToString>(number: Option<Number>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// `metrics.csv`: a row per number.
fn metrics(runs: &[Run]) -> Vec<Vec<String>> {
    let row = |run: &Run, metric: &Metric| {
        let Key { metric: name, space, parameter } = metric.key.clone();
        vec![
            run.name().to_owned(),
            name,
            space,
            parameter,
            metric.value.to_string(),
            optional(metric.standard_error),
            optional(metric.floor),
            optional(metric.n_real),
            optional(metric.n_fake),
            metric.direction.name().to_owned(),
            optional(metric.direction.target()),
        ]
    };
    runs.iter().flat_map(|run| run.metrics.iter().map(move |metric| row(run, metric))).collect()
}

/// `models.csv`: a row per model and number, over its seeds.
fn models(runs: &[Run]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for group in by_dataset(runs) {
        for key in keys(runs) {
            let places = ranking::places(&group, &key);
            let floor = ranking::floor(&group, &key);
            for (index, model) in group.iter().enumerate() {
                let Some(seeds) = model.seeds(&key) else { continue };
                let rank = places.iter().find(|place| place.model == index).and_then(|place| place.rank);
                let mut row = vec![model.family().to_owned(), model.label.clone(), model.dataset().to_owned()];
                let told = ["config_sha256", "budget", "device", "train_precision"];
                row.extend(told.map(|column| model.text(column).to_owned()));
                row.extend([
                    key.metric.clone(),
                    key.space.clone(),
                    key.parameter.clone(),
                    seeds.mean.to_string(),
                    optional(seeds.error.map(|error| error.standard_error)),
                    seeds.min.to_string(),
                    seeds.max.to_string(),
                    seeds.n.to_string(),
                    model.n_failed().to_string(),
                    optional(seeds.floor.or(floor)),
                    seeds.direction.name().to_owned(),
                    optional(seeds.direction.target()),
                    optional(rank.map(|rank| rank.rank)),
                    optional(rank.map(|rank| rank.tied)),
                ]);
                rows.push(row);
            }
        }
    }
    rows
}

/// `history.csv`: a row per run, step and name. The page has a note on histories that cannot be read.
fn history(runs: &[Run]) -> Vec<Vec<String>> {
    const AXES: [&str; 3] = ["step", "images_seen", "seconds"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for run in runs {
        let Ok(table) = Table::read(&run.folder.join("history.csv")) else { continue };
        let axes = AXES.map(|name| table.position(name));
        let values = table.columns.iter().enumerate().filter(|(_, name)| !AXES.contains(&name.as_str()));
        let values: Vec<(usize, &String)> = values.collect();
        for row in &table.rows {
            let axis = |index: usize, kind: &str| axes[index].map_or(String::new(), |at| typed(kind, &row[at]));
            for (index, name) in &values {
                rows.push(vec![
                    run.name().to_owned(),
                    axis(0, "Int64"),
                    axis(1, "Int64"),
                    axis(2, "Float64"),
                    (*name).clone(),
                    typed("Float64", &row[*index]),
                ]);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    /// An experiment with all that can be in one: two seeds, a reference, a failure, an old run, an unknown column.
    fn experiment(folder: &Path) -> Vec<Run> {
        let header =
            "run,family,model,dataset,seed,budget,device,train_precision,feature_space,fd,parameters,new_metric\n";
        for (seed, fd) in [(0, "3.5"), (1, "NaN")] {
            let text = format!("{header}x,vae,vae,d,{seed},60s,cpu,f32,pca-2,{fd},100,7\n");
            let run = run_folder(folder, &format!("vae-d-s{seed}"), Some(&text));
            let metrics = format!(
                "run,metric,space,parameter,value,standard_error,floor,n_real,n_fake,direction,target\n\
                 x,fd,pca-2,,{},0.1,0.5,10,10,lower,\nx,coverage,pca-2,k=5,0.5,,,10,10,higher,\n\
                 x,one_nn_accuracy,pca-2,,0.75,,,10,10,target,0.5\nx,kid,pca-2,,{fd},,,10,10,lower,\n",
                3 + 2 * seed
            );
            fs::write(run.join("metrics.csv"), metrics).unwrap();
            fs::write(run.join("history.csv"), "step,images_seen,seconds,loss_elbo\n1,10,0.5,3\n2,20,1,NaN\n").unwrap();
        }
        run_folder(
            folder,
            "ddpm-d-s0",
            Some("family,model,dataset,feature_space,fd,fd_standard_error\ndiffusion,ddpm,d,pca-2,99,0.1\n"),
        );
        let failed = run_folder(folder, "dcgan-d-s0", None);
        fs::write(failed.join("error.txt"), "the loss, \"d\", is NaN\n").unwrap();
        run_folder(
            folder,
            "reference-floor",
            Some("family,model,dataset,feature_space,fd\nreference,floor,d,pca-2,0.5\n"),
        );
        read_all(folder).unwrap()
    }

    fn table(folder: &Path, name: &str) -> Table {
        Table::read(&folder.join(name)).unwrap()
    }

    /// Every file of an experiment has the columns of the dictionary that is written beside it, in their order, and
    /// every cell the type that it says.
    #[test]
    fn the_dictionary_and_the_files_agree() {
        let folder = tempfile::tempdir().unwrap();
        let runs = experiment(folder.path());
        write(&runs, folder.path()).unwrap();
        let dictionary = table(folder.path(), "columns.csv");
        let mut checked = 0;
        for file in ["runs.csv", "summary.csv", "models.csv", "metrics.csv", "history.csv", "columns.csv"] {
            let described: Vec<&Vec<String>> = dictionary.rows.iter().filter(|row| row[0] == file).collect();
            let found = table(folder.path(), file);
            let names: Vec<&String> = described.iter().map(|row| &row[1]).collect();
            assert_eq!(names, found.columns.iter().collect::<Vec<_>>(), "{file}");
            assert!(!found.rows.is_empty(), "{file}");
            for row in &found.rows {
                for (cell, column) in row.iter().zip(&described) {
                    assert_eq!(&typed(&column[2], cell), cell, "{file}: {} {}", column[1], column[2]);
                    checked += 1;
                }
            }
        }
        assert!(checked > 1000, "{checked}");
    }

    #[test]
    fn a_run_has_a_row_with_its_error_and_what_is_not_known_here() {
        let folder = tempfile::tempdir().unwrap();
        write(&experiment(folder.path()), folder.path()).unwrap();
        let runs = table(folder.path(), "runs.csv");
        let at = |run: &str, column: &str| {
            let row = runs.rows.iter().find(|row| row[0] == run).unwrap();
            row[runs.position(column).unwrap()].as_str()
        };
        assert_eq!(runs.rows.len(), 5);
        assert_eq!(at("dcgan-d-s0", "status"), "failed");
        assert_eq!(at("dcgan-d-s0", "error"), "the loss, \"d\", is NaN");
        // The folder names the run, whatever the file says; what is not finite stays as it is.
        assert_eq!((at("vae-d-s0", "fd"), at("vae-d-s0", "new_metric")), ("3.5", "7"));
        assert_eq!(at("vae-d-s1", "fd"), "NaN");
        assert_eq!(table(folder.path(), "summary.csv").rows.len(), 5);
    }

    #[test]
    fn models_are_over_seeds_and_ranked() {
        let folder = tempfile::tempdir().unwrap();
        write(&experiment(folder.path()), folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("models.csv")).unwrap();
        for line in [
            "vae,vae,d,,60s,cpu,f32,fd,pca-2,,4,1,3,5,2,0,0.5,lower,,1,false",
            "diffusion,ddpm,d,,,,,fd,pca-2,,99,0.1,99,99,1,0,0.5,lower,,2,false",
            "reference,floor,d,,,,,fd,pca-2,,0.5,,0.5,0.5,1,0,0.5,lower,,,",
            "vae,vae,d,,60s,cpu,f32,coverage,pca-2,k=5,0.5,0,0.5,0.5,2,0,,higher,,1,false",
            "vae,vae,d,,60s,cpu,f32,one_nn_accuracy,pca-2,,0.75,0,0.75,0.75,2,0,,target,0.5,1,false",
            "vae,vae,d,,60s,cpu,f32,kid,pca-2,,NaN,,3.5,3.5,2,0,,lower,,,",
            "vae,vae,d,,60s,cpu,f32,parameters,,,100,0,100,100,2,0,,lower,,1,false",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn histories_are_long_and_what_is_not_finite_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        write(&experiment(folder.path()), folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("history.csv")).unwrap();
        assert!(text.contains("\nvae-d-s1,1,10,0.5,loss_elbo,3\nvae-d-s1,2,20,1,loss_elbo,NaN\n"), "{text}");
    }

    /// The tables that runs wrote: no column without a description, no cell of another type.
    #[test]
    fn the_dictionary_and_the_committed_runs_agree() {
        let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/reference");
        let mut checked = Vec::new();
        for run in read_all(&reference).unwrap() {
            for file in ["evaluation.csv", "metrics.csv", "history.csv", "validation.csv"] {
                let Ok(found) = Table::read(&run.folder.join(file)) else { continue };
                let described: Vec<&Column> = columns_of(&format!("*/{file}")).collect();
                for (at, name) in found.columns.iter().enumerate() {
                    let is_it = |column: &&&Column| match column.name.strip_suffix('*') {
                        Some(front) => name.starts_with(front),
                        None => column.name == *name,
                    };
                    let column = described.iter().find(is_it);
                    let column = column.unwrap_or_else(|| panic!("{file}: `{name}` is not described"));
                    let other = found.rows.iter().find(|row| typed(&column.kind, &row[at]) != row[at]);
                    assert!(other.is_none(), "{file}: `{name}` should be {}: {other:?}", column.kind);
                }
                checked.push(file);
            }
        }
        assert!(checked.contains(&"evaluation.csv") && checked.contains(&"history.csv"), "{checked:?}");
    }
}
