//! The Python environment of the peers, in the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::progress::say;
use crate::{process, setup};

/// The published libraries of flows, at the versions that are timed.
///
/// They are installed without their dependencies: PyTorch and NumPy are there, and flows need no others.
const LIBRARIES: [&str; 3] = ["zuko==1.6.0", "nflows==0.14", "normflows==1.7.3"];

/// [`ensure`], then installs the libraries of flows if they are not there.
pub(super) fn ensure_libraries() -> Result<PathBuf> {
    let python = ensure()?;
    let present = folder()?.join("libraries");
    let wanted = LIBRARIES.join("\n");
    if fs::read_to_string(&present).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    say(&format!("installing {}", LIBRARIES.join(", ")));
    install(&python, &[&["--no-deps"], &LIBRARIES[..]].concat())?;
    fs::write(&present, wanted).with_context(|| present.display().to_string())?;
    Ok(python)
}

fn folder() -> Result<PathBuf> {
    Ok(setup::cache_folder()?.join(format!("peers-torch-{}", setup::VERSION)))
}

/// Returns the interpreter of an environment with the packages that the peers need, which is made if it is not there.
///
/// An environment whose installation was interrupted is made again.
pub(super) fn ensure() -> Result<PathBuf> {
    let folder = folder()?;
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if complete.exists() && python.exists() {
        return Ok(python);
    }
    say(&format!("making a Python environment in {} (3 GB to download)", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    make(Path::new("python3"), &folder)?;
    let torch = format!("torch=={}", setup::VERSION);
    install(&python, &[&torch, "safetensors", "numpy"])?;
    fs::write(&complete, "").with_context(|| complete.display().to_string())?;
    Ok(python)
}

fn make(python: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "venv"]).arg(folder);
    run(command).context(
        "no Python environment: install python3 with its module venv (Debian, Ubuntu: apt-get install python3-venv), \
         or name one with --python",
    )
}

fn install(python: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--progress-bar", "off"]).args(arguments);
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
    run(command).with_context(|| {
        let packages: Vec<&str> = arguments.iter().copied().filter(|argument| !argument.starts_with('-')).collect();
        format!("cannot install {} for Python; check that this machine reaches its package index", packages.join(", "))
    })
}

/// Shows the packages while they are fetched; the error is the last line that reports one.
fn run(command: Command) -> Result<()> {
    let mut problem = String::new();
    let status = process::run_merged(command, |line| {
        let line = line.trim();
        if ["Collecting ", "Downloading ", "Installing "].iter().any(|start| line.starts_with(start)) {
            say(line);
        } else if line.starts_with("ERROR") || line.starts_with("Error") || problem.is_empty() {
            line.clone_into(&mut problem);
        }
        Ok(())
    })?;
    if !status.success() {
        bail!("{problem} ({status})");
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// An interpreter that prints this and fails.
    fn python(folder: &Path, says: &str) -> PathBuf {
        crate::testing::script(folder, "python3", &format!("cat <<END\n{says}\nEND\nexit 1"))
    }

    #[test]
    fn an_index_out_of_reach_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let says = "WARNING: Retrying after connection broken\nERROR: Could not find a version\n\
                    ERROR: No matching distribution found for torch==2.13.0";
        let error = format!("{:#}", install(&python(folder.path(), says), &["torch==2.13.0"]).unwrap_err());
        assert!(error.starts_with("cannot install torch==2.13.0 for Python; check that"), "{error}");
        assert!(error.contains("ERROR: No matching distribution found") && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn a_failed_installation_names_packages_and_no_options() {
        let folder = tempfile::tempdir().unwrap();
        let python = python(folder.path(), "ERROR: no");
        let error = format!("{:#}", install(&python, &["--no-deps", "zuko==1.6.0", "nflows==0.14"]).unwrap_err());
        assert!(error.starts_with("cannot install zuko==1.6.0, nflows==0.14 for Python"), "{error}");
    }

    #[test]
    fn a_python_without_venv_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let says = "The virtual environment was not created successfully because ensurepip is not\navailable.";
        let error = format!("{:#}", make(&python(folder.path(), says), folder.path()).unwrap_err());
        assert!(error.contains("python3-venv") && error.lines().count() == 1, "{error}");
        let none = format!("{:#}", make(&folder.path().join("nowhere"), folder.path()).unwrap_err());
        assert!(none.contains("python3-venv") && none.lines().count() == 1, "{none}");
    }
}
