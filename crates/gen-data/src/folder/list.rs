use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gen_core::{Error, Result};

/// The files in a folder and in all folders below it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files whose names end like those of pictures, sorted.
    pub(super) pictures: Vec<PathBuf>,
    /// Other files, sorted.
    pub(super) others: Vec<PathBuf>,
    /// Folders directly inside that hold no picture at any depth, sorted.
    pub(super) empty: Vec<PathBuf>,
    /// Links to nothing, or to a folder above them, sorted.
    pub(super) dead_links: Vec<PathBuf>,
}

/// The file extensions of pictures.
const PICTURES: [&str; 22] = [
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "jif", "webp", "bmp", "dib", "tif", "tiff", "gif", "pnm", "pbm",
    "pgm", "ppm", "pam", "tga", "ico", "qoi", "ff",
];
/// Files that operating systems create in folders.
const OF_SYSTEMS: [&str; 3] = ["thumbs.db", "desktop.ini", "icon\r"];

impl Listing {
    /// Lists `folder` and all folders below it; hidden files are left out, links are followed.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let mut listing = Listing::default();
        let mut above = vec![real(folder)?];
        let mut inside: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for entry in entries(folder)? {
            let before = listing.pictures.len();
            let is_folder = listing.add(&entry, &mut above)?;
            if is_folder {
                inside.insert(entry, listing.pictures.len() - before);
            }
        }
        listing.empty = inside.into_iter().filter(|(_, pictures)| *pictures == 0).map(|(path, _)| path).collect();
        listing.pictures.sort();
        listing.others.sort();
        listing.dead_links.sort();
        Ok(listing)
    }

    /// Adds a file, or all files of a folder; returns whether it is a folder. `above` are the folders on the way to it.
    fn add(&mut self, path: &Path, above: &mut Vec<PathBuf>) -> Result<bool> {
        let Ok(metadata) = fs::metadata(path) else {
            self.dead_links.push(path.to_owned());
            return Ok(false);
        };
        if !metadata.is_dir() {
            let is_picture = ending(path).is_some_and(|ending| PICTURES.contains(&ending.as_str()));
            if is_picture {
                self.pictures.push(path.to_owned())
            } else {
                self.others.push(path.to_owned())
            }
            return Ok(false);
        }
        let place = real(path)?;
        if above.contains(&place) {
            self.dead_links.push(path.to_owned());
            return Ok(false);
        }
        above.push(place);
        for entry in entries(path)? {
            self.add(&entry, above)?;
        }
        above.pop();
        Ok(true)
    }
}

/// The formats of pictures, for messages.
pub(super) fn known_formats() -> &'static str {
    "PNG, JPEG, WebP, BMP, TIFF, GIF, PNM, TGA, ICO, QOI and farbfeld"
}

fn real(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).map_err(Error::io(folder))
}

/// The entries of a folder that are not hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if !name.starts_with('.') && !OF_SYSTEMS.contains(&name.as_str()) {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path, paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|path| path.strip_prefix(folder).unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn links_are_followed_and_circles_are_not() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir(folder.path().join("nothing")).unwrap();
        for name in ["a/1.PNG", "a/b/2.jfif", "a/.hidden.png", "a/notes.txt", "Thumbs.db"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(elsewhere.path().join("3.webp"), "").unwrap();
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        };
        link(elsewhere.path(), "c");
        link(folder.path(), "a/b/circle");
        link(Path::new("/nowhere/at/all"), "dead.png");
        let listing = Listing::of(folder.path()).unwrap();
        assert_eq!(names(folder.path(), &listing.pictures), ["a/1.PNG", "a/b/2.jfif", "c/3.webp"]);
        assert_eq!(names(folder.path(), &listing.others), ["a/notes.txt"]);
        assert_eq!(names(folder.path(), &listing.empty), ["nothing"]);
        assert_eq!(names(folder.path(), &listing.dead_links), ["a/b/circle", "dead.png"]);
    }
}
