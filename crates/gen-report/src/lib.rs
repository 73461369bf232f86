//! Tables, figures and one page from what runs leave in their folders.
//!
//! [`build`] reads the run folders of an experiment and writes beside them what people compare them by. Nothing here
//! links libtorch or shares a type with what wrote the files: every file is taken as it may be, cut off, edited, of
//! another version.

mod comparison;
mod copy;
mod csv_file;
mod dictionary;
mod direction;
mod error;
mod escape;
mod figures;
mod files;
mod measures;
mod metrics;
mod models;
mod page;
mod png;
mod ranking;
mod record;
mod runs;
mod scale;
mod style;
mod summary;
pub mod svg;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use comparison::Comparison;
use figures::{agreement::Agreement, classes::Classes, classes::Of, curves, scatter};

pub use copy::without_checkpoints;
pub use dictionary::COLUMNS;
pub use error::{Error, Result};
pub use ranking::spearman;
pub use record::{Machine, RECORD_FILE, Record, write_atomically};
pub use runs::{ERROR_FILE, REFERENCE_PREFIX, Run, Status, Values, evaluation, read_all};

/// What was written.
#[derive(Debug)]
pub struct Built {
    /// The runs, in the order of tables.
    pub runs: Vec<Run>,
    /// Where the files are.
    pub folder: PathBuf,
}

/// Writes the tables, the figures and `report.html` of an experiment into its folder, which has its runs.
///
/// # Errors
///
/// If the folder has no runs, or a file cannot be written.
pub fn build(folder: &Path) -> Result<Built> {
    let runs = read_all(folder)?;
    if runs.is_empty() {
        return Err(Error::NoRuns { folder: folder.to_owned() });
    }
    write(runs, Record::read(folder), folder)
}

/// Writes what [`build`] writes into `out`, about runs that may be anywhere and stay there.
///
/// A run that is named twice counts once. Runs of one name get that of the folder above as well.
///
/// # Errors
///
/// If a folder is no run, the runs are of different data sets, `out` is a run itself, or a file cannot be written.
pub fn compare(run_folders: &[PathBuf], out: &Path) -> Result<Built> {
    if runs::is_run(out) {
        return Err(Error::IsARun { folder: out.to_owned() });
    }
    let mut folders = BTreeSet::new();
    for folder in run_folders {
        let there = fs::canonicalize(folder).map_err(Error::read(folder))?;
        if !runs::is_run(&there) {
            return Err(Error::NotARun { folder: folder.clone() });
        }
        folders.insert(there);
    }
    let runs = runs::read_folders(&folders.into_iter().collect::<Vec<_>>());
    let mut of_data = runs.iter().filter(|run| !run.text("dataset").is_empty());
    let first = of_data.next();
    if let Some((one, other)) =
        first.and_then(|one| Some((one, of_data.find(|run| !run.is_of_same_data(one))?)))
    {
        let same_name = one.text("dataset") == other.text("dataset");
        let data = |run: &Run| match run.text("dataset_sha256") {
            sha256 if same_name => format!("{} (SHA-256 {sha256:.12})", run.text("dataset")),
            _ => run.text("dataset").to_owned(),
        };
        return Err(Error::DifferentData {
            runs: [one, other].map(|run| run.name().to_owned()),
            data: [one, other].map(data),
        });
    }
    fs::create_dir_all(out).map_err(Error::write(out))?;
    write(runs, Ok(None), out)
}

/// Writes all files of a report.
fn write(runs: Vec<Run>, record: Result<Option<Record>>, folder: &Path) -> Result<Built> {
    let comparison = Comparison::of(&runs);
    let (panels, mut notes) = curves::read(&runs);
    for run in &runs {
        notes.extend(run.problems.iter().map(|problem| format!("{}: {problem}", run.name())));
    }
    notes.extend(not_alike(&runs));
    // A record that cannot be read costs the report a line, no more.
    if let Err(error) = &record {
        notes.push(error.to_string());
    }
    let record = record.unwrap_or_default();
    let trilemma = scatter::trilemma(&comparison);
    let training_time = scatter::training_time(&comparison);
    let agreement = Agreement::of(&comparison).map(|agreement| {
        let figure = agreement.figure();
        (agreement, figure)
    });
    let of_classes = |of| {
        let classes = Classes::of(&comparison, of)?;
        let figure = classes.figure();
        Some((classes, figure))
    };
    let classes = [Of::Distance, Of::Share].map(of_classes);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let page = page::page(&page::Report {
        name: &name,
        record: record.as_ref(),
        runs: &runs,
        comparison: &comparison,
        panels: &panels,
        trilemma: trilemma.as_ref(),
        training_time: training_time.as_ref(),
        agreement: agreement.as_ref(),
        classes: &classes,
        notes: &notes,
    });
    let figures = folder.join("figures");
    fs::create_dir_all(&figures).map_err(Error::write(&figures))?;
    let drawn = [&trilemma, &training_time].into_iter().flatten();
    let drawn = drawn.chain(agreement.iter().map(|(_, figure)| figure));
    for figure in drawn.chain(classes.iter().flatten().map(|(_, figure)| figure)) {
        figure.write(&figures)?;
    }
    if let Some((svg, size)) = curves::all(&panels) {
        figures::write(&figures, "training-curves", &svg, size, curves::ALT)?;
    }
    files::write(&runs, folder)?;
    write_atomically(&folder.join("summary.md"), summary::markdown(&runs).as_bytes())?;
    write_atomically(&folder.join("report.html"), page.as_bytes())?;
    Ok(Built { folder: folder.to_owned(), runs })
}

/// What makes numbers of these runs hard to compare.
fn not_alike(runs: &[Run]) -> Vec<String> {
    let different = |runs: &mut dyn Iterator<Item = &Run>, column: &str, what: &str| {
        let mut values: Vec<String> = runs.map(|run| run.text(column).to_owned()).collect();
        values.retain(|value| !value.is_empty());
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| format!("{what}: {}", values.join(", ")))
    };
    let mut notes = Vec::new();
    for (column, what) in [
        ("n_real", "distances from different numbers of test rows cannot be compared"),
        ("n_fake", "distances of different numbers of samples cannot be compared"),
        ("feature_space", "distances in different feature spaces cannot be compared"),
        ("feature_sha256", "distances by different feature networks cannot be compared"),
    ] {
        notes.extend(different(&mut runs.iter(), column, what));
    }
    if files::by_dataset(runs).len() > 1 {
        let column =
            if different(&mut runs.iter(), "dataset", "").is_some() { "dataset" } else { "dataset_sha256" };
        let what = "the runs are of different data, whose numbers cannot be compared";
        notes.extend(different(&mut runs.iter(), column, what));
    }
    for (column, what) in [
        ("budget", "the models were trained with different budgets"),
        ("device", "the models were trained on different devices"),
        ("train_precision", "the models were trained in different precisions"),
        ("weights", "the models were sampled with different kinds of weights"),
        ("sample_device", "sampling was timed on different devices, and is ranked on each alone"),
        ("sample_processor", "sampling was timed on different processors, and is ranked on each alone"),
        (
            "sample_threads",
            "sampling was timed with different numbers of threads, and is ranked with each alone",
        ),
        ("sample_batch", "sampling was timed with different batches, and is ranked with each alone"),
    ] {
        notes.extend(different(&mut runs.iter().filter(|run| !run.is_reference()), column, what));
    }
    let models = models::Model::all(runs);
    let firsts: Vec<&Run> = models.iter().map(|model| model.runs[0]).collect();
    for (index, one) in firsts.iter().enumerate() {
        let named_alike =
            |other: &&&Run| one.stem() == other.stem() && one.folder.parent() == other.folder.parent();
        for other in firsts[index + 1..].iter().filter(named_alike) {
            let told = one.differences(other).into_iter();
            let told: Vec<String> =
                told.map(|(name, own, other)| format!("{name} ({own}, {other})")).collect();
            if !told.is_empty() {
                notes.push(format!(
                    "{} and {} are named as seeds of one model and differ in {}: they count as two models",
                    one.name(),
                    other.name(),
                    told.join(", ")
                ));
            }
        }
    }
    for model in models.iter().filter(|model| model.runs.len() > model.n_failed()) {
        if model.n_failed() > 0 {
            notes.push(format!(
                "{}: {} of {} seeds failed; its numbers are of the others, which may look better than all would",
                model.label,
                model.n_failed(),
                model.runs.len()
            ));
        }
    }
    notes
}

impl Built {
    /// The table, and where the report is.
    pub fn text(&self) -> String {
        let files = ["runs.csv", "report.html"].map(|file| self.folder.join(file).display().to_string());
        format!("{}\n{}\n", summary::plain(&self.runs), files.join("\n"))
    }
}

/// `summary.md` of these runs: the table that a README shows.
pub fn markdown(runs: &[Run]) -> String {
    summary::markdown(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run_folder;

    #[test]
    fn all_files_are_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let row =
            "family,model,feature_space,fd,sample_images_per_second,train_seconds\nvae,vae,pca-2,3.5,100,9\n";
        let run = run_folder(folder.path(), "vae-digits-s0", Some(row));
        fs::write(run.join("history.csv"), "seconds,loss_elbo\n1,2\n2,1\n").unwrap();
        fs::write(run.join("metrics.csv"), "torn").unwrap();
        fs::write(folder.path().join("experiment.toml"), "broken").unwrap();
        build(folder.path()).unwrap();
        let mut expected = vec!["experiment.toml", "vae-digits-s0"];
        expected.extend(OF_A_REPORT);
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
        let figures = names(&folder.path().join("figures"));
        let of_each = ["quality-speed", "quality-training", "training-curves"];
        assert_eq!(figures, of_each.map(|name| [format!("{name}.png"), format!("{name}.svg")]).concat());
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("experiment.toml cannot be read"));
        assert!(page.contains("vae-digits-s0: metrics.csv cannot be read: its last line is cut off"));
    }

    const OF_A_REPORT: [&str; 9] = [
        "columns.csv",
        "figures",
        "history.csv",
        "metrics.csv",
        "models.csv",
        "report.html",
        "runs.csv",
        "summary.csv",
        "summary.md",
    ];

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn runs_are_compared_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let row = "family,model,dataset,feature_space,fd,n_fake\n";
        let vae = |fd: &str, n: &str| format!("{row}vae,vae,d,pca-2,{fd},{n}\n");
        let one = run_folder(folder.path(), "one/vae-d-s0", Some(&vae("3", "10")));
        let two = run_folder(folder.path(), "two/vae-d-s0", Some(&vae("4", "20")));
        let other = run_folder(folder.path(), "two/vae-x-s0", Some(&format!("{row}vae,vae,x,pca-2,1,10\n")));
        let out = folder.path().join("new/out");
        let built = compare(&[one.clone(), two.clone(), one.clone()], &out).unwrap();
        let compared: Vec<&str> = built.runs.iter().map(Run::name).collect();
        assert_eq!(compared, ["one/vae-d-s0", "two/vae-d-s0"]);
        assert_eq!(names(&out), OF_A_REPORT);
        assert_eq!(names(&one), ["evaluation.csv", "log.txt"]);
        let page = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains("distances of different numbers of samples cannot be compared: 10, 20"));
        assert!(built.text().contains("one/vae-d") && built.text().contains("two/vae-d"), "{}", built.text());
        // Once more into the same folder.
        compare(std::slice::from_ref(&one), &out).unwrap();

        let fails = |runs: &[&Path], out: &Path| {
            let runs: Vec<PathBuf> = runs.iter().map(|run| run.to_path_buf()).collect();
            compare(&runs, out).unwrap_err().to_string()
        };
        assert!(fails(&[&one, &other], &out).contains("vae-d-s0 is of d, vae-x-s0 of x"));
        assert!(fails(&[folder.path()], &out).contains("is no run folder"));
        assert!(fails(&[&folder.path().join("none")], &out).starts_with("cannot read"));
        assert!(fails(&[&one], &two).contains("is a run folder"));
    }

    /// The notes on runs with these names and rows.
    fn notes(header: &str, rows: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let run = |(name, row): &(&str, &str)| {
            let text = format!("{header}\n{row}\n");
            run_folder(folder.path(), name, (!row.is_empty()).then_some(text.as_str()))
        };
        let folders: Vec<PathBuf> = rows.iter().map(run).collect();
        not_alike(&runs::read_folders(&folders))
    }

    #[test]
    fn everything_in_which_runs_are_not_alike_is_told_once() {
        let of_all = [
            ("n_real", ["100", "200"], "different numbers of test rows"),
            ("n_fake", ["100", "200"], "different numbers of samples"),
            ("feature_space", ["pca-2", "random-64"], "different feature spaces"),
            ("feature_sha256", ["aa", "bb"], "different feature networks"),
            ("dataset_sha256", ["aa", "bb"], "different data"),
        ];
        let of_trained = [
            ("budget", ["60s", "90s"], "different budgets"),
            ("device", ["cpu", "cuda"], "different devices"),
            ("train_precision", ["bf16", "f32"], "different precisions"),
            ("weights", ["ema", "ema-best"], "different kinds of weights"),
            ("sample_device", ["cpu", "cuda"], "timed on different devices"),
            ("sample_processor", ["one", "two"], "timed on different processors"),
            ("sample_threads", ["1", "2"], "different numbers of threads"),
            ("sample_batch", ["100", "500"], "different batches"),
        ];
        for (index, (column, [one, two], what)) in of_all.into_iter().chain(of_trained).enumerate() {
            let header = format!("family,model,dataset,{column}");
            let told = |family: &str, [one, two]: [&str; 2]| {
                let rows = [("vae", one), ("ddpm", two), ("dcgan", "")]
                    .map(|(model, cell)| (format!("{model}-d-s0"), format!("{family},{model},d,{cell}")));
                notes(&header, &rows.each_ref().map(|(name, row)| (name.as_str(), row.as_str())))
            };
            let found = told("vae", [one, two]);
            let is_it = |note: &String| note.contains(what) && note.ends_with(&format!(": {one}, {two}"));
            assert!(found.len() == 1 && is_it(&found[0]), "{column}: {found:?}");
            assert_eq!(told("vae", [one, one]), Vec::<String>::new(), "{column}");
            // References are not trained, and their sampling is not timed.
            assert_eq!(told("reference", [one, two]).len(), usize::from(index < of_all.len()), "{column}");
        }
        let found = notes("family,model,dataset", &[("vae-d-s0", "vae,vae,d"), ("vae-x-s0", "vae,vae,x")]);
        assert_eq!(found, ["the runs are of different data, whose numbers cannot be compared: d, x"]);
    }

    #[test]
    fn runs_that_are_named_as_seeds_and_are_none_are_told() {
        let header = "family,model,dataset,seed,config_sha256,budget";
        let found = notes(header, &[("vae-d-s0", "vae,vae,d,0,aa,60s"), ("vae-d-s1", "vae,vae,d,1,aa,90s")]);
        let said = "vae-d-s0 and vae-d-s1 are named as seeds of one model and differ in budget (60s, 90s): they count \
                    as two models";
        assert_eq!(found, ["the models were trained with different budgets: 60s, 90s", said]);
        let seeds = [("vae-d-s0", "vae,vae,d,0,aa,60s"), ("vae-d-s1", "vae,vae,d,1,aa,60s")];
        assert_eq!(notes(header, &seeds), Vec::<String>::new());
    }

    #[test]
    fn seeds_that_failed_are_told_beside_those_that_did_not() {
        let header = "family,model,dataset,fd";
        let found = notes(header, &[("vae-d-s0", "vae,vae,d,3"), ("vae-d-s1", ""), ("vae-d-s2", "")]);
        assert!(found.len() == 1 && found[0].starts_with("vae: 2 of 3 seeds failed"), "{found:?}");
        assert_eq!(notes(header, &[("vae-d-s0", ""), ("vae-d-s1", "")]), Vec::<String>::new());
    }

    #[test]
    fn an_experiment_without_runs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(build(folder.path()).err().unwrap().to_string().contains("has no runs"));
    }
}
