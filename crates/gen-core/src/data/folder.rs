//! Folders of pictures as data sets: `folder:<path>`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, Rgb, RgbImage};
use tch::Tensor;

use super::Split;
use crate::checksum::{sha256, sha256_of_list};
use crate::error::{Error, Result};

/// The side of the images where none is asked for and the files would allow a larger one.
const SIDE: u32 = 64;
/// Files named in the warning about those that cannot be read.
const NAMED: usize = 5;

/// The pictures of a folder.
#[derive(Debug)]
pub struct ImageFolder {
    /// `u8 [n, 1 or 3, side, side]`, and the class of each picture where there are sub-folders.
    pub rows: Split,
    /// The names of the sub-folders, sorted; empty where pictures lie in the folder itself.
    pub classes: Vec<String>,
    /// SHA-256 over names and contents of the files.
    pub sha256: String,
    /// Which files could not be read.
    pub warnings: Vec<String>,
}

/// Reads all PNG and JPEG files in `folder` and its sub-folders, sorted by path; hidden ones are left out.
///
/// Each picture is turned as its EXIF data say, cut to its central square and resized to `side` (bicubic,
/// antialiased). Without `side`, it is the shortest side of all files, at most 64: nothing is enlarged. Transparent
/// pixels are laid over white. The set is grey if all files are, else in colour.
///
/// If every picture lies in a sub-folder, and there are at least two of these, their names are the classes.
///
/// # Errors
/// When the folder cannot be read, has no pictures, or none of them can be decoded.
pub fn read(folder: impl AsRef<Path>, side: Option<u32>) -> Result<ImageFolder> {
    let folder = folder.as_ref();
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Error::invalid(format!("{} has no PNG or JPEG files in it", folder.display())));
    }
    let side = match side {
        Some(side) => side,
        None => in_parallel(&files, shortest_side).into_iter().flatten().min().unwrap_or(SIDE).min(SIDE),
    };
    let decoded = in_parallel(&files, |path| decode(path, side));

    let mut pictures = Vec::new();
    let mut broken = Vec::new();
    for (path, result) in files.iter().zip(decoded) {
        let name = relative(folder, path);
        match result {
            Ok(picture) => pictures.push((name, picture)),
            Err(reason) => broken.push(format!("{name} ({reason})")),
        }
    }
    if pictures.is_empty() {
        let first = &broken[0];
        return Err(Error::format(
            folder,
            format!("none of its {} images can be read: {first}", files.len()),
        ));
    }
    let (classes, labels) = labels(&pictures);
    Ok(ImageFolder {
        rows: Split { x: stack(&pictures, i64::from(side)), labels },
        classes,
        sha256: sha256_of_list(
            pictures.iter().map(|(name, picture)| (name.as_str(), picture.sha256.as_str())),
        ),
        warnings: warning(folder, &broken, files.len()).into_iter().collect(),
    })
}

/// The sizes, `(width, height)`, of the pictures that [`read`] would read and can.
///
/// # Errors
/// When the folder cannot be read.
pub fn sizes(folder: impl AsRef<Path>) -> Result<BTreeSet<(u32, u32)>> {
    let mut files = Vec::new();
    list(folder.as_ref(), &mut files)?;
    Ok(in_parallel(&files, size).into_iter().flatten().collect())
}

/// A decoded picture, `side * side` bytes if grey, three times as many in colour.
struct Picture {
    bytes: Vec<u8>,
    grey: bool,
    sha256: String,
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they may lead in circles.
        if entry.file_type().map_err(Error::io(&path))?.is_dir() {
            list(&path, files)?;
        } else if is_picture(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| ["png", "jpg", "jpeg"].contains(&extension.as_str()))
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
            .chunks(files.len().div_ceil(threads))
            .map(|chunk| scope.spawn(move || chunk.iter().map(|path| work(path)).collect::<Vec<T>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn size(path: &Path) -> Option<(u32, u32)> {
    ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok()
}

fn shortest_side(path: &Path) -> Option<u32> {
    size(path).map(|(width, height)| width.min(height).max(1))
}

fn decode(path: &Path, side: u32) -> Result<Picture, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let image = open(&bytes).map_err(|error| error.to_string())?;
    let grey = !image.color().has_color();
    let image = over_white(image);
    let (width, height) = (image.width(), image.height());
    let short = width.min(height);
    if short == 0 {
        return Err("it has no pixels".to_owned());
    }
    let square = image.crop_imm((width - short) / 2, (height - short) / 2, short, short);
    let resized =
        if short == side { square } else { square.resize_exact(side, side, FilterType::CatmullRom) };
    let pixels = if grey { resized.into_luma8().into_raw() } else { resized.into_rgb8().into_raw() };
    Ok(Picture { bytes: pixels, grey, sha256: sha256(&bytes) })
}

fn open(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    // A few bytes may claim to be a picture of any size.
    let mut limits = Limits::default();
    limits.max_image_width = Some(1 << 16);
    limits.max_image_height = Some(1 << 16);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn over_white(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image;
    }
    let blend = |value: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let (width, height) = (image.width(), image.height());
    if image.color().has_color() {
        let rgba = image.into_rgba8();
        RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, a] = rgba.get_pixel(x, y).0;
            Rgb([r, g, b].map(|value| blend(value, a)))
        })
        .into()
    } else {
        let luma = image.into_luma_alpha8();
        GrayImage::from_fn(width, height, |x, y| {
            let [value, alpha] = luma.get_pixel(x, y).0;
            image::Luma([blend(value, alpha)])
        })
        .into()
    }
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

fn labels(pictures: &[(String, Picture)]) -> (Vec<String>, Option<Tensor>) {
    let class = |name: &str| name.split_once('/').map(|(class, _)| class.to_owned());
    let found: Option<Vec<String>> = pictures.iter().map(|(name, _)| class(name)).collect();
    let Some(found) = found else { return (Vec::new(), None) };
    let classes: Vec<String> = found.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    if classes.len() < 2 {
        return (Vec::new(), None);
    }
    let label = |class: &String| classes.binary_search(class).map_or(0, |label| label as i64);
    let labels: Vec<i64> = found.iter().map(label).collect();
    (classes, Some(Tensor::from_slice(&labels)))
}

fn warning(folder: &Path, broken: &[String], all: usize) -> Option<String> {
    if broken.is_empty() {
        return None;
    }
    let named = broken.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more =
        if broken.len() > NAMED { format!(" and {} more", broken.len() - NAMED) } else { String::new() };
    Some(format!("{}: left out {} of {all} images: {named}{more}", folder.display(), broken.len()))
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn grey(folder: &Path, name: &str, value: u8, size: (u32, u32)) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(size.0, size.1, image::Luma([value])).save(path).unwrap();
    }

    fn first_pixels(x: &Tensor) -> Vec<u8> {
        Vec::try_from(x.select(2, 0).select(2, 0).reshape([-1])).unwrap()
    }

    #[test]
    fn sub_folders_are_classes_and_files_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        grey(folder.path(), "dogs/b.png", 3, (9, 7));
        grey(folder.path(), "dogs/a.jpeg", 2, (8, 8));
        grey(folder.path(), "cats/deep/c.PNG", 1, (6, 20));
        fs::write(folder.path().join("notes.txt"), "not a picture").unwrap();
        fs::write(folder.path().join("dogs/._b.png"), "not a picture").unwrap();
        let set = read(folder.path(), None).unwrap();
        assert_eq!(set.rows.x.size(), [3, 1, 6, 6]);
        assert_eq!(first_pixels(&set.rows.x), [1, 2, 3]);
        assert_eq!(set.classes, ["cats", "dogs"]);
        assert_eq!(Vec::<i64>::try_from(set.rows.labels.unwrap()).unwrap(), [0, 1, 1]);
        assert!(set.warnings.is_empty());
    }

    #[test]
    fn one_picture_in_colour_makes_the_set_coloured() {
        let folder = tempfile::tempdir().unwrap();
        grey(folder.path(), "a.png", 9, (4, 4));
        RgbImage::from_pixel(4, 4, Rgb([1, 2, 3])).save(folder.path().join("b.png")).unwrap();
        let transparent = image::RgbaImage::from_pixel(4, 4, image::Rgba([0, 0, 100, 51]));
        transparent.save(folder.path().join("c.png")).unwrap();
        let set = read(folder.path(), None).unwrap();
        assert_eq!(first_pixels(&set.rows.x), [9, 9, 9, 1, 2, 3, 204, 204, 224]);
        assert!(set.classes.is_empty() && set.rows.labels.is_none());
    }

    #[test]
    fn fine_patterns_are_averaged_not_sampled() {
        let folder = tempfile::tempdir().unwrap();
        // Left third black, middle third a one-pixel chessboard, right third white; the central square is the middle.
        let picture = GrayImage::from_fn(192, 64, |x, y| match x / 64 {
            0 => image::Luma([0]),
            1 => image::Luma([if (x + y) % 2 == 0 { 0 } else { 200 }]),
            _ => image::Luma([255]),
        });
        picture.save(folder.path().join("a.png")).unwrap();
        let x = read(folder.path(), Some(8)).unwrap().rows.x.to_kind(Kind::Float);
        assert_eq!(x.size(), [1, 1, 8, 8]);
        assert!((x - 100.0).abs().max().double_value(&[]) <= 3.0);
    }

    #[test]
    fn photographs_are_turned_as_their_exif_data_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let left_dark = GrayImage::from_fn(16, 16, |x, _| image::Luma([if x < 8 { 0 } else { 255 }]));
        left_dark.save(&path).unwrap();
        // An Exif segment with one entry: orientation (0x0112) 6, to be turned clockwise by a quarter.
        let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let plain = fs::read(&path).unwrap();
        fs::write(&path, [&plain[..2], exif, &plain[2..]].concat()).unwrap();
        let x = read(folder.path(), None).unwrap().rows.x.to_kind(Kind::Float);
        let rows = Vec::<f32>::try_from(x.mean_dim([0i64, 1, 3].as_slice(), false, Kind::Float)).unwrap();
        assert!(rows[0] < 10.0 && rows[15] > 245.0, "{rows:?}");
    }

    #[test]
    fn one_broken_picture_is_named_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        grey(folder.path(), "a/1.png", 1, (4, 4));
        grey(folder.path(), "b/2.png", 2, (4, 4));
        let whole = fs::read(folder.path().join("a/1.png")).unwrap();
        fs::write(folder.path().join("b/3.png"), &whole[..whole.len() / 2]).unwrap();
        let set = read(folder.path(), None).unwrap();
        assert_eq!(set.rows.len(), 2);
        assert_eq!(set.warnings.len(), 1);
        assert!(set.warnings[0].contains("left out 1 of 3 images: b/3.png ("), "{}", set.warnings[0]);
        assert!(!set.warnings[0].contains('\n'));
    }

    #[test]
    fn nothing_readable_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = || read(folder.path(), None).unwrap_err().to_string();
        assert!(error().contains("has no PNG or JPEG files"));
        for name in ["a.png", "b.jpg"] {
            fs::write(folder.path().join(name), "<html>").unwrap();
        }
        assert!(error().contains("none of its 2 images can be read: a.png ("), "{}", error());
        let missing = read(folder.path().join("x"), None).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }));
    }

    #[test]
    fn the_checksum_follows_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        grey(folder.path(), "a.png", 1, (4, 4));
        let sha256 = || read(folder.path(), None).unwrap().sha256;
        let first = sha256();
        assert_eq!(sha256(), first);
        fs::rename(folder.path().join("a.png"), folder.path().join("b.png")).unwrap();
        let renamed = sha256();
        assert_ne!(renamed, first);
        grey(folder.path(), "b.png", 2, (4, 4));
        assert_ne!(sha256(), renamed);
    }
}
