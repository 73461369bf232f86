//! Files of PyTorch before version 1.6: pickles of a magic number, the version, the machine, the state dict, and the
//! keys of the storages; then each storage, preceded by its number of entries.

use std::collections::HashMap;
use std::ops::Range;

use super::pickle::Pickle;
use super::tensors::{Storages, named};
use super::value::{Object, StorageRecord, Value};
use gen_core::params::NamedTensors;

/// The magic number, 0x1950a86a20f9469cfc6c, as a pickle.
pub(super) const MAGIC: [u8; 15] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// The only version.
const VERSION: i64 = 1001;

pub(super) fn parse(bytes: &[u8]) -> Result<NamedTensors, String> {
    let mut position = MAGIC.len();
    let mut next = |part: &str| {
        let rest = bytes.get(position..).unwrap_or_default();
        let pickle = Pickle::read(rest).map_err(|problem| format!("{part} at byte {position}: {problem}"))?;
        position += pickle.length;
        Ok::<_, String>(pickle)
    };
    let version = next("the version")?;
    if !matches!(version.root, Value::Int(VERSION)) {
        return Err(format!("a file of version {}, expected {VERSION}", version.describe(&version.root)));
    }
    // The machine has sizes of C's integers, which do not matter, and the byte order, which the first sizes reveal.
    next("the machine")?;
    let state = next("the state dict")?;
    let keys = next("the keys of the storages")?;

    let records = records(&state)?;
    let Some(Object::List(keys_in_order)) = keys.object(&keys.root) else {
        return Err(format!("keys that are {}, expected a list", keys.describe(&keys.root)));
    };
    let mut places: HashMap<&str, Range<usize>> = HashMap::new();
    for key in keys_in_order {
        let record = match key {
            Value::Text(key) => records.get(&**key),
            _ => None,
        };
        let record = record.ok_or_else(|| format!("{} is the key of no tensor's storage", keys.describe(key)))?;
        let (start, count) = length(bytes, position)?;
        let end = record.count.checked_mul(record.kind.elt_size_in_bytes()).and_then(|size| start.checked_add(size));
        let end = end.filter(|end| count == record.count as u64 && *end <= bytes.len()).ok_or_else(|| {
            format!(
                "the storage `{}` of {} {:?} has {count} entries at byte {position} of {}",
                record.key.escape_debug(),
                record.count,
                record.kind,
                bytes.len()
            )
        })?;
        places.insert(&record.key, start..end);
        position = end;
    }
    named(
        &state,
        &mut Storages::new(|record| {
            let place = places.get(&*record.key).cloned();
            let place = place.ok_or_else(|| format!("the file has no storage `{}`", record.key.escape_debug()))?;
            Ok(bytes[place].to_vec())
        }),
    )
}

/// The storages of the state dict by key.
fn records(state: &Pickle) -> Result<HashMap<&str, &StorageRecord>, String> {
    let mut records: HashMap<&str, &StorageRecord> = HashMap::new();
    for record in state.storages() {
        match records.insert(&record.key, record) {
            Some(other) if other != record => {
                return Err(format!("the storage `{}` is described in two ways", record.key.escape_debug()));
            }
            _ => {}
        }
    }
    Ok(records)
}

/// The place of the first entry of a storage at `position`, and its number of entries.
fn length(bytes: &[u8], position: usize) -> Result<(usize, u64), String> {
    match bytes.get(position..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(count) => Ok((position + 8, u64::from_le_bytes(*count))),
        None => Err(format!("it is cut off at byte {}: a storage should follow", bytes.len())),
    }
}
