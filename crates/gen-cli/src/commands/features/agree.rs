use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::number::fixed;
use gen_report::{Run, Status, spearman};

/// Check whether the two spaces of evaluated runs rank them in the same order, as a table in Markdown
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folders of three or more evaluated runs on one data set
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// A text file with the names of the runs, one on each line, ranked by eye with the best first
    #[arg(long, value_name = "FILE")]
    by_eye: Option<PathBuf>,

    /// The lowest rank correlation that counts as agreement
    #[arg(long, default_value_t = 0.8)]
    least: f64,
}

/// The measurements of a run in both spaces.
#[derive(Debug)]
struct Row {
    name: String,
    model: String,
    family: String,
    seconds: Option<f64>,
    fd: [f64; 2],
    by_eye: Option<usize>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (spaces, mut rows) = read(&args.runs)?;
    if let Some(path) = &args.by_eye {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        rank_by_eye(&mut rows, &text).with_context(|| path.display().to_string())?;
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", table(&spaces, &mut rows))?;
    let mut lines = vec![(format!("{} and {}", spaces[0], spaces[1]), correlation(&rows, |row| row.fd))];
    if args.by_eye.is_some() {
        for (at, space) in spaces.iter().enumerate() {
            let pairs = |row: &Row| [row.fd[at], row.by_eye.unwrap_or_default() as f64];
            lines.push((format!("{space} and the ranking by eye"), correlation(&rows, pairs)));
        }
    }
    writeln!(out, "\nSpearman's rank correlation over {}:\n", counted(&rows))?;
    let mut apart = Vec::new();
    for (what, found) in lines {
        let found = found.context("a rank correlation needs at least 3 runs that differ")?;
        writeln!(out, "- {what}: {found:.3}")?;
        if found < args.least {
            apart.push(what);
        }
    }
    if !apart.is_empty() {
        bail!("below {}: {}", args.least, apart.join("; "));
    }
    Ok(())
}

/// The two spaces, and the runs in them.
fn read(folders: &[PathBuf]) -> anyhow::Result<([String; 2], Vec<Row>)> {
    let mut common: Option<[String; 3]> = None;
    let mut rows: Vec<Row> = Vec::new();
    for folder in folders {
        let run = Run::read(folder);
        let place = || folder.display().to_string();
        if let Status::Failed(reason) = &run.status {
            bail!("{}: not evaluated: {reason}", place());
        }
        if run.is_reference() {
            bail!("{}: a reference is not a model: leave it out", place());
        }
        let name = named(folder);
        if rows.iter().any(|row| row.name == name) {
            bail!("two runs are called `{name}`: rename one of the folders");
        }
        let theirs = ["dataset", "feature_space", "second_space"].map(|column| run.text(column).to_owned());
        match &common {
            Some(common) if *common != theirs => bail!(
                "{}: measured on {} in {} and {}, the others on {} in {} and {}",
                place(),
                theirs[0],
                theirs[1],
                theirs[2],
                common[0],
                common[1],
                common[2]
            ),
            _ => common = Some(theirs),
        }
        let distance = |column: &str| {
            run.number(column)
                .filter(|value| value.is_finite())
                .with_context(|| format!("{}: evaluation.csv has no finite `{column}`", place()))
        };
        rows.push(Row {
            name,
            model: run.model().to_owned(),
            family: run.family().to_owned(),
            seconds: run.number("train_seconds"),
            fd: [distance("fd")?, distance("second_fd")?],
            by_eye: None,
        });
    }
    let [_, first, second] = common.context("no runs were given")?;
    Ok(([first, second], rows))
}

fn named(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Sets the place of every run in a list of names.
fn rank_by_eye(rows: &mut [Row], text: &str) -> anyhow::Result<()> {
    let names: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(unknown) = names.iter().find(|name| rows.iter().all(|row| row.name != **name)) {
        bail!("`{unknown}` is not one of the runs");
    }
    for row in rows {
        let mut places = names.iter().enumerate().filter(|(_, name)| **name == row.name);
        match (places.next(), places.next()) {
            (Some((place, _)), None) => row.by_eye = Some(place + 1),
            (None, _) => bail!("`{}` is missing in the ranking", row.name),
            (Some(_), Some(_)) => bail!("`{}` is twice in the ranking", row.name),
        }
    }
    Ok(())
}

fn correlation(rows: &[Row], pair: impl Fn(&Row) -> [f64; 2]) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = rows.iter().map(|row| pair(row).into()).collect();
    spearman(&pairs)
}

fn counted(rows: &[Row]) -> String {
    let different = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<BTreeSet<_>>().len();
    let (models, families) = (different(|row| &row.model), different(|row| &row.family));
    format!("{} runs of {models} models of {families} families", rows.len())
}

/// The table in Markdown, ordered by the distance in the first space.
fn table(spaces: &[String; 2], rows: &mut [Row]) -> String {
    rows.sort_by(|a, b| a.fd[0].total_cmp(&b.fd[0]));
    let by_eye = rows.iter().any(|row| row.by_eye.is_some());
    let [first, second] = spaces;
    let mut text = format!("| run | family | train s | FD, `{first}` | rank | FD, `{second}` | rank |");
    let mut line = "|---|---|---:|---:|---:|---:|---:|".to_owned();
    if by_eye {
        text.push_str(" by eye |");
        line.push_str("---:|");
    }
    text = format!("{text}\n{line}\n");
    for row in &*rows {
        let rank = |at: usize| 1 + rows.iter().filter(|other| other.fd[at] < row.fd[at]).count();
        let seconds = row.seconds.map(|seconds| format!("{seconds:.0}")).unwrap_or_default();
        let Row { name, family, fd, .. } = row;
        let cells = format!(
            "| {name} | {family} | {seconds} | {} | {} | {} | {} |",
            fixed(fd[0], 3),
            rank(0),
            fixed(fd[1], 3),
            rank(1)
        );
        text.push_str(&cells);
        if let Some(place) = row.by_eye {
            text.push_str(&format!(" {place} |"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(folder: &Path, distances: &[(&str, f64, f64)]) -> Vec<PathBuf> {
        let run = |(name, first, second): &(&str, f64, f64)| {
            let run = folder.join(name);
            std::fs::create_dir(&run).unwrap();
            let text = format!(
                "run,family,model,dataset,feature_space,fd,second_space,second_fd,train_seconds\n\
                 {name},vae,vae,digits,classifier:digits,{first},self-supervised:digits,{second},20\n"
            );
            std::fs::write(run.join("evaluation.csv"), text).unwrap();
            run
        };
        distances.iter().map(run).collect()
    }

    #[test]
    fn disagreement_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let folders = runs(folder.path(), &[("a", 2.0, 5.0), ("b", 1.0, 4.0), ("c", 3.0, 9.0)]);
        let file = folder.path().join("order.txt");
        std::fs::write(&file, "b\na\nc\n").unwrap();
        let args = |by_eye| Args { runs: folders.clone(), by_eye, least: 0.8 };
        run(&args(Some(file.clone()))).unwrap();
        let (spaces, mut rows) = read(&folders).unwrap();
        assert_eq!(spaces, ["classifier:digits", "self-supervised:digits"]);
        assert_eq!(correlation(&rows, |row| row.fd), Some(1.0));
        let text = table(&spaces, &mut rows);
        assert!(text.contains("| b | vae | 20 | 1.000 | 1 | 4.000 | 1 |\n| a |"), "{text}");
        assert_eq!(counted(&rows), "3 runs of 1 models of 1 families");
        std::fs::write(&file, "c\na\nb\n").unwrap();
        let error = run(&args(Some(file.clone()))).unwrap_err().to_string();
        assert!(error.starts_with("below 0.8: classifier:digits and the ranking by eye; self-"), "{error}");
        for (order, problem) in
            [("a\nb\n", "`c` is missing"), ("a\na\nb\nc", "`a` is twice"), ("a\nb\nd", "`d` is not one")]
        {
            std::fs::write(&file, order).unwrap();
            let error = format!("{:#}", run(&args(Some(file.clone()))).unwrap_err());
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn runs_that_cannot_be_compared_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut folders = runs(folder.path(), &[("a", 2.0, 5.0), ("b", 1.0, 4.0)]);
        folders.push(folder.path().join("nothing"));
        assert!(read(&folders).unwrap_err().to_string().contains("nothing: not evaluated"));
        for text in ["NaN", "inf", "-inf"] {
            let endless = runs(folder.path(), &[(text, text.parse().unwrap(), 1.0)]);
            let all = [&folders[..2], &endless[..]].concat();
            let error = read(&all).unwrap_err().to_string();
            assert!(error.ends_with("has no finite `fd`"), "{error}");
        }
        folders[2] = folders[0].clone();
        assert!(read(&folders).unwrap_err().to_string().contains("two runs are called `a`"));
        let file = folders[1].join("evaluation.csv");
        let other = std::fs::read_to_string(&file).unwrap().replace(",digits,", ",mnist,");
        std::fs::write(&file, other).unwrap();
        assert!(read(&folders[..2]).unwrap_err().to_string().contains("measured on mnist"));
    }
}
