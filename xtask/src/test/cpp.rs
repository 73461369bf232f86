//! The formatting of gen-native's C++, and a rule for its pointers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::terminal::note;
use crate::{process, workspace};

/// The series of clang-format for which `.clang-format` is written. Others break some lines elsewhere.
const SERIES: &str = "14";

/// Fails if clang-format would change a file. Without a clang-format of the right series it says so and passes.
pub(super) fn check_format() -> Result<()> {
    let Some(program) = ["clang-format-14", "clang-format"].into_iter().find(|name| is_of_series(name)) else {
        note(&format!("there is no clang-format {SERIES} here: the formatting of C++ is not checked"));
        return Ok(());
    };
    let mut files = Vec::new();
    collect(&workspace::root().join("crates/gen-native/native"), &mut files)?;
    let status = process::run(Command::new(program).args(["--dry-run", "--Werror"]).args(&files))?;
    if !status.success() {
        bail!("some files are not formatted: run `{program} -i` on those named above");
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

    fn native(folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&workspace::root().join("crates/gen-native/native").join(folder), &mut files).unwrap();
        files
    }

    /// The identifier at the beginning of `text`.
    fn name(text: &str) -> &str {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    }

    /// The lines that read or write a unit of a convolution through a pointer to units.
    ///
    /// Some functions treat a unit as a float, others as a pair of halves, so under strict aliasing the compiler may
    /// assume that one does not see what another wrote. `memcpy` and vector instructions may access any memory.
    fn accesses(source: &str) -> Vec<&str> {
        let unit = "uint32_t*";
        let lines: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let mut found = Vec::new();
        // A name is valid until its function ends.
        for function in lines.split(|line| line.starts_with('}')) {
            let mut pointers = Vec::new();
            for line in function {
                for (at, _) in line.match_indices(unit) {
                    let rest = line[at + unit.len()..].trim_start();
                    pointers.push(name(rest.strip_prefix("const ").unwrap_or(rest).trim_start()));
                }
                let (declared, value) = line.split_once('=').unwrap_or_default();
                if declared.trim_start().starts_with("auto") && value.contains(&format!("{unit}>(")) {
                    pointers.push(declared.trim_end().rsplit([' ', '*']).next().unwrap_or_default());
                }
            }
            pointers.retain(|pointer| !pointer.is_empty());
            let is_pointer = |text: &str| pointers.contains(&name(text));
            for line in function {
                let begins =
                    |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_.>".contains(c));
                let indexed = line.match_indices('[').any(|(at, _)| {
                    let before = &line[..at];
                    let from = before.len()
                        - before.chars().rev().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
                    begins(from) && is_pointer(&line[from..])
                });
                // After a value a star multiplies, after a type it declares.
                let followed = line.match_indices('*').any(|(at, _)| {
                    let before = line[..at].trim_end();
                    let is_operator = before.ends_with(|c: char| "(,=;{}+-<&|!?:[".contains(c))
                        || before.ends_with("return")
                        || before.is_empty();
                    let rest = line[at + 1..].trim_start_matches(['(', '+', '-']);
                    is_operator && (is_pointer(rest) || rest.contains(&format!("{unit}>(")))
                });
                if indexed || followed {
                    found.push(*line);
                }
            }
        }
        found
    }

    #[test]
    fn units_are_read_and_written_as_memory() {
        for (source, expected) in [
            ("f(const uint32_t* at) {\n  return at[0];\n}", vec!["  return at[0];"]),
            ("f(const uint32_t* at) {\n  return *at * 2;\n}", vec!["  return *at * 2;"]),
            ("f(uint32_t* const to) {\n  *to++ = 1;\n}", vec!["  *to++ = 1;"]),
            ("  auto* const x = static_cast<const uint32_t*>(g.in) + n;\n  y = x[n];", vec!["  y = x[n];"]),
            ("  y = *reinterpret_cast<const uint32_t*>(x);", vec!["  y = *reinterpret_cast<const uint32_t*>(x);"]),
            // Pointers of another function, other pointers, products and comments.
            ("f(uint32_t* at) {\n}\ng(float* at) {\n  return at[0];\n}", vec![]),
            ("f(uint32_t* at, float* of) {\n  of[at - o.at[1]] = n * at_once;  // at[0]\n}", vec![]),
            ("f(const uint32_t* at, int n) {\n  memcpy(&x, at + n * 2, 4);\n  load(at * n);\n}", vec![]),
        ] {
            assert_eq!(accesses(source), expected, "{source}");
        }
        let files = native("conv");
        assert!(files.iter().any(|path| path.ends_with("passes.cpp")));
        for path in files {
            let source = std::fs::read_to_string(&path).unwrap();
            assert_eq!(accesses(&source), Vec::<&str>::new(), "in {}", path.display());
        }
    }

    #[test]
    fn all_sources_are_found() {
        let files = native("");
        for name in ["native.cpp", "math.inc", "conv/kernels.h", ".clang-format"] {
            let found = files.iter().any(|path| path.ends_with(name));
            assert_eq!(found, name != ".clang-format", "{name}");
        }
    }
}
