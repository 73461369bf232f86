use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use serde::Deserialize;
use tch::{Device, Kind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

const ZIP: &[u8] = include_bytes!("../../tests/vectors/state_dict.pth");
const LEGACY: &[u8] = include_bytes!("../../tests/vectors/state_dict_legacy.pth");

#[derive(Deserialize)]
struct Expected {
    kind: String,
    size: Vec<i64>,
    values: Vec<f64>,
}

fn kind(name: &str) -> Kind {
    match name {
        "torch.float64" => Kind::Double,
        "torch.float32" => Kind::Float,
        "torch.float16" => Kind::Half,
        "torch.bfloat16" => Kind::BFloat16,
        "torch.int64" => Kind::Int64,
        "torch.int32" => Kind::Int,
        "torch.int16" => Kind::Int16,
        "torch.int8" => Kind::Int8,
        "torch.uint8" => Kind::Uint8,
        "torch.bool" => Kind::Bool,
        _ => panic!("{name}"),
    }
}

fn check(tensors: &NamedTensors) {
    let expected: BTreeMap<String, Expected> =
        serde_json::from_str(include_str!("../../tests/vectors/state_dict.json")).unwrap();
    assert_eq!(tensors.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, tensor) in tensors.iter() {
        let expected = &expected[name];
        assert_eq!((tensor.kind(), tensor.size()), (kind(&expected.kind), expected.size.clone()), "{name}");
        let values = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).unwrap();
        assert_eq!(values, expected.values, "{name}");
    }
}

fn parse(bytes: &[u8]) -> Result<NamedTensors, String> {
    super::parse(bytes, "file.pth".as_ref()).map_err(|error| {
        let error = error.to_string();
        assert!(!error.contains('\n'), "{error}");
        error.strip_prefix("file.pth: ").unwrap().to_owned()
    })
}

#[track_caller]
fn assert_fails(bytes: &[u8], expected: &str) {
    let error = parse(bytes).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn files_of_pytorch_are_read() {
    for bytes in [ZIP, LEGACY] {
        let tensors = parse(bytes).unwrap();
        check(&tensors);
        let start = |name| tensors.get(name).unwrap().data_ptr();
        assert_eq!(start("view"), start("transposed"), "views share their storage");
    }
}

#[test]
fn safetensors_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let content = parse(ZIP).unwrap();
    let content: Vec<_> = content.iter().map(|(name, tensor)| (name, tensor.contiguous())).collect();
    Tensor::write_safetensors(&content, &path).unwrap();
    check(&read(&path).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    assert_fails(&bytes[..bytes.len() - 1], "not safetensors");
}

#[test]
fn other_files_are_refused_in_words() {
    assert_fails(b"", "found 0 bytes");
    assert_fails(b"<!DOCTYPE html>\n<html>", "found 22 bytes that begin with `<!DOCTYPE html>\\n`");
    let missing = read("/no/such/file.pth").unwrap_err();
    assert!(matches!(missing, Error::Io { .. }));
}

#[test]
fn a_file_that_is_cut_off_is_no_state_dict() {
    for bytes in [ZIP, LEGACY] {
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn damage_is_survived() {
    // The archive has checksums, so that few changes of its content get far.
    for (bytes, most) in [(ZIP, 2), (LEGACY, 8)] {
        let mut damaged = bytes.to_vec();
        for place in 0..bytes.len() {
            let values = [bytes[place] ^ 1, 0xff, 0, bytes[place].wrapping_add(16), b'.', b'R', b'h', 0x8a];
            for value in &values[..most] {
                damaged[place] = *value;
                // What is read is either refused or made of the file's own bytes.
                if let Ok(tensors) = parse(&damaged) {
                    assert!(tensors.count_entries() < 64 * bytes.len());
                    for (_, tensor) in tensors.iter() {
                        let _ = tensor.to_kind(Kind::Double).sum(Kind::Double);
                    }
                }
            }
            damaged[place] = bytes[place];
        }
    }
}

/// A file from before PyTorch 1.6 with this state dict, and these storages of zeros after it.
fn legacy(state: &[u8], keys: &[u8], storages: &[u8]) -> Vec<u8> {
    [&legacy::MAGIC[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}.", state, keys, storages].concat()
}

/// A state dict with one tensor `w`: a view of the storage `0` of 4 floats.
fn one_tensor(offset: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut state = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n".to_vec();
    state.extend(b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ");
    for part in [offset, size, stride] {
        state.extend(part);
    }
    state.extend(b"\x89ccollections\nOrderedDict\n)RtRs.");
    let storage = [&4u64.to_le_bytes()[..], &[0; 16]].concat();
    legacy(&state, b"\x80\x02]X\x01\0\0\x000a.", &storage)
}

#[test]
fn views_stay_inside_their_storage() {
    let tensors = parse(&one_tensor(b"K\x01", b"K\x03\x85", b"K\x01\x85")).unwrap();
    assert_eq!(tensors.get("w"), Some(&Tensor::zeros([3], (Kind::Float, Device::Cpu))));
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let negative = b"J\xff\xff\xff\xff";
    let pair = |a: &[u8], b: &[u8]| [a, b, b"\x86"].concat();
    let outside = "reach outside its storage of 4 entries";
    for (offset, size, stride, expected) in [
        (&b"K\x02"[..], b"K\x03\x85".to_vec(), b"K\x01\x85".to_vec(), outside),
        (b"K\x00", b"K\x03\x85".to_vec(), b"K\x02\x85".to_vec(), outside),
        (b"K\x04", b")".to_vec(), b")".to_vec(), outside),
        (b"K\x05", b"K\x00\x85".to_vec(), b"K\x01\x85".to_vec(), outside),
        (huge, b"K\x03\x85".to_vec(), b"K\x01\x85".to_vec(), outside),
        (b"K\x00", pair(huge, huge), pair(b"K\x00", b"K\x00"), outside),
        (b"K\x00", pair(huge, b"K\x00"), pair(b"K\x01", b"K\x01"), ""),
        (b"K\x00", pair(b"K\x02", b"K\x02"), pair(huge, huge), outside),
        // A storage that is repeated could fill any memory.
        (b"K\x00", b"K\x05\x85".to_vec(), b"K\x00\x85".to_vec(), outside),
        (negative, b"K\x03\x85".to_vec(), b"K\x01\x85".to_vec(), "expected a storage, an offset"),
        (b"K\x03", b"K\x03\x85".to_vec(), [negative, &b"\x85"[..]].concat(), "expected a storage, an offset"),
        (b"K\x00", b"K\x03\x85".to_vec(), b")".to_vec(), "a tensor of size [3] with strides []"),
        (b"K\x00", [b"(", &b"K\x01".repeat(17)[..], b"t"].concat(), b")".to_vec(), "expected a storage, an offset"),
    ] {
        let file = one_tensor(offset, &size, &stride);
        if !expected.is_empty() {
            assert_fails(&file, expected);
        } else {
            assert_eq!(parse(&file).unwrap().count_entries(), 0);
        }
    }
}

#[test]
fn storages_are_as_large_as_they_are_said_to_be() {
    let state = one_tensor(b"K\x00", b"K\x03\x85", b"K\x01\x85");
    let mut short = state.clone();
    short.truncate(state.len() - 1);
    assert_fails(&short, "the storage `0` of 4 Float has 4 entries at byte");
    let mut other = state.clone();
    let place = other.len() - 24;
    other[place] = 5;
    assert_fails(&other, "the storage `0` of 4 Float has 5 entries at byte");
}

#[test]
fn nothing_else_is_unpickled() {
    // Python would call `os.system("true")`.
    assert_fails(
        &legacy(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.", b"", b""),
        "byte 2 of the pickle: `os.system` is nothing that a state dict needs",
    );
    // The same by names on the stack.
    assert_fails(&legacy(b"\x80\x04X\x02\0\0\0osX\x06\0\0\0system\x93.", b"", b""), "`os.system` is nothing");
    // A known name with arguments that it does not take.
    assert_fails(
        &legacy(b"\x80\x02ccollections\nOrderedDict\n]\x85R.", b"", b""),
        "the name OrderedDict with 1 arguments makes nothing",
    );
    assert_fails(&legacy(b"\x80\x02i", b"", b""), "the instruction 0x69 is none that state dicts need");
    assert_fails(&legacy(b"\x80\x01", b"", b""), "protocol 1, expected 2 to 5");
    assert_fails(&legacy(b"\x80\x02h\x05.", b"", b""), "nothing was kept as 5");
    assert_fails(&legacy(b"\x80\x02X\xff\xff\xff\xffab", b"", b""), "4294967295 bytes should follow, 2 are left");
    assert_fails(&legacy(b"\x80\x02(0.", b"", b""), "an instruction that lacks a value");
}

#[test]
fn a_file_without_a_dictionary_of_tensors_is_described() {
    let keys = b"\x80\x02].";
    for (state, expected) in [
        (&b"\x80\x02K\x07."[..], "it holds the number 7, expected a state dict"),
        (b"\x80\x02K\x07\x85.", "it holds a tuple of 1, expected a state dict"),
        (b"\x80\x02}X\x05\0\0\0epochK\x07s.", "`epoch` is the number 7, expected tensors only"),
        (b"\x80\x02}X\x05\0\0\0model}s.", "`model` is a dictionary of 0, expected tensors only"),
        (b"\x80\x02}K\x07K\x07s.", "the number 7 is a key, expected names only"),
    ] {
        assert_fails(&legacy(state, keys, b""), expected);
    }
}

#[test]
fn cycles_and_depth_do_no_harm() {
    // A list that is its own only item, and one in one, a million times.
    let cycle = b"\x80\x02]q\x00h\x00a.".to_vec();
    let deep = [b"\x80\x02", &b"]".repeat(1_000_000)[..], &b"a".repeat(999_999), b"."].concat();
    for state in [cycle, deep] {
        assert_fails(&legacy(&state, b"\x80\x02].", b""), "it holds a list of 1, expected a state dict");
    }
}

fn archive(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn other_archives_are_refused_in_words() {
    let empty: &[u8] = b"\x80\x02}.";
    let stored = CompressionMethod::Stored;
    assert!(parse(&archive(&[("a/data.pkl", empty)], stored)).unwrap().is_empty());
    for (files, expected) in [
        (&[("a/image.png", empty)][..], "0 files data.pkl, expected one"),
        (&[("a/data.pkl", empty), ("b/data.pkl", empty)], "2 files data.pkl, expected one"),
        (&[("a/data.pkl", empty), ("a/constants.pkl", empty)], "it holds a TorchScript program"),
        (&[("a/data.pkl", empty), ("a/byteorder", b"big")], "the byte order `big`, expected `little`"),
        (&[("a/data.pkl", b"\x80\x02cos\nsystem\n.")], "`os.system` is nothing"),
    ] {
        assert_fails(&archive(files, stored), expected);
    }
    assert_fails(&archive(&[("a/data.pkl", empty)], CompressionMethod::Deflated), "it is compressed");
    // A storage that is not there, and one of another size.
    let state = one_tensor(b"K\x00", b"K\x03\x85", b"K\x01\x85");
    let start = legacy::MAGIC.len() + 6 + 4;
    let pickle = &state[start..];
    assert_fails(&archive(&[("a/data.pkl", pickle)], stored), "the tensor `w`: the archive has no data/0");
    let file = archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 15])], stored);
    assert_fails(&file, "should hold 4 entries of 4 bytes, found 15 bytes");
    let file = archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])], stored);
    assert_eq!(parse(&file).unwrap().count_entries(), 3);
}
