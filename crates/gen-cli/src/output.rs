//! The option `--out`: its extension decides what is written. Everything that can be checked is checked before any
//! work.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use gen_core::Error;
use gen_run::PictureFormat;

/// A kind of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Picture(PictureFormat),
    /// An array for numpy.
    Array,
    /// A CSV file.
    Table,
    Folder,
}

/// The kinds of output of every command that draws.
pub(crate) const PICTURES: [Kind; 4] = [
    Kind::Picture(PictureFormat::Png),
    Kind::Picture(PictureFormat::Jpeg),
    Kind::Picture(PictureFormat::WebP),
    Kind::Picture(PictureFormat::Gif),
];

impl Kind {
    /// The kind that the extension of a name stands for, if any.
    fn named(out: &Path) -> Option<Self> {
        let extension = out.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "npy" => Some(Kind::Array),
            "csv" => Some(Kind::Table),
            _ => PictureFormat::of(out).map(Kind::Picture),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::Picture(PictureFormat::Png) => ".png",
            Kind::Picture(PictureFormat::Jpeg) => ".jpg",
            Kind::Picture(PictureFormat::WebP) => ".webp",
            Kind::Picture(PictureFormat::Gif) => ".gif",
            Kind::Array => ".npy",
            Kind::Table => ".csv",
            Kind::Folder => "a folder",
        }
    }
}

/// The kind of output that `out` stands for: a folder if it is one or has no extension of a file.
///
/// # Errors
/// When the kind is not among `accepted`, or `out` cannot be written.
pub(crate) fn kind(out: &Path, accepted: &[Kind]) -> anyhow::Result<Kind> {
    let takes_folders = accepted.contains(&Kind::Folder);
    let is_folder = out.is_dir() || ends_in_slash(out);
    let kind = match Kind::named(out) {
        Some(kind) if !is_folder && accepted.contains(&kind) => kind,
        None if takes_folders && (is_folder || !looks_like_a_file(out)) => Kind::Folder,
        Some(_) if takes_folders && is_folder => Kind::Folder,
        _ => {
            let found = if is_folder { "the folder " } else { "" };
            let hint = match takes_folders && out.extension().is_some() {
                true => " (for a folder of this name, put a / behind it)",
                false => "",
            };
            bail!("--out takes {}, found {found}{}{hint}", list(accepted), out.display())
        }
    };
    match kind {
        Kind::Folder => check_folder(out)?,
        _ => check_file(out)?,
    }
    Ok(kind)
}

fn list(kinds: &[Kind]) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(std::path::is_separator)
}

/// Whether a name has the extension of a kind of file that no command writes: `x.pdf` does, and `v1.5`,
/// `run.2026-11-29` and `model.v2` do not.
fn looks_like_a_file(out: &Path) -> bool {
    let extension = out.extension().and_then(OsStr::to_str).unwrap_or_default();
    let version = extension.strip_prefix(['v', 'V']).unwrap_or(extension);
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (1..=5).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !is_version
}

/// Checks that a file of this name can be written.
fn check_file(out: &Path) -> anyhow::Result<()> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    check_folder(parent)
}

/// Checks that files can be written in a folder of this name. A folder that does not exist must be possible to make.
pub(crate) fn check_folder(folder: &Path) -> anyhow::Result<()> {
    for place in folder.ancestors() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        match fs::metadata(place) {
            Ok(found) if !found.is_dir() => match place == folder {
                true => bail!("{} is a file, not a folder", place.display()),
                false => bail!("{} is a file: there can be no folder {}", place.display(), folder.display()),
            },
            Ok(_) => {
                let trial = place.join(format!(".gen-{}.tmp", std::process::id()));
                fs::write(&trial, "").map_err(Error::io(place)).context("nothing can be written here")?;
                let _ = fs::remove_file(&trial);
                return Ok(());
            }
            // A missing folder can be made if the one above it is a folder.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(Error::io(place)(error).into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 4] = [Kind::Picture(PictureFormat::Png), Kind::Array, Kind::Table, Kind::Folder];

    #[test]
    fn the_extension_decides_the_kind() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("have.dir")).unwrap();
        fs::create_dir(temp.path().join("odd.png")).unwrap();
        let of = |name: &str| kind(&temp.path().join(name), &ALL).unwrap();
        for (name, expected) in [
            ("grid.PNG", ALL[0]),
            ("a.b/x.Npy", Kind::Array),
            ("x.csv", Kind::Table),
            ("pictures", Kind::Folder),
            ("v1.5", Kind::Folder),
            ("model.v2", Kind::Folder),
            ("run.2026-11-29", Kind::Folder),
            ("have.dir", Kind::Folder),
            ("odd.png", Kind::Folder),
            ("x.pdf/", Kind::Folder),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "checking makes nothing");
    }

    #[test]
    fn a_refusal_lists_the_accepted_kinds() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let message = |name: &str, accepted: &[Kind]| kind(&temp.path().join(name), accepted).unwrap_err().to_string();
        let unknown = message("x.jpg", &ALL);
        assert!(unknown.starts_with("--out takes .png, .npy, .csv or a folder, found "), "{unknown}");
        assert!(unknown.ends_with("x.jpg (for a folder of this name, put a / behind it)"));
        assert!(message("x", &ALL[..2]).starts_with("--out takes .png or .npy, found "));
        assert!(message("", &ALL[..1]).starts_with("--out takes .png, found the folder "));
        for (name, problem) in [
            ("file/x.png", "file is a file, not a folder"),
            ("file/deep/down/x.png", "file is a file: there can be no folder "),
            ("file/pictures", "file is a file: there can be no folder "),
        ] {
            assert!(message(name, &ALL).contains(problem), "{name}: {}", message(name, &ALL));
        }
        assert!(message("file", &ALL).contains("is a file"));
    }
}
