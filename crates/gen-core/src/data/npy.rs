//! NumPy arrays: as data sets (`npy:<path>`), and as what samples are written to.

use std::io::{self, Write};
use std::path::Path;

use npyz::{AutoSerialize, DType, NpyFile, Order, TypeChar, WriterBuilder};
use tch::{Device, Kind, TchError, Tensor};

use crate::error::{Error, Result};

/// Images `u8 [n, channels, height, width]` or `f32` of this shape, or points `f32 [n, dimension]`, from a `.npy` file.
///
/// Images may be `[n, height, width]`, `[n, channels, height, width]` or `[n, height, width, channels]` with 1 or 3
/// channels, of `uint8`, `float32` or `float64`; points `[n, dimension]` of `float32` or `float64`. What the values of
/// floating-point images mean, the file does not say: data sets take bytes only.
///
/// # Errors
/// [`Error::Format`] when the array is of another kind or shape, or the file is damaged.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, path)
}

/// `x` as a `.npy` file in C order: bytes as `uint8`, anything else as `float32`.
///
/// ```
/// use gen_core::data::npy;
/// use tch::Tensor;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("points.npy");
/// let points = Tensor::from_slice(&[0.5f32, 1.0, 1.5, 2.0]).view([2, 2]);
/// std::fs::write(&path, npy::to_bytes(&points)?)?;
/// assert_eq!(npy::read(&path)?, points);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When libtorch cannot hand over the values.
pub fn to_bytes(x: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(128 + x.numel() * x.kind().elt_size_in_bytes());
    write(&mut bytes, x.kind(), &x.size(), [Ok(x.shallow_clone())])?;
    Ok(bytes)
}

/// Writes an array of `shape` as [`to_bytes`] does, from `parts` that follow each other along the first dimension and are
/// of `kind`; no more than one of them is held at a time.
///
/// # Errors
/// Those of the parts, and when `out` cannot be written or the parts do not add up to the shape.
pub fn write(
    out: impl Write,
    kind: Kind,
    shape: &[i64],
    parts: impl IntoIterator<Item = Result<Tensor>>,
) -> Result<()> {
    if kind == Kind::Uint8 {
        stream::<u8>(out, shape, parts.into_iter())
    } else {
        stream::<f32>(out, shape, parts.into_iter().map(|part| part.map(|x| x.to_kind(Kind::Float))))
    }
}

fn stream<T: AutoSerialize + Copy>(
    out: impl Write,
    shape: &[i64],
    parts: impl Iterator<Item = Result<Tensor>>,
) -> Result<()>
where
    Vec<T>: TryFrom<Tensor, Error = TchError>,
{
    let failed = |error: io::Error| Error::invalid(format!("cannot write a .npy array: {error}"));
    let shape: Vec<u64> = shape.iter().map(|side| *side as u64).collect();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(out).begin_nd().map_err(failed)?;
    for part in parts {
        let values = Vec::<T>::try_from(part?.to_device(Device::Cpu).reshape([-1]))?;
        writer.extend(values).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// [`read`] of a file's content; `path` is for the messages.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Tensor> {
    let format = |problem: String| Error::format(path, problem);
    check_header_length(bytes).map_err(|problem| format(problem.to_owned()))?;
    let file = NpyFile::new(bytes).map_err(|error| format(format!("not a .npy file: {error}")))?;
    let shape: Vec<u64> = file.shape().to_vec();
    let (kind, width) = match file.dtype() {
        DType::Plain(plain) => (plain.type_char(), plain.size_field()),
        _ => (TypeChar::RawData, 0),
    };
    let found = format!("found {:?} {shape:?}", file.dtype().descr());
    let entries = shape.iter().try_fold(1u64, |product, side| product.checked_mul(*side));
    let size = entries.and_then(|entries| entries.checked_mul(width));
    if size.is_none_or(|size| size == 0 || size > bytes.len() as u64) {
        return Err(format(format!("the file is cut off or empty: {found} in {} bytes", bytes.len())));
    }
    let is_c = file.order() == Order::C;
    let damaged = |error: std::io::Error| format(format!("the file is damaged: {error}"));
    match (kind, width, shape.len()) {
        (TypeChar::Uint, 1, 3 | 4) => {
            let x = Tensor::from_slice(&file.into_vec::<u8>().map_err(damaged)?);
            channels_first(&in_order(&x, &shape, is_c)).ok_or_else(|| format(wrong_channels(&found)))
        }
        (TypeChar::Float, 4 | 8, 2..=4) => {
            let x = match width {
                4 => Tensor::from_slice(&file.into_vec::<f32>().map_err(damaged)?),
                _ => Tensor::from_slice(&file.into_vec::<f64>().map_err(damaged)?).to_kind(Kind::Float),
            };
            let x = in_order(&x, &shape, is_c);
            if x.dim() == 2 {
                Ok(x)
            } else {
                channels_first(&x).ok_or_else(|| format(wrong_channels(&found)))
            }
        }
        _ => Err(format(format!(
            "expected uint8 images [n, height, width], [n, channels, height, width] or [n, height, width, channels], \
             or float32 or float64 of these shapes or of points [n, dimension]; {found}"
        ))),
    }
}

/// The reader makes room for the header before it looks for it.
fn check_header_length(bytes: &[u8]) -> Result<(), &'static str> {
    let number = |range: std::ops::Range<usize>| {
        let bytes = bytes.get(range)?;
        Some(bytes.iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        return Err("not a .npy file: it does not start with \\x93NUMPY");
    }
    let length = if bytes.get(6) == Some(&1) { number(8..10) } else { number(8..12) };
    match length {
        Some(length) if length <= bytes.len() => Ok(()),
        _ => Err("the file is cut off in its header"),
    }
}

fn in_order(x: &Tensor, shape: &[u64], is_c: bool) -> Tensor {
    let mut shape: Vec<i64> = shape.iter().map(|side| *side as i64).collect();
    if is_c {
        return x.view(shape.as_slice());
    }
    // Fortran order: the first index runs fastest.
    let axes: Vec<i64> = (0..shape.len() as i64).rev().collect();
    shape.reverse();
    x.view(shape.as_slice()).permute(axes).contiguous()
}

fn wrong_channels(found: &str) -> String {
    format!("images should have 1 or 3 channels, first or last of the image; {found}")
}

fn channels_first(x: &Tensor) -> Option<Tensor> {
    match x.size()[..] {
        [_, _, _] => Some(x.unsqueeze(1)),
        [_, 1 | 3, _, _] => Some(x.shallow_clone()),
        [_, _, _, 1 | 3] => Some(x.permute([0, 3, 1, 2]).contiguous()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy<T: npyz::AutoSerialize + Copy>(values: &[T], shape: &[u64], order: Order) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape).order(order);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Tensor> {
        parse(bytes, Path::new("x.npy"))
    }

    #[test]
    fn three_layouts_of_images_are_one() {
        let planes: Vec<u8> = (0..24).collect();
        let first = read(&npy(&planes, &[2, 3, 2, 2], Order::C)).unwrap();
        assert_eq!(first.size(), [2, 3, 2, 2]);
        let last = first.permute([0, 2, 3, 1]).contiguous();
        let last = Vec::<u8>::try_from(last.reshape([-1])).unwrap();
        assert_eq!(read(&npy(&last, &[2, 2, 2, 3], Order::C)).unwrap(), first);
        let grey = read(&npy(&planes, &[6, 2, 2], Order::C)).unwrap();
        assert_eq!(grey, first.view([6, 1, 2, 2]));
    }

    #[test]
    fn points_of_both_widths_and_orders() {
        let expected = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([3, 2]);
        assert_eq!(read(&npy(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2], Order::C)).unwrap(), expected);
        assert_eq!(read(&npy(&[1f64, 3.0, 5.0, 2.0, 4.0, 6.0], &[3, 2], Order::Fortran)).unwrap(), expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let images = Tensor::arange(48, (Kind::Uint8, Device::Cpu)).view([4, 3, 2, 2]);
        assert_eq!(read(&to_bytes(&images).unwrap()).unwrap(), images);
        let points = Tensor::arange(6, (Kind::Double, Device::Cpu)).view([3, 2]).tr();
        assert_eq!(read(&to_bytes(&points).unwrap()).unwrap(), points.to_kind(Kind::Float));
    }

    #[test]
    fn parts_make_the_same_file() {
        let x = Tensor::arange(60, (Kind::Float, Device::Cpu)).view([10, 3, 2]);
        let parts = |rows: i64| {
            let mut bytes = Vec::new();
            let parts = x.narrow(0, 0, rows).split(4, 0).into_iter().map(Ok);
            write(&mut bytes, Kind::Float, &x.size(), parts).map(|()| bytes)
        };
        assert_eq!(parts(10).unwrap(), to_bytes(&x).unwrap());
        assert!(parts(9).unwrap_err().to_string().contains("cannot write a .npy array"));
        let broken = write(Vec::new(), Kind::Float, &[1, 1], [Err(Error::invalid("no"))]);
        assert_eq!(broken.unwrap_err().to_string(), "no");
    }

    #[test]
    fn other_arrays_are_explained() {
        let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        let float = read(&npy(&[0.5f32; 8], &[2, 2, 2, 1], Order::C)).unwrap();
        assert_eq!((float.size(), float.kind()), (vec![2, 1, 2, 2], Kind::Float));
        let integers = error(&npy(&[1i32, 2], &[1, 2], Order::C));
        assert!(integers.contains("expected uint8 images") && integers.contains("[1, 2]"), "{integers}");
        assert!(
            error(&npy(&[1f32], &[1], Order::C))
                .contains("float64 of these shapes or of points [n, dimension]")
        );
        assert!(error(&npy(&[0u8; 16], &[1, 4, 2, 2], Order::C)).contains("1 or 3 channels"));
        assert!(error(b"PK\x03\x04").contains("not a .npy file"));
        assert!(error(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("cut off"));
        let whole = npy(&[1f32; 100], &[50, 2], Order::C);
        assert!(error(&whole[..whole.len() - 1]).contains("the file is damaged"));
        assert!(error(&whole[..80]).contains("cut off"));
        assert!(error(&npy::<f32>(&[], &[0, 2], Order::C)).contains("cut off or empty"));
    }
}
