//! Tables, figures and an HTML report from the files in run folders.
//!
//! [`build`] reads the run folders of an experiment and writes the comparison beside them. Nothing here links libtorch
//! or shares a type with the programs that wrote the files, which may be truncated, edited or of another version.

mod atomic;
mod comparison;
mod config;
mod copy;
mod csv_file;
mod dictionary;
mod direction;
mod error;
mod evaluation;
mod figures;
mod files;
mod measures;
mod metric;
mod models;
mod notes;
mod page;
mod ranking;
mod raster;
mod record;
mod runs;
mod scale;
mod seeds;
mod style;
mod summary;
pub mod svg;
mod table;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use comparison::Comparison;
use figures::{agreement::Agreement, classes::Classes, classes::Of, curves, scatter};

pub use atomic::write_atomically;
pub use config::REFERENCE_PREFIX;
pub use copy::without_checkpoints;
pub use dictionary::COLUMNS;
pub use error::{Error, Result};
pub use evaluation::{Values, evaluation};
pub use measures::MEASURES;
pub use ranking::spearman;
pub use record::{Machine, RECORD_FILE, Record};
pub use runs::{ERROR_FILE, Run, Status, read_all};
pub use table::aligned;

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
/// A run that is given twice counts once. Runs with the same name also get the name of the folder above.
///
/// # Errors
///
/// If a folder is not a run, the runs are of different data sets, `out` is a run itself, or a file cannot be written.
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
    if let Some((one, other)) = first.and_then(|one| Some((one, of_data.find(|run| !run.is_of_same_data(one))?))) {
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
    notes.extend(notes::not_alike(&runs));
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
    use crate::testing::run_folder;

    #[test]
    fn all_files_are_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let row = "family,model,feature_space,fd,sample_images_per_second,train_seconds\nvae,vae,pca-2,3.5,100,9\n";
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

    #[test]
    fn an_experiment_without_runs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(build(folder.path()).err().unwrap().to_string().contains("has no runs"));
    }

    #[test]
    fn the_page_needs_no_other_file_and_names_what_failed() {
        let folder = tempfile::tempdir().unwrap();
        let row = "family,model,dataset,feature_space,fd,sample_images_per_second,train_seconds,coverage\n\
                   vae,vae,digits,pca-64,3.5,100,9,0.5\n";
        let vae = run_folder(folder.path(), "vae-digits-s0", Some(row));
        fs::create_dir(vae.join("samples")).unwrap();
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 80, 0, 0, 0, 64]);
        fs::write(vae.join("samples/evaluation.png"), &png).unwrap();
        fs::write(vae.join("history.csv"), "seconds,loss_elbo\n1,2\n2,1\n").unwrap();
        run_folder(folder.path(), "ddpm-digits-s0", None);
        build(folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("src=\"data:image/png;base64,") && page.contains("width=\"80\" height=\"64\""));
        assert!(page.contains("<b>ddpm-digits-s0</b> failed: unfinished"));
        let order = [
            "<h1>",
            "Samples",
            "Which is best?",
            "Quality, coverage, speed",
            "Quality against training time",
            "Learning curves",
            "All runs",
            "All measurements",
            "Protocol",
        ];
        let positions: Vec<usize> = order.iter().map(|heading| page.find(heading).unwrap()).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        assert!(page.contains("elbo of vae over seconds"));
        for outside in ["http:", "https:", "src=\"/", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
