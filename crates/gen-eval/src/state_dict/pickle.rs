//! The part of Python's pickle format that state dicts use.
//!
//! Python calls any function that a pickle names. Here names are looked up in a short list, nothing is called, and any
//! other name or instruction is an error. Objects are in one vector and refer to each other by index, so cycles and
//! deep nesting are harmless.

use std::collections::HashMap;
use std::rc::Rc;

use super::value::{Global, Object, StorageRecord, TensorRecord, Value, describe, global, object};

/// The content of a pickle.
pub(super) struct Pickle {
    pub(super) root: Value,
    objects: Vec<Object>,
    /// Length in bytes.
    pub(super) length: usize,
}

impl Pickle {
    /// Reads the pickle at the beginning of `bytes`.
    ///
    /// # Errors
    /// A message with the place of the first instruction that no state dict has.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine::new(bytes);
        loop {
            let start = machine.position;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => {
                    return Ok(Pickle { root, objects: machine.objects, length: machine.position });
                }
                Err(problem) => return Err(format!("byte {start} of the pickle: {problem}")),
            }
        }
    }

    /// The object that `value` refers to, if any.
    pub(super) fn object(&self, value: &Value) -> Option<&Object> {
        object(&self.objects, value)
    }

    /// All storages of the pickle.
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageRecord> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(record) => Some(record),
            _ => None,
        })
    }

    /// A description of `value` for messages.
    pub(super) fn describe(&self, value: &Value) -> String {
        describe(&self.objects, value)
    }
}

/// Limit on the dimensions of a tensor.
const MOST_DIMENSIONS: usize = 16;

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<usize, Value>,
    objects: Vec<Object>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Machine { bytes, position: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), objects: Vec::new() }
    }

    /// Executes one instruction. The last one gives the result.
    fn step(&mut self) -> Result<Option<Value>, String> {
        match self.byte()? {
            // PROTO gives the version of the format, FRAME the length of a group of instructions.
            0x80 => match self.byte()? {
                2..=5 => {}
                version => return Err(format!("protocol {version}, expected 2 to 5")),
            },
            0x95 => _ = self.take(8)?,
            b'.' => return Ok(Some(self.pop()?)),

            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            b'K' => {
                let number = self.unsigned(1)?;
                self.stack.push(Value::Int(number as i64));
            }
            b'M' => {
                let number = self.unsigned(2)?;
                self.stack.push(Value::Int(number as i64));
            }
            0x8a => {
                let number = self.long()?;
                self.stack.push(Value::Int(number));
            }
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Float);
            }
            // BINUNICODE and the like, and the strings of Python 2.
            0x8c | b'U' => self.text(1)?,
            b'X' | b'T' => self.text(4)?,
            0x8d => self.text(8)?,

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(global(module, name)?));
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.stack.push(Value::Global(global(&module, &name)?));
            }

            b'(' => self.marks.push(self.stack.len()),
            b'1' => _ = self.since_mark()?,
            b'0' => _ = self.pop()?,
            b')' => self.create(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = usize::from(self.bytes[self.position - 1] - 0x84);
                let items = self.last(count)?;
                self.create(Object::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.create(Object::Tuple(items));
            }
            b']' => self.create(Object::List(Vec::new())),
            b'}' => self.create(Object::Dict(Vec::new())),
            b'a' => {
                let items = self.last(1)?;
                self.append(items)?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let items = self.last(2)?;
                self.set(items)?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(items)?;
            }

            b'q' => {
                let index = self.unsigned(1)?;
                self.remember(index)?;
            }
            b'r' => {
                let index = self.unsigned(4)?;
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let index = self.unsigned(1)?;
                self.recall(index)?;
            }
            b'j' => {
                let index = self.unsigned(4)?;
                self.recall(index)?;
            }

            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => return Err(format!("the instruction 0x{other:02x} is none that state dicts need")),
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.position..];
        let taken = rest
            .get(..count)
            .ok_or_else(|| format!("it is cut off: {count} bytes should follow, {} are left", rest.len()))?;
        self.position += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A number of `width` bytes, at most 8.
    fn unsigned(&mut self, width: usize) -> Result<usize, String> {
        let number = self.take(width)?.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| format!("{number} is too large"))
    }

    /// A number in two's complement, after a byte with its length.
    fn long(&mut self) -> Result<i64, String> {
        let width = self.unsigned(1)?;
        let bytes = self.take(width)?;
        if width > 8 {
            return Err(format!("a number of {width} bytes, expected at most 8"));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = if negative { [0xff; 8] } else { [0; 8] };
        whole[..width].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(whole))
    }

    fn text(&mut self, width: usize) -> Result<(), String> {
        let length = self.unsigned(width)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text that is not UTF-8")?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("it is cut off in a name")?;
        self.position += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a name that is not UTF-8".to_owned())
    }

    /// The lowest value of the stack that may be popped; values below belong to an outer object.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn last(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
        let start = start.ok_or("an instruction that lacks a value")?;
        Ok(self.stack.split_off(start))
    }

    fn pop(&mut self) -> Result<Value, String> {
        let value = if self.stack.len() > self.floor() { self.stack.pop() } else { None };
        value.ok_or_else(|| "an instruction that lacks a value".to_owned())
    }

    fn pop_text(&mut self) -> Result<Rc<str>, String> {
        match self.pop()? {
            Value::Text(text) => Ok(text),
            other => Err(format!("expected a text, found {}", describe(&self.objects, &other))),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("the end of a group that has no beginning")?;
        Ok(self.stack.split_off(mark))
    }

    /// The last value, which is not popped.
    fn top(&self) -> Result<&Value, String> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.ok_or_else(|| "an instruction that lacks a value".to_owned())
    }

    fn top_object(&mut self) -> Result<&mut Object, String> {
        match *self.top()? {
            Value::Object(index) => Ok(&mut self.objects[index]),
            ref other => Err(format!("{} has no parts", describe(&self.objects, other))),
        }
    }

    fn create(&mut self, object: Object) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        match self.top_object()? {
            Object::List(list) => list.extend(items),
            _ => return Err("items for something that is not a list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Object::Dict(dict) = self.top_object()? else {
            return Err("keys for something that is not a dictionary".to_owned());
        };
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            let value = items.next().ok_or("a key without a value")?;
            dict.push((key, value));
        }
        Ok(())
    }

    fn remember(&mut self, index: usize) -> Result<(), String> {
        let value = self.top()?.clone();
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Result<(), String> {
        let value = self.memo.get(&index).ok_or_else(|| format!("nothing was kept as {index}"))?;
        self.stack.push(value.clone());
        Ok(())
    }

    /// BINPERSID: `("storage", type, key, device, entries)`, in old files with a sixth value that is None.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let items = match object(&self.objects, &id) {
            Some(Object::Tuple(items)) => items.as_slice(),
            _ => &[],
        };
        match items {
            [
                Value::Text(what),
                Value::Global(Global::Storage(kind)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(count @ 0..),
                rest @ ..,
            ] if &**what == "storage" && matches!(rest, [] | [Value::None]) => {
                let record = StorageRecord { key: key.clone(), kind: *kind, count: *count as usize };
                self.create(Object::Storage(record));
                Ok(())
            }
            _ => Err("a reference that is not to a storage of a tensor".to_owned()),
        }
    }

    /// REDUCE, which in Python calls the object that the file names.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = match object(&self.objects, &arguments) {
            Some(Object::Tuple(items)) => items.as_slice(),
            _ => return Err(format!("arguments that are {}", describe(&self.objects, &arguments))),
        };
        match (function, arguments) {
            (Value::Global(Global::OrderedDict), []) => self.create(Object::Dict(Vec::new())),
            (Value::Global(Global::RebuildTensor), [storage, offset, size, stride, rest @ ..]) => {
                let record = self.tensor([storage, offset, size, stride], rest)?;
                self.create(Object::Tensor(record));
            }
            (Value::Global(Global::RebuildParameter), [tensor, ..]) => {
                let tensor = tensor.clone();
                let Some(Object::Tensor(_)) = object(&self.objects, &tensor) else {
                    return Err(format!("a parameter that is {}", describe(&self.objects, &tensor)));
                };
                self.stack.push(tensor);
            }
            (function, arguments) => {
                return Err(format!(
                    "{} with {} arguments makes nothing that state dicts need",
                    describe(&self.objects, &function),
                    arguments.len()
                ));
            }
        }
        Ok(())
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata=None)`.
    fn tensor(&self, view: [&Value; 4], rest: &[Value]) -> Result<TensorRecord, String> {
        let wrong = || {
            let words = view.map(|value| describe(&self.objects, value)).join(", ");
            format!("a tensor of {words}; expected a storage, an offset, a size and strides")
        };
        let numbers = |value: &Value| match object(&self.objects, value) {
            Some(Object::Tuple(items)) if items.len() <= MOST_DIMENSIONS => {
                let number = |item: &Value| match item {
                    Value::Int(number @ 0..) => Some(*number),
                    _ => None,
                };
                items.iter().map(number).collect::<Option<Vec<i64>>>()
            }
            _ => None,
        };
        let [storage, offset, size, stride] = view;
        let Some(Object::Storage(storage)) = object(&self.objects, storage) else { return Err(wrong()) };
        let (Value::Int(offset @ 0..), Some(size), Some(stride)) = (offset, numbers(size), numbers(stride)) else {
            return Err(wrong());
        };
        if size.len() != stride.len() {
            return Err(format!("a tensor of size {size:?} with strides {stride:?}"));
        }
        // Metadata can ask for values to be negated or conjugated.
        match rest {
            [_, _] | [_, _, Value::None] => {}
            _ => return Err("a tensor with more than size, strides, and hooks".to_owned()),
        }
        Ok(TensorRecord { storage: storage.clone(), offset: *offset, size, stride })
    }

    /// BUILD sets attributes of an object. Those of a state dict are versions of its modules and not needed.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        match (object(&self.objects, &state), self.top()?) {
            (Some(Object::Dict(_)), Value::Object(index)) if matches!(self.objects[*index], Object::Dict(_)) => Ok(()),
            (_, owner) => {
                Err(format!("{} as attributes of {}", describe(&self.objects, &state), describe(&self.objects, owner)))
            }
        }
    }
}
