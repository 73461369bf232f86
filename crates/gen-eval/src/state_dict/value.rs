//! The values that a pickle of tensors can hold, and the names that it may use.

use std::rc::Rc;

use tch::Kind;

/// A value: small, or the index of an object.
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Text(Rc<str>),
    Global(Global),
    Object(usize),
}

/// A Python object that a file may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `torch.FloatStorage` and the like.
    Storage(Kind),
}

/// An object with parts.
#[derive(Debug)]
pub(super) enum Object {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(StorageRecord),
    Tensor(TensorRecord),
}

/// The key of a storage, and its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StorageRecord {
    pub(super) key: Rc<str>,
    pub(super) kind: Kind,
    /// Number of entries, not of bytes.
    pub(super) count: usize,
}

/// A view of a storage. All numbers count entries, and none is negative.
#[derive(Debug)]
pub(super) struct TensorRecord {
    pub(super) storage: StorageRecord,
    pub(super) offset: i64,
    pub(super) size: Vec<i64>,
    pub(super) stride: Vec<i64>,
}

/// The object that `value` refers to, if any.
pub(super) fn object<'o>(objects: &'o [Object], value: &Value) -> Option<&'o Object> {
    match value {
        Value::Object(index) => objects.get(*index),
        _ => None,
    }
}

/// A description of `value` for messages.
pub(super) fn describe(objects: &[Object], value: &Value) -> String {
    match (value, object(objects, value)) {
        (Value::None, _) => "None".to_owned(),
        (Value::Bool, _) => "a truth value".to_owned(),
        (Value::Int(number), _) => format!("the number {number}"),
        (Value::Float, _) => "a floating-point number".to_owned(),
        (Value::Text(text), _) => format!("the text `{}`", shortened(text)),
        (Value::Global(global), _) => format!("the name {global:?}"),
        (Value::Object(_), Some(Object::Tuple(items))) => format!("a tuple of {}", items.len()),
        (Value::Object(_), Some(Object::List(items))) => format!("a list of {}", items.len()),
        (Value::Object(_), Some(Object::Dict(items))) => format!("a dictionary of {}", items.len()),
        (Value::Object(_), Some(Object::Storage(_))) => "a storage".to_owned(),
        (Value::Object(_), Some(Object::Tensor(tensor))) => format!("a tensor {:?}", tensor.size),
        (Value::Object(_), None) => "nothing".to_owned(),
    }
}

/// The beginning of a text of the file, escaped for a message of one line.
fn shortened(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// The object `module.name`, if state dicts use it.
pub(super) fn global(module: &str, name: &str) -> Result<Global, String> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "FloatStorage") => Global::Storage(Kind::Float),
        ("torch", "DoubleStorage") => Global::Storage(Kind::Double),
        ("torch", "HalfStorage") => Global::Storage(Kind::Half),
        ("torch", "BFloat16Storage") => Global::Storage(Kind::BFloat16),
        ("torch", "LongStorage") => Global::Storage(Kind::Int64),
        ("torch", "IntStorage") => Global::Storage(Kind::Int),
        ("torch", "ShortStorage") => Global::Storage(Kind::Int16),
        ("torch", "CharStorage") => Global::Storage(Kind::Int8),
        ("torch", "ByteStorage") => Global::Storage(Kind::Uint8),
        ("torch", "BoolStorage") => Global::Storage(Kind::Bool),
        _ => {
            return Err(format!(
                "`{}.{}` is nothing that a state dict needs: only dictionaries of tensors are read",
                shortened(module),
                shortened(name)
            ));
        }
    })
}
