//! NumPy arrays, as data sets (`npy:<path>`) and as files of samples.

use std::io::{self, Write};
use std::path::Path;

use half::f16;
use npyz::{AutoSerialize, DType, NpyFile, Order, TypeChar, WriterBuilder};
use tch::{Device, Kind, TchError, Tensor};

use gen_core::{Error, Result};

/// Reads a table `f64 [n, dimension]`, or images `u8` or `f32 [n, channels, height, width]`, from a `.npy` file.
///
/// A table is an array `[n, dimension]`, or `[n]` for one column, of real numbers of any type, integers and booleans
/// included. Images are `[n, height, width]`, `[n, channels, height, width]` or `[n, height, width, channels]` with 1
/// or 3 channels. Integers from 0 to 255 of any width become bytes; other numbers become `f32` images, whose range the
/// file does not define: data sets take bytes only.
///
/// # Errors
/// [`Error::Format`] when the array has another type or shape, or the file is damaged.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, path)
}

/// `x` as a `.npy` file in C order: bytes as `uint8`, doubles as `float64`, anything else as `float32`.
///
/// ```
/// use gen_data::npy;
/// use tch::Tensor;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("points.npy");
/// let points = Tensor::from_slice(&[0.5, 1.0, 1.5, 2.0]).view([2, 2]);
/// std::fs::write(&path, npy::to_bytes(&points)?)?;
/// assert_eq!(npy::read(&path)?, points);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When libtorch cannot read the values.
pub fn to_bytes(x: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(128 + x.numel() * x.kind().elt_size_in_bytes());
    write(&mut bytes, Path::new("memory"), x.kind(), &x.size(), [Ok(x.shallow_clone())])?;
    Ok(bytes)
}

/// Writes an array of `shape` as [`to_bytes`] does, from consecutive `parts` along the first dimension, all of `kind`,
/// one at a time. `path` is for the messages.
///
/// # Errors
/// Those of the parts; when `out` cannot be written; when the parts do not add up to the shape.
pub fn write(
    out: impl Write,
    path: &Path,
    kind: Kind,
    shape: &[i64],
    parts: impl IntoIterator<Item = Result<Tensor>>,
) -> Result<()> {
    let parts = |kind: Kind| parts.into_iter().map(move |part| part.map(|x| x.to_kind(kind)));
    match kind {
        Kind::Uint8 => stream::<u8>(out, path, shape, parts(Kind::Uint8)),
        Kind::Double => stream::<f64>(out, path, shape, parts(Kind::Double)),
        _ => stream::<f32>(out, path, shape, parts(Kind::Float)),
    }
}

fn stream<T: AutoSerialize + Copy>(
    out: impl Write,
    path: &Path,
    shape: &[i64],
    parts: impl Iterator<Item = Result<Tensor>>,
) -> Result<()>
where
    Vec<T>: TryFrom<Tensor, Error = TchError>,
{
    let failed = |error: io::Error| Error::io(path)(error);
    let shape: Vec<u64> = shape.iter().map(|side| *side as u64).collect();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(out).begin_nd().map_err(failed)?;
    for part in parts {
        let values = Vec::<T>::try_from(part?.to_device(Device::Cpu).reshape([-1]))?;
        writer.extend(values).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// Parses the content of a file; `path` is for the messages.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Tensor> {
    let format = |problem: String| Error::format(path, problem);
    check_header_length(bytes).map_err(|problem| format(problem.to_owned()))?;
    let file = NpyFile::new(bytes).map_err(|error| format(format!("not a .npy file: {error}")))?;
    let shape: Vec<u64> = file.shape().to_vec();
    let dtype = file.dtype();
    let found = format!("found an array {shape:?} of {}", type_name(&dtype));
    let numbers = numbers(&dtype).map_err(|problem| format(format!("{problem}; {found}")))?;
    if !(1..=4).contains(&shape.len()) {
        return Err(format(format!(
            "expected a table [n, dimension] or [n], or images [n, height, width], [n, channels, height, width] or \
             [n, height, width, channels]; {found}"
        )));
    }
    let entries = shape.iter().try_fold(1u64, |product, side| product.checked_mul(*side));
    if entries == Some(0) {
        return Err(format(format!("the array is empty; {found}")));
    }
    let size = entries.and_then(|entries| entries.checked_mul(numbers.width()));
    if size.is_none_or(|size| size > bytes.len() as u64) {
        return Err(format(format!("the file is cut off: it has {} bytes; {found}", bytes.len())));
    }
    let is_c = file.order() == Order::C;
    let values = numbers.read(file).map_err(|error| format(format!("the file is damaged: {error}")))?;
    let x = in_order(&values, &shape, is_c);
    if x.dim() <= 2 {
        return Ok(x.to_kind(Kind::Double).reshape([shape[0] as i64, -1]));
    }
    if numbers == Numbers::Bool {
        return Err(format(format!(
            "images of true and false: save them as uint8, 255 for white (x.astype('uint8') * 255); {found}"
        )));
    }
    let fits = x.kind() == Kind::Uint8 || (numbers.are_integers() && is_within_bytes(&x));
    let x = x.to_kind(if fits { Kind::Uint8 } else { Kind::Float });
    channels_first(&x).ok_or_else(|| format(format!("images should have 1 or 3 channels, first or last; {found}")))
}

/// A type of real numbers, with its width in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Bool,
    Int(u64),
    Uint(u64),
    Float(u64),
}

impl Numbers {
    /// The number of bytes of one number.
    fn width(self) -> u64 {
        match self {
            Numbers::Bool => 1,
            Numbers::Int(width) | Numbers::Uint(width) | Numbers::Float(width) => width,
        }
    }

    fn are_integers(self) -> bool {
        matches!(self, Numbers::Int(_) | Numbers::Uint(_))
    }

    /// All values in the order of the file: bytes as `u8`, `f16` and `f32` as `f32`, others as `f64`.
    fn read(self, file: NpyFile<&[u8]>) -> io::Result<Tensor> {
        fn as_f64<T: npyz::Deserialize>(file: NpyFile<&[u8]>, f: impl Fn(T) -> f64) -> io::Result<Tensor> {
            let values: Vec<f64> = file.into_vec::<T>()?.into_iter().map(f).collect();
            Ok(Tensor::from_slice(&values))
        }
        match self {
            Numbers::Bool => as_f64(file, |value: bool| f64::from(u8::from(value))),
            Numbers::Uint(1) => Ok(Tensor::from_slice(&file.into_vec::<u8>()?)),
            Numbers::Uint(2) => as_f64(file, |value: u16| value.into()),
            Numbers::Uint(4) => as_f64(file, |value: u32| value.into()),
            Numbers::Uint(_) => as_f64(file, |value: u64| value as f64),
            Numbers::Int(1) => as_f64(file, |value: i8| value.into()),
            Numbers::Int(2) => as_f64(file, |value: i16| value.into()),
            Numbers::Int(4) => as_f64(file, |value: i32| value.into()),
            Numbers::Int(_) => as_f64(file, |value: i64| value as f64),
            Numbers::Float(2) => {
                let values: Vec<f32> = file.into_vec::<f16>()?.into_iter().map(f32::from).collect();
                Ok(Tensor::from_slice(&values))
            }
            Numbers::Float(4) => Ok(Tensor::from_slice(&file.into_vec::<f32>()?)),
            Numbers::Float(_) => Ok(Tensor::from_slice(&file.into_vec::<f64>()?)),
        }
    }
}

/// The type of an array of real numbers.
///
/// # Errors
/// When the array holds something else; the text says what to do.
fn numbers(dtype: &DType) -> Result<Numbers, String> {
    let plain = match dtype {
        DType::Plain(plain) => plain,
        DType::Record(fields) => {
            let columns: Vec<String> = fields.iter().map(|field| format!("x['{}']", field.name)).collect();
            return Err(format!(
                "the rows are records, each a tuple of named fields: save one array of numbers instead, \
                 np.stack([{}], axis=1)",
                columns.join(", ")
            ));
        }
        DType::Array(..) => {
            return Err("the elements are arrays themselves: save one array of numbers".to_owned());
        }
    };
    match (plain.type_char(), plain.size_field()) {
        (TypeChar::Bool, 1) => Ok(Numbers::Bool),
        (TypeChar::Int, width @ (1 | 2 | 4 | 8)) => Ok(Numbers::Int(width)),
        (TypeChar::Uint, width @ (1 | 2 | 4 | 8)) => Ok(Numbers::Uint(width)),
        (TypeChar::Float, width @ (2 | 4 | 8)) => Ok(Numbers::Float(width)),
        (TypeChar::Object, _) => {
            Err("the elements are Python objects, stored by pickle, which is not read: if they are numbers, save \
             x.astype(float)"
                .to_owned())
        }
        (TypeChar::ByteStr | TypeChar::UnicodeStr, _) => {
            Err("the elements are text: if they are numbers, save x.astype(float)".to_owned())
        }
        (TypeChar::Complex, _) => {
            Err("the elements are complex: save real and imaginary parts as columns of their own".to_owned())
        }
        (TypeChar::DateTime | TypeChar::TimeDelta, _) => {
            Err("the elements are dates or times: save numbers, as x.astype('int64')".to_owned())
        }
        _ => Err("the elements are not numbers of 1, 2, 4 or 8 bytes: save x.astype(float)".to_owned()),
    }
}

/// The name of a type in NumPy.
fn type_name(dtype: &DType) -> String {
    match dtype {
        DType::Plain(plain) => match (plain.type_char(), plain.size_field()) {
            (TypeChar::Bool, _) => "bool".to_owned(),
            (TypeChar::Int, width) => format!("int{}", 8 * width),
            (TypeChar::Uint, width) => format!("uint{}", 8 * width),
            (TypeChar::Float, width) => format!("float{}", 8 * width),
            (TypeChar::Complex, width) => format!("complex{}", 8 * width),
            (TypeChar::Object, _) => "objects".to_owned(),
            (TypeChar::ByteStr | TypeChar::UnicodeStr, _) => "strings".to_owned(),
            _ => format!("the type {plain}"),
        },
        DType::Record(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("records of {}", names.join(", "))
        }
        DType::Array(..) => "arrays".to_owned(),
    }
}

fn is_within_bytes(x: &Tensor) -> bool {
    x.min().double_value(&[]) >= 0.0 && x.max().double_value(&[]) <= 255.0
}

/// Checks the length of the header, for which the reader of npyz allocates memory before it reads.
fn check_header_length(bytes: &[u8]) -> Result<(), &'static str> {
    let number = |range: std::ops::Range<usize>| {
        let bytes = bytes.get(range)?;
        Some(bytes.iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    match bytes {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => {
            return Err("this is an archive, as np.savez makes it: save one array by np.save, as data.npy");
        }
        [0x80, 2..=5, ..] => {
            return Err("this is a pickle, which is not read: save an array of numbers by np.save");
        }
        _ => {}
    }
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
    // In Fortran order the first index runs fastest.
    let axes: Vec<i64> = (0..shape.len() as i64).rev().collect();
    shape.reverse();
    x.view(shape.as_slice()).permute(axes).contiguous()
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
    fn tables_of_both_widths_and_orders_are_read() {
        let expected = Tensor::from_slice(&[1f64, 2.0, 3.0, 4.0, 5.0, 6.0]).view([3, 2]);
        assert_eq!(read(&npy(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2], Order::C)).unwrap(), expected);
        assert_eq!(read(&npy(&[1f64, 3.0, 5.0, 2.0, 4.0, 6.0], &[3, 2], Order::Fortran)).unwrap(), expected);
    }

    #[test]
    fn written_arrays_are_read_back() {
        let images = Tensor::arange(48, (Kind::Uint8, Device::Cpu)).view([4, 3, 2, 2]);
        assert_eq!(read(&to_bytes(&images).unwrap()).unwrap(), images);
        let points = Tensor::arange(6, (Kind::Double, Device::Cpu)).view([3, 2]).tr();
        assert_eq!(read(&to_bytes(&points).unwrap()).unwrap(), points);
        let single = points.to_kind(Kind::Float);
        assert!(to_bytes(&single).unwrap().len() < to_bytes(&points).unwrap().len());
    }

    #[test]
    fn parts_make_the_same_file() {
        let x = Tensor::arange(60, (Kind::Float, Device::Cpu)).view([10, 3, 2]);
        let parts = |rows: i64| {
            let mut bytes = Vec::new();
            let parts = x.narrow(0, 0, rows).split(4, 0).into_iter().map(Ok);
            write(&mut bytes, Path::new("x.npy"), Kind::Float, &x.size(), parts).map(|()| bytes)
        };
        assert_eq!(parts(10).unwrap(), to_bytes(&x).unwrap());
        assert!(parts(9).unwrap_err().to_string().starts_with("x.npy: "));
        let path = Path::new("x.npy");
        let broken = write(Vec::new(), path, Kind::Float, &[1, 1], [Err(Error::invalid("no"))]);
        assert_eq!(broken.unwrap_err().to_string(), "no");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_reported_with_the_name_of_the_file() {
        let full = std::fs::File::create("/dev/full").unwrap();
        let written =
            write(full, Path::new("x.npy"), Kind::Double, &[3], [Ok(Tensor::zeros([3], (Kind::Double, Device::Cpu)))]);
        assert_eq!(written.unwrap_err().to_string(), "x.npy: No space left on device (os error 28)");
    }

    #[test]
    fn other_arrays_are_explained() {
        let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        let float = read(&npy(&[0.5f32; 8], &[2, 2, 2, 1], Order::C)).unwrap();
        assert_eq!((float.size(), float.kind()), (vec![2, 1, 2, 2], Kind::Float));
        assert!(error(&npy(&[0u8; 16], &[1, 4, 2, 2], Order::C)).contains("1 or 3 channels"));
        assert!(error(&npy(&[0u8; 16], &[1, 1, 4, 2, 2], Order::C)).contains("expected a table [n, dimension]"));
        assert!(error(b"PK\x03\x04").contains("np.savez"));
        assert!(error(b"\x80\x04").contains("pickle"));
        assert!(error(b"<html>").contains("not a .npy file"));
        assert!(error(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("cut off"));
        let whole = npy(&[1f32; 100], &[50, 2], Order::C);
        assert!(error(&whole[..whole.len() - 1]).contains("the file is damaged"));
        assert!(error(&whole[..80]).contains("cut off"));
        assert!(
            error(&npy::<f32>(&[], &[0, 2], Order::C)).contains("the array is empty; found an array [0, 2] of float32")
        );
    }

    /// An array of this type with these bytes.
    fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn numbers_of_every_type_are_read() {
        let expected = Tensor::from_slice(&[1f64, 2.0]).view([2, 1]);
        let types: [(&str, &[u8]); 14] = [
            ("'|i1'", &[1, 2]),
            ("'|u1'", &[1, 2]),
            ("'<i2'", &[1, 0, 2, 0]),
            ("'>i2'", &[0, 1, 0, 2]),
            ("'<u2'", &[1, 0, 2, 0]),
            ("'>u2'", &[0, 1, 0, 2]),
            ("'<i4'", &[1, 0, 0, 0, 2, 0, 0, 0]),
            ("'>u4'", &[0, 0, 0, 1, 0, 0, 0, 2]),
            ("'<i8'", &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
            ("'>u8'", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]),
            ("'<f2'", &[0, 0x3c, 0, 0x40]),
            ("'>f2'", &[0x3c, 0, 0x40, 0]),
            ("'>f4'", &[0x3f, 0x80, 0, 0, 0x40, 0, 0, 0]),
            ("'>f8'", &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (descr, data) in types {
            for shape in ["(2, 1)", "(2,)"] {
                assert_eq!(read(&array(descr, shape, data)).unwrap(), expected, "{descr} {shape}");
            }
        }
        let truth = read(&array("'|b1'", "(2, 2)", &[0, 1, 1, 0])).unwrap();
        assert_eq!(truth, Tensor::from_slice(&[0f64, 1.0, 1.0, 0.0]).view([2, 2]));
        let far = read(&npy(&[2_451_545.3f64], &[1, 1], Order::C)).unwrap();
        assert_eq!(far.double_value(&[0, 0]), 2_451_545.3);
    }

    #[test]
    fn integers_are_images_if_they_are_bytes() {
        let bytes = read(&npy(&[0i64, 255, 3, 4], &[1, 2, 2], Order::C)).unwrap();
        assert_eq!(bytes, Tensor::from_slice(&[0u8, 255, 3, 4]).view([1, 1, 2, 2]));
        let deep = read(&npy(&[0u16, 65535, 3, 4], &[1, 2, 2], Order::C)).unwrap();
        assert_eq!((deep.kind(), deep.double_value(&[0, 0, 0, 1])), (Kind::Float, 65535.0));
        let error = read(&array("'|b1'", "(1, 2, 2)", &[0, 1, 1, 0])).unwrap_err().to_string();
        assert!(error.contains("255 for white"), "{error}");
    }

    #[test]
    fn other_types_are_named_in_the_message() {
        for (descr, expected) in [
            ("'|O'", "Python objects"),
            ("[('age', '<f8'), ('mass', '<f4')]", "np.stack([x['age'], x['mass']], axis=1)"),
            ("'<U7'", "text"),
            ("'|S7'", "text"),
            ("'<c16'", "complex"),
            ("'<M8[D]'", "dates"),
            ("'<f16'", "x.astype(float)"),
        ] {
            let error = read(&array(descr, "(2, 2)", &[0; 128])).unwrap_err().to_string();
            assert!(error.contains(expected), "{descr}: {error}");
            assert!(!error.contains("cut off"), "{descr}: {error}");
        }
    }
}
