//! No line of code is longer than rustfmt makes them, in any language, in comments and in strings.

use std::path::{Path, PathBuf};

const LONGEST: usize = 120;

/// The files of code in `folder` and below.
fn code(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace").flatten() {
        let path = entry.path();
        let is_code = |kind: &str| path.extension().is_some_and(|extension| extension == kind);
        if path.is_dir() {
            code(&path, found);
        } else if ["rs", "cpp", "h", "py", "sh"].into_iter().any(is_code) {
            found.push(path);
        }
    }
}

#[test]
fn every_line_of_code_fits_120_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    ["crates", "xtask", "tests"].iter().for_each(|folder| code(&root.join(folder), &mut files));
    assert!(files.len() > 100, "{} files of code", files.len());
    let mut long = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("code is UTF-8");
        let lines = text.lines().enumerate().filter(|(_, line)| line.chars().count() > LONGEST);
        long.extend(lines.map(|(number, _)| format!("{}:{}", path.display(), number + 1)));
    }
    assert!(long.is_empty(), "lines of more than {LONGEST} columns: {}", long.join(" "));
}
