use std::fs;
use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
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
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("dogs/._b.png"), "not a picture").unwrap();
    let set = read(folder.path(), None).unwrap();
    assert_eq!(set.rows.x.size(), [3, 1, 7, 7]);
    assert_eq!(first_pixels(&set.rows.x), [1, 2, 3]);
    assert_eq!(set.classes, ["cats", "dogs"]);
    assert_eq!(Vec::<i64>::try_from(set.rows.labels().unwrap()).unwrap(), [0, 1, 1]);
    let [size, others, empty] = &set.warnings[..] else { panic!("{:?}", set.warnings) };
    assert!(size.contains("resized to 7x7") && size.contains("from 6x20 to 8x8, 1 of which is enlarged"), "{size}");
    assert!(others.contains("left out 1 file without the name of a picture: notes.txt"), "{others}");
    assert!(empty.contains("folders without pictures make no classes: empty"), "{empty}");
}

#[test]
fn one_picture_in_colour_makes_the_set_coloured() {
    let folder = tempfile::tempdir().unwrap();
    grey(folder.path(), "a.png", 9, (4, 4));
    RgbImage::from_pixel(4, 4, Rgb([1, 2, 90])).save(folder.path().join("b.png")).unwrap();
    let transparent = image::RgbaImage::from_pixel(4, 4, image::Rgba([0, 0, 100, 51]));
    transparent.save(folder.path().join("c.png")).unwrap();
    let set = read(folder.path(), None).unwrap();
    assert_eq!(first_pixels(&set.rows.x), [9, 9, 9, 1, 2, 90, 204, 204, 224]);
    assert!(set.classes.is_empty() && set.rows.labels().is_none());
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
    assert!(error().contains("holds no pictures"));
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

/// A picture with detail everywhere, so that half a file is half a picture.
fn noisy() -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y * 13) as u8, (x * x + 7 * y) as u8]))
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgb8(noisy());
    match format {
        ImageFormat::Farbfeld => picture.to_rgba16().write_to(&mut bytes, format),
        // Icons need an alpha channel.
        ImageFormat::Ico => picture.to_rgba8().write_to(&mut bytes, format),
        _ => picture.write_to(&mut bytes, format),
    }
    .unwrap();
    bytes.into_inner()
}

/// Two frames of this picture in an animated WebP.
fn animated() -> Vec<u8> {
    let chunk = |name: &[u8; 4], content: &[u8]| [&name[..], &(content.len() as u32).to_le_bytes(), content].concat();
    // The single chunk of a still picture, after the name of the format.
    let still = encoded(ImageFormat::WebP)[12..].to_vec();
    // The canvas: flags (animated), then width and height less 1. A frame: place, size, duration and flags.
    let canvas = [2_u8, 0, 0, 0, 31, 0, 0, 31, 0, 0];
    let frame = [&[0_u8, 0, 0, 0, 0, 0, 31, 0, 0, 31, 0, 0, 100, 0, 0, 2][..], &still[..]].concat();
    let chunks = [chunk(b"VP8X", &canvas), chunk(b"ANIM", &[0_u8; 6]), chunk(b"ANMF", &frame), chunk(b"ANMF", &frame)];
    chunk(b"RIFF", &[&b"WEBP"[..], &chunks.concat()[..]].concat())
}

/// A smooth picture written by libjpeg in ten scans of increasing detail.
const PROGRESSIVE: &[u8] = include_bytes!("../../tests/vectors/progressive.jpg");
/// The same picture in one scan for each colour.
const SCANS: &[u8] = include_bytes!("../../tests/vectors/scans.jpg");

/// The extension and the content of a file of every format.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<_> = FORMATS.iter().map(|(ending, format)| (*ending, encoded(*format))).collect();
    files.extend([("moving.webp", animated()), ("progressive.jpg", PROGRESSIVE.to_vec())]);
    files.push(("scans.jpg", SCANS.to_vec()));
    files
}

const FORMATS: [(&str, ImageFormat); 12] = [
    ("png", ImageFormat::Png),
    ("jpg", ImageFormat::Jpeg),
    ("jfif", ImageFormat::Jpeg),
    ("webp", ImageFormat::WebP),
    ("bmp", ImageFormat::Bmp),
    ("tif", ImageFormat::Tiff),
    ("gif", ImageFormat::Gif),
    ("ppm", ImageFormat::Pnm),
    ("tga", ImageFormat::Tga),
    ("ico", ImageFormat::Ico),
    ("qoi", ImageFormat::Qoi),
    ("ff", ImageFormat::Farbfeld),
];

/// The pixels of the files by libjpeg, row by row.
fn soft() -> Vec<u8> {
    let pixels = (0..32u32).flat_map(|y| (0..32u32).map(move |x| [7 * x, 7 * y, (x * y) >> 2]));
    pixels.flatten().map(|value| value as u8).collect()
}

#[test]
fn pictures_of_all_formats_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let files = files();
    for (i, (ending, bytes)) in files.iter().enumerate() {
        // Bytes after the end of a picture do not matter.
        let bytes = [&bytes[..], b"0123456789"].concat();
        fs::write(folder.path().join(format!("{i:02}.{ending}")), bytes).unwrap();
    }
    let set = read(folder.path(), None).unwrap();
    assert_eq!(set.rows.x.size(), [15, 3, 32, 32]);
    assert!(set.warnings.is_empty(), "{:?}", set.warnings);
    let exact = set.rows.x.get(0);
    let soft = Tensor::from_slice(&soft()).view([32, 32, 3]).permute([2, 0, 1]);
    for (i, (ending, _)) in files.iter().enumerate() {
        // JPEG and GIF are lossy, and lose much of the noisy picture; the others are lossless.
        let (expected, allowed) = match *ending {
            "progressive.jpg" | "scans.jpg" => (&soft, 10.0),
            "jpg" | "jfif" | "gif" => (&exact, 60.0),
            _ => (&exact, 0.0),
        };
        let difference = set.rows.x.get(i as i64).to_kind(Kind::Float) - expected.to_kind(Kind::Float);
        let mean = difference.abs().mean(Kind::Float).double_value(&[]);
        assert!(mean <= allowed, "{ending}: {mean}");
    }
}

#[test]
fn pictures_that_are_not_whole_are_left_out_whatever_their_format() {
    let folder = tempfile::tempdir().unwrap();
    grey(folder.path(), "whole.png", 1, (32, 32));
    for (ending, bytes) in files() {
        for percent in [30, 50, 80, 95] {
            let cut = &bytes[..bytes.len() * percent / 100];
            fs::write(folder.path().join(format!("{percent}.{ending}")), cut).unwrap();
        }
        let set = read(folder.path(), Some(8)).unwrap();
        assert_eq!(set.rows.len(), 1, "{ending}");
        assert!(set.warnings[0].contains("left out 4 of 5 images"), "{ending}: {:?}", set.warnings);
        for percent in [30, 50, 80, 95] {
            fs::remove_file(folder.path().join(format!("{percent}.{ending}"))).unwrap();
        }
    }
}

#[test]
fn a_small_picture_inside_a_file_is_not_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, small) = (encoded(ImageFormat::Jpeg), encoded(ImageFormat::Jpeg));
    let mut segment = vec![0xff, 0xe1];
    segment.extend(((small.len() + 2) as u16).to_be_bytes());
    let with_thumbnail = [&whole[..2], &segment[..], &small[..], &whole[2..]].concat();
    fs::write(folder.path().join("a.jpg"), &with_thumbnail).unwrap();
    fs::write(folder.path().join("b.jpg"), &with_thumbnail[..with_thumbnail.len() - 200]).unwrap();
    let set = read(folder.path(), None).unwrap();
    assert_eq!(set.rows.len(), 1);
    assert!(set.warnings[0].contains("b.jpg (the file is cut off"), "{:?}", set.warnings);
}

#[test]
fn grey_is_grey_however_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let grey = GrayImage::from_fn(16, 16, |x, y| image::Luma([(x * 16 + y) as u8]));
    let luma = DynamicImage::ImageLuma8(grey);
    luma.save(folder.path().join("a.png")).unwrap();
    luma.to_rgb8().save(folder.path().join("b.png")).unwrap();
    luma.to_rgba8().save(folder.path().join("c.png")).unwrap();
    luma.to_luma16().save(folder.path().join("d.png")).unwrap();
    luma.to_rgb8().save(folder.path().join("e.bmp")).unwrap();
    let x = read(folder.path(), None).unwrap().rows.x;
    assert_eq!(x.size(), [5, 1, 16, 16]);
    for i in 1..5 {
        assert_eq!(x.get(i), x.get(0), "{i}");
    }
}

#[test]
fn the_size_is_the_median_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..4 {
        grey(folder.path(), &format!("{i}.png"), 100, (28, 28));
    }
    assert!(read(folder.path(), None).unwrap().warnings.is_empty());
    grey(folder.path(), "spacer.png", 0, (1, 1));
    grey(folder.path(), "photo.png", 0, (640, 480));
    let set = read(folder.path(), None).unwrap();
    assert_eq!(set.rows.x.size()[2..], [28, 28]);
    assert!(set.warnings[0].contains("from 1x1 to 640x480") && set.warnings[0].contains("?size="));
    assert!(read(folder.path(), Some(16)).unwrap().warnings.is_empty());
    for i in 0..9 {
        grey(folder.path(), &format!("large{i}.png"), 0, (100, 90));
    }
    assert_eq!(read(folder.path(), None).unwrap().rows.x.size()[2], 64);
}

#[test]
fn a_stray_picture_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..3 {
        grey(folder.path(), &format!("a/{i}.png"), i, (4, 4));
        grey(folder.path(), &format!("b/{i}.png"), 10 + i, (4, 4));
    }
    grey(folder.path(), "logo.png", 99, (4, 4));
    let set = read(folder.path(), None).unwrap();
    assert_eq!(set.classes, ["a", "b"]);
    assert_eq!(Vec::<i64>::try_from(set.rows.labels().unwrap()).unwrap(), [0, 0, 0, 1, 1, 1]);
    assert_eq!(first_pixels(&set.rows.x), [0, 1, 2, 10, 11, 12]);
    assert!(set.warnings[0].contains("left out 1 picture beside the folders of the classes: logo.png"));
    for i in 0..6 {
        grey(folder.path(), &format!("{i}.png"), i, (4, 4));
    }
    let set = read(folder.path(), None).unwrap();
    assert!(set.rows.labels().is_none() && set.rows.len() == 13);
    assert!(set.warnings[0].contains("no classes, since 7 of 13 pictures lie beside them"));
}

#[test]
fn linked_folders_are_classes_too() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    grey(folder.path(), "a/1.png", 1, (4, 4));
    grey(elsewhere.path(), "2.png", 2, (4, 4));
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("b")).unwrap();
    let set = read(folder.path(), None).unwrap();
    assert_eq!((set.classes.join(","), set.rows.len(), set.warnings.len()), ("a,b".to_owned(), 2, 0));
}
