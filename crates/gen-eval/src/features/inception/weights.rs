//! Weights by name. Every tensor of the file has to be used, and every one that is needed has to be there.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use gen_core::params::NamedTensors;
use gen_core::{Error, Result};

pub(super) struct Weights<'a> {
    tensors: &'a NamedTensors,
    used: BTreeSet<String>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(tensors: &'a NamedTensors) -> Self {
        Weights { tensors, used: BTreeSet::new() }
    }

    /// The tensor `name`, which must be `f32` of this shape with finite values.
    pub(super) fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let wrong = |problem: String| Error::invalid(format!("not the weights of Inception: {problem}"));
        let tensor = self.tensors.get(name).ok_or_else(|| wrong(format!("`{name}` is missing")))?;
        if tensor.size() != shape || tensor.kind() != Kind::Float {
            return Err(wrong(format!(
                "`{name}` should be Float {shape:?}, found {:?} {:?}",
                tensor.kind(),
                tensor.size()
            )));
        }
        let tensor = tensor.detach().to_device(Device::Cpu);
        if !bool::try_from(tensor.isfinite().all())? {
            return Err(wrong(format!("`{name}` has values that are not finite")));
        }
        self.used.insert(name.to_owned());
        Ok(tensor)
    }

    /// Marks a tensor as used that may be there and does not matter.
    pub(super) fn skip(&mut self, name: String) {
        self.used.insert(name);
    }

    /// Checks that all tensors are used.
    ///
    /// # Errors
    /// When a tensor was not used.
    pub(super) fn finish(self) -> Result<()> {
        let left = self.tensors.iter().map(|(name, _)| name).find(|name| !self.used.contains(*name));
        match left {
            Some(name) => Err(Error::invalid(format!(
                "not the weights of Inception: `{}` belongs to no part of it",
                name.escape_debug()
            ))),
            None => Ok(()),
        }
    }
}
