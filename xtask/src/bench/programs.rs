//! Timing of whole programs from start to end, which is the time that a user waits.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use gen_report::{Machine, write_atomically};

use super::progress::say;
use super::report::load_average;
use crate::process::{self, Stream};
use crate::statistics::{max, median, min, ratios};
use crate::{setup, workspace};

/// The number of samples in the picture.
const SAMPLES: &str = "64";
/// The data set of the DCGAN.
pub(super) const DATA: &str = "fashion-mnist";
/// Enough for a checkpoint; the quality of the samples does not matter.
const BUDGET: &str = "20steps";

/// Described in the data dictionary, `gen_report::COLUMNS`.
const COLUMNS: [&str; 15] = [
    "program",
    "implementation",
    "n",
    "rounds",
    "seconds_median",
    "seconds_min",
    "seconds_max",
    "ratio_to_peer_median",
    "ratio_to_peer_min",
    "ratio_to_peer_max",
    "threads",
    "cpu",
    "cores",
    "load_average",
    "torch_version",
];

/// The programs, and how often each is started.
pub(super) struct Programs {
    pub(super) program: PathBuf,
    pub(super) python: PathBuf,
    pub(super) threads: usize,
    pub(super) rounds: u32,
}

impl Programs {
    /// Times both in turn, writes `programs.csv` in `results` and returns a summary.
    pub(super) fn run(&self, results: &Path) -> Result<String> {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let scratch = scratch.path();
        let run = scratch.join("run");
        let load = load_average();
        let mut train = self.ours("train");
        train.args(["quick-gan", "--data", DATA, "--budget", BUDGET, "--out"]).arg(&run);
        seconds(train)?;
        let start = |implementation: usize| {
            let picture = scratch.join(format!("{implementation}.png"));
            let took = seconds(if implementation == 0 {
                let mut command = self.ours("sample");
                command.arg(&run).args(["-n", SAMPLES, "--out"]).arg(&picture);
                command
            } else {
                let mut command = Command::new(&self.python);
                // Compiled modules are kept, as for a user who runs a script twice, but not beside the sources.
                command.env("PYTHONPYCACHEPREFIX", scratch.join("pycache"));
                command.arg(workspace::root().join("xtask/peers/sample.py")).arg(&run).arg(&picture);
                command.args(["-n", SAMPLES, "--threads", &self.threads.to_string()]);
                command
            })?;
            let size = size(&picture)?;
            Ok::<_, anyhow::Error>((took, size))
        };
        // The first start reads files from the disk that later ones find in memory.
        let sizes = [start(0)?.1, start(1)?.1];
        if sizes[0] != sizes[1] {
            bail!("the pictures should be of one size: gen's is {:?}, PyTorch's {:?}", sizes[0], sizes[1]);
        }
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..self.rounds as usize {
            say(&format!("programs: round {} of {}", round + 1, self.rounds));
            for turn in 0..2 {
                // They take turns at being first.
                let implementation = (turn + round) % 2;
                times[implementation].push(start(implementation)?.0);
            }
        }
        let path = results.join("programs.csv");
        write_atomically(&path, &self.csv(&times, load)?)?;
        let [ours, theirs] = &times;
        let ratios = ratios(ours, theirs);
        Ok(format!(
            "gen sample, {SAMPLES} images to a PNG: {:.2} s, PyTorch {:.2} s; ratio {:.2} ({:.2} to {:.2})\n{}",
            median(ours),
            median(theirs),
            median(&ratios),
            min(&ratios),
            max(&ratios),
            path.display()
        ))
    }

    fn ours(&self, task: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([task, "--threads", &self.threads.to_string()]);
        command
    }

    fn csv(&self, times: &[Vec<f64>; 2], load: Option<f64>) -> Result<Vec<u8>> {
        let machine = Machine::this();
        let ratios = ratios(&times[0], &times[1]);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        for (implementation, times) in ["gen", "pytorch-eager"].into_iter().zip(times) {
            let number = |value: f64| format!("{value:.4}");
            let ratio = |of: fn(&[f64]) -> f64| {
                if implementation == "gen" { number(of(&ratios)) } else { String::new() }
            };
            writer.write_record([
                "sample quick-gan",
                implementation,
                SAMPLES,
                &self.rounds.to_string(),
                &number(median(times)),
                &number(min(times)),
                &number(max(times)),
                &ratio(median),
                &ratio(min),
                &ratio(max),
                &self.threads.to_string(),
                &machine.cpu,
                &machine.cores.to_string(),
                &load.map(|load| load.to_string()).unwrap_or_default(),
                setup::VERSION,
            ])?;
        }
        Ok(writer.into_inner()?)
    }
}

/// The seconds that a program takes from start to end. Its last error line is shown only if it fails.
fn seconds(command: Command) -> Result<f64> {
    let start = Instant::now();
    let mut last = String::new();
    let program = command.get_program().to_string_lossy().into_owned();
    let status = process::run_lines(command, |stream, line| {
        if stream == Stream::Err && !line.trim().is_empty() {
            line.trim().clone_into(&mut last);
        }
        Ok(())
    })?;
    let took = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{program} failed: {last}");
    }
    Ok(took)
}

/// Width and height of a PNG, from its header.
fn size(picture: &Path) -> Result<(u32, u32)> {
    let bytes = std::fs::read(picture).with_context(|| picture.display().to_string())?;
    let number = |at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        four.map(u32::from_be_bytes).with_context(|| format!("{} is no PNG", picture.display()))
    };
    Ok((number(16)?, number(20)?))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// Writes the header of a PNG to the argument that ends in `.png`.
    const PROGRAM: &str = r#"
for argument in "$@"; do case $argument in *.png) file=$argument ;; esac; done
if [ -n "$file" ]; then printf '\211PNG\r\n\032\n\0\0\0\rIHDR\0\0\0SIZE\0\0\0\100' > "$file"; fi
"#;

    fn programs(folder: &Path, sizes: [&str; 2]) -> Programs {
        let [program, python] =
            [0, 1].map(|i| crate::testing::script(folder, &i.to_string(), &PROGRAM.replace("SIZE", sizes[i])));
        Programs { program, python, threads: 1, rounds: 3 }
    }

    #[test]
    fn both_programs_have_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let said = programs(folder.path(), ["\\101"; 2]).run(folder.path()).unwrap();
        assert!(said.contains("64 images to a PNG"), "{said}");
        let mut reader = csv::Reader::from_path(folder.path().join("programs.csv")).unwrap();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.iter().map(|row| row[1].to_owned()).collect::<Vec<_>>(), ["gen", "pytorch-eager"]);
        assert!(rows[0][7].parse::<f64>().unwrap() > 0.0 && rows[1][7].is_empty());
    }

    #[test]
    fn other_pictures_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = programs(folder.path(), ["\\101", "\\102"]).run(folder.path()).unwrap_err().to_string();
        assert!(error.contains("should be of one size: gen's is (65, 64), PyTorch's (66, 64)"), "{error}");
    }

    #[test]
    fn the_columns_are_those_of_the_dictionary() {
        assert_eq!(COLUMNS.to_vec(), super::super::described("programs.csv"));
    }
}
