//! How gen-native's C++ is laid out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{note, process, workspace};

/// The series of clang-format that `.clang-format` is written for: another breaks some lines elsewhere.
const SERIES: &str = "14";

/// Fails where clang-format would change a file. Without one of the right series it says so, and passes.
pub(super) fn check_format() -> Result<()> {
    let Some(program) = ["clang-format-14", "clang-format"].into_iter().find(|name| is_of_series(name))
    else {
        note(&format!("there is no clang-format {SERIES} here: the formatting of C++ is not checked"));
        return Ok(());
    };
    let mut files = Vec::new();
    collect(&workspace::root().join("crates/gen-native/native"), &mut files)?;
    let status = process::run(Command::new(program).args(["--dry-run", "--Werror"]).args(&files))?;
    if !status.success() {
        bail!("`{program} -i` formats the files that are named above");
    }
    Ok(())
}

fn is_of_series(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| series(&String::from_utf8_lossy(&output.stdout)) == Some(SERIES))
}

/// The number before the first dot of `... clang-format version 14.0.6 ...`.
fn series(version: &str) -> Option<&str> {
    version.split_once("version ")?.1.split('.').next()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "cpp" || end == "h" || end == "inc") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_is_read_whoever_packed_it() {
        assert_eq!(series("Debian clang-format version 14.0.6\n"), Some("14"));
        assert_eq!(series("clang-format version 21.1.0 (https://example.org)\n"), Some("21"));
        assert_eq!(series("gofmt"), None);
    }

    #[test]
    fn all_sources_are_found() {
        let mut files = Vec::new();
        collect(&workspace::root().join("crates/gen-native/native"), &mut files).unwrap();
        for name in ["native.cpp", "math.inc", "conv/kernels.h", ".clang-format"] {
            let found = files.iter().any(|path| path.ends_with(name));
            assert_eq!(found, name != ".clang-format", "{name}");
        }
    }
}
