//! Folders of pictures as data sets: `folder:<path>`.

mod classes;
mod list;
mod picture;
mod whole;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use tch::Tensor;

use self::classes::Classes;
use self::list::{Listing, known_formats};
use self::picture::Picture;
use crate::checksum::sha256_of_list;
use crate::words::{count, list};
use gen_core::data::{Condition, Split};
use gen_core::{Error, Result};

/// The largest side chosen by default.
const SIDE: u32 = 64;

/// The pictures of a folder.
#[derive(Debug)]
pub struct ImageFolder {
    /// `u8 [n, 1 or 3, side, side]`, and the class of each picture where sub-folders are classes.
    pub rows: Split,
    /// The names of the sub-folders that are classes, sorted.
    pub classes: Vec<String>,
    /// SHA-256 over names and contents of the files.
    pub sha256: String,
    /// What was left out, and what was chosen by default, one line each.
    pub warnings: Vec<String>,
}

/// Reads all pictures in `folder` and its sub-folders, sorted by path: PNG, JPEG, WebP, BMP, TIFF, GIF (the first
/// frame), PNM, TGA, ICO, QOI and farbfeld. Links are followed, hidden files are left out.
///
/// Each picture is turned as its EXIF data say, cropped to its central square and resized to `side` (bicubic,
/// antialiased). The default for `side` is the median of the shorter sides of all files, at most 64. Transparent pixels
/// are blended with white. The set is grey if no pixel of any file has a colour, else in colour.
///
/// If pictures lie in two sub-folders or more, the sub-folders are the classes, and pictures beside them are left out.
/// If at least half of all pictures lie beside them, there are no classes. If all lie in one sub-folder, its own
/// sub-folders count.
///
/// # Errors
/// When the folder cannot be read, has no pictures, or none can be decoded.
pub fn read(folder: impl AsRef<Path>, side: Option<u32>) -> Result<ImageFolder> {
    let folder = folder.as_ref();
    let listing = Listing::of(folder)?;
    let files = &listing.pictures;
    let name = |path: &PathBuf| relative(folder, path);
    if files.is_empty() {
        let others: Vec<String> = listing.others.iter().map(name).collect();
        let found = if others.is_empty() { String::new() } else { format!("; found {}", list(&others)) };
        return Err(Error::invalid(format!(
            "{} holds no pictures ({} files){found}",
            folder.display(),
            known_formats()
        )));
    }
    let mut warnings = Vec::new();
    let side = match side {
        Some(side) => side,
        None => chosen_side(&in_parallel(files, picture::size), &mut warnings),
    };
    let decoded = in_parallel(files, |path| picture::decode(path, side));
    let (mut pictures, mut broken) = (Vec::new(), Vec::new());
    for (path, result) in files.iter().zip(decoded) {
        match result {
            Ok(picture) => pictures.push((name(path), picture)),
            Err(reason) => broken.push(format!("{} ({reason})", name(path))),
        }
    }
    if pictures.is_empty() {
        let problem = format!("none of its {} images can be read: {}", files.len(), broken[0]);
        return Err(Error::format(folder, problem));
    }
    if !broken.is_empty() {
        let all = files.len();
        warnings.insert(0, format!("left out {} of {all} images: {}", broken.len(), list(&broken)));
    }
    let others: Vec<String> = listing.others.iter().map(name).collect();
    if !others.is_empty() {
        warnings.push(format!(
            "left out {} without the name of a picture: {}",
            count(others.len(), "file"),
            list(&others)
        ));
    }
    let dead: Vec<String> = listing.dead_links.iter().map(name).collect();
    if !dead.is_empty() {
        warnings.push(format!("left out {} to nothing or in a circle: {}", count(dead.len(), "link"), list(&dead)));
    }
    let (classes, labels) = with_classes(&mut pictures, &mut warnings);
    if !classes.is_empty() && !listing.empty.is_empty() {
        let empty: Vec<String> = listing.empty.iter().map(name).collect();
        warnings.push(format!("folders without pictures make no classes: {}", list(&empty)));
    }
    Ok(ImageFolder {
        rows: Split { x: stack(&pictures, i64::from(side)), condition: Condition { labels, ..Condition::NONE } },
        classes,
        sha256: sha256_of_list(pictures.iter().map(|(name, picture)| (name.as_str(), picture.sha256.as_str()))),
        warnings: warnings.into_iter().map(|warning| format!("{}: {warning}", folder.display())).collect(),
    })
}

/// The sizes, `(width, height)`, of the pictures that [`read`] would read, by their headers.
///
/// # Errors
/// When the folder cannot be read.
pub fn sizes(folder: impl AsRef<Path>) -> Result<BTreeSet<(u32, u32)>> {
    let files = Listing::of(folder.as_ref())?.pictures;
    Ok(in_parallel(&files, picture::size).into_iter().flatten().collect())
}

/// The lower median of the shorter sides, at most [`SIDE`].
fn chosen_side(sizes: &[Option<(u32, u32)>], warnings: &mut Vec<String>) -> u32 {
    let mut found: Vec<(u32, u32)> = sizes.iter().flatten().copied().collect();
    found.sort_by_key(|&(width, height)| (width.min(height), width.max(height)));
    let (Some(least), Some(most)) = (found.first(), found.last()) else { return SIDE };
    let (width, height) = found[(found.len() - 1) / 2];
    let side = width.min(height).clamp(1, SIDE);
    if found.iter().any(|size| *size != (side, side)) {
        let sizes = match least == most {
            true => format!("the files are {}x{}", least.0, least.1),
            false => format!("the files go from {}x{} to {}x{}", least.0, least.1, most.0, most.1),
        };
        let smaller = found.iter().filter(|(width, height)| *width.min(height) < side).count();
        let enlarged = match smaller {
            0 => String::new(),
            n => format!(", {n} of which {} enlarged", if n == 1 { "is" } else { "are" }),
        };
        warnings.push(format!(
            "the images are resized to {side}x{side}, the median of the shorter sides, at most {SIDE}: \
             {sizes}{enlarged}; ?size= sets another side"
        ));
    }
    side
}

/// The classes and the label of each picture. Pictures beside the classes are removed.
fn with_classes(pictures: &mut Vec<(String, Picture)>, warnings: &mut Vec<String>) -> (Vec<String>, Option<Tensor>) {
    let paths: Vec<String> = pictures.iter().map(|(name, _)| name.clone()).collect();
    let found = Classes::of(&paths);
    if found.beside > 0 {
        warnings.push(format!(
            "its sub-folders make no classes, since {} of {} pictures lie beside them",
            found.beside,
            paths.len()
        ));
    }
    if found.names.is_empty() {
        return (Vec::new(), None);
    }
    if found.are_like_parts() {
        warnings.push(format!(
            "the classes are {}: if these are parts of a data set, load one of them instead",
            found.names.join(", ")
        ));
    }
    let strays: Vec<String> =
        paths.iter().zip(&found.labels).filter(|(_, label)| label.is_none()).map(|(path, _)| path.clone()).collect();
    if !strays.is_empty() {
        warnings.push(format!(
            "left out {} beside the folders of the classes: {}",
            count(strays.len(), "picture"),
            list(&strays)
        ));
    }
    let mut labels = found.labels.iter();
    pictures.retain(|_| labels.next().is_some_and(Option::is_some));
    let labels: Vec<i64> = found.labels.iter().flatten().map(|label| *label as i64).collect();
    (found.names, Some(Tensor::from_slice(&labels)))
}

/// The path inside the folder, with `/` on every system.
fn relative(folder: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn in_parallel<T: Send>(files: &[PathBuf], work: impl Fn(&Path) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = files
            .chunks(files.len().div_ceil(threads).max(1))
            .map(|chunk| scope.spawn(move || chunk.iter().map(|path| work(path)).collect::<Vec<T>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// `u8 [n, channels, side, side]`.
fn stack(pictures: &[(String, Picture)], side: i64) -> Tensor {
    let all_grey = pictures.iter().all(|(_, picture)| picture.grey);
    let images: Vec<Tensor> = pictures
        .iter()
        .map(|(_, picture)| {
            let channels = if picture.grey { 1 } else { 3 };
            let image = Tensor::from_slice(&picture.bytes).view([side, side, channels]).permute([2, 0, 1]);
            if all_grey { image } else { image.expand([3, side, side], false) }
        })
        .collect();
    Tensor::stack(&images, 0)
}

#[cfg(test)]
mod tests;
