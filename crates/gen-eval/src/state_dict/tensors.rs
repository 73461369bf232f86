//! Tensors from their descriptions.

use std::collections::HashMap;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::pickle::Pickle;
use super::value::{Object, StorageRecord, TensorRecord, Value};
use gen_core::params::NamedTensors;

/// The storages of a file, each read once.
pub(super) struct Storages<F> {
    read: F,
    known: HashMap<Rc<str>, (StorageRecord, Tensor)>,
}

impl<F: FnMut(&StorageRecord) -> Result<Vec<u8>, String>> Storages<F> {
    /// `read` gives the bytes of a storage.
    pub(super) fn new(read: F) -> Self {
        Storages { read, known: HashMap::new() }
    }

    /// All entries of a storage, in one dimension.
    fn get(&mut self, record: &StorageRecord) -> Result<&Tensor, String> {
        if !self.known.contains_key(&record.key) {
            let bytes = (self.read)(record)?;
            let width = record.kind.elt_size_in_bytes();
            if record.count.checked_mul(width) != Some(bytes.len()) {
                return Err(format!(
                    "the storage `{}` should hold {} entries of {width} bytes, found {} bytes",
                    record.key.escape_debug(),
                    record.count,
                    bytes.len()
                ));
            }
            let size = [record.count as i64];
            let tensor = match record.kind {
                // Bytes of booleans may have any value in a file, but not in libtorch.
                Kind::Bool => Tensor::f_from_data_size(&bytes, &size, Kind::Uint8).and_then(|x| x.f_ne(0)),
                kind => Tensor::f_from_data_size(&bytes, &size, kind),
            };
            let tensor = tensor.map_err(|error| error.to_string())?;
            self.known.insert(record.key.clone(), (record.clone(), tensor));
        }
        let (known, tensor) = &self.known[&record.key];
        if known != record {
            return Err(format!("the storage `{}` is described in two ways", record.key.escape_debug()));
        }
        Ok(tensor)
    }

    /// The view of a storage that `record` describes. It shares memory with the other views of that storage.
    fn view(&mut self, record: &TensorRecord) -> Result<Tensor, String> {
        let TensorRecord { storage, offset, size, stride } = record;
        if !fits(record) {
            return Err(format!(
                "size {size:?}, strides {stride:?} and offset {offset} reach outside its storage of {} entries",
                storage.count
            ));
        }
        let entries = self.get(storage)?;
        entries.f_as_strided(size, stride, *offset).map_err(|error| error.to_string())
    }
}

/// Whether a view is inside its storage and has at most as many entries. A view that repeats entries could need more
/// memory than there is.
fn fits(record: &TensorRecord) -> bool {
    let TensorRecord { storage, offset, size, stride } = record;
    let Ok(count) = i64::try_from(storage.count) else { return false };
    let entries = size.iter().try_fold(1i64, |product, side| product.checked_mul(*side));
    if size.contains(&0) {
        return *offset <= count && entries == Some(0);
    }
    let steps = size.iter().zip(stride);
    let last =
        steps.into_iter().try_fold(*offset, |last, (side, stride)| last.checked_add((side - 1).checked_mul(*stride)?));
    entries.is_some_and(|entries| entries <= count) && last.is_some_and(|last| last < count)
}

/// The tensors of a pickle, which has to be a dictionary of tensors.
pub(super) fn named<F>(pickle: &Pickle, storages: &mut Storages<F>) -> Result<NamedTensors, String>
where
    F: FnMut(&StorageRecord) -> Result<Vec<u8>, String>,
{
    let Some(Object::Dict(items)) = pickle.object(&pickle.root) else {
        return Err(format!(
            "it holds {}, expected a state dict: a dictionary of tensors",
            pickle.describe(&pickle.root)
        ));
    };
    let mut tensors = NamedTensors::new();
    for (key, value) in items {
        let Value::Text(name) = key else {
            return Err(format!("{} is a key, expected names only", pickle.describe(key)));
        };
        let Some(Object::Tensor(record)) = pickle.object(value) else {
            return Err(format!(
                "`{}` is {}, expected tensors only: if it is what you want, save it alone",
                name.escape_debug(),
                pickle.describe(value)
            ));
        };
        if tensors.get(name).is_some() {
            return Err(format!("the tensor `{}` is there twice", name.escape_debug()));
        }
        let tensor = storages.view(record);
        let tensor = tensor.map_err(|problem| format!("the tensor `{}`: {problem}", name.escape_debug()))?;
        tensors.insert(&**name, tensor);
    }
    Ok(tensors)
}
