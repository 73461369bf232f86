//! Named parameters and buffers.
//!
//! Layers fill a sorted table of tensors while they are built. `tch::nn::VarStore` is not used, because it renames on a
//! clash, has no fixed order, and cannot hold the state of optimizers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Div;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::rng::Generator;

/// The initial values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same value in every entry.
    Const(f64),
    /// N(mean, std²).
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// U(-bound, bound). With `bound = 1 / sqrt(fan_in)` it is PyTorch's default for weights and biases of linear and
    /// convolutional layers.
    Uniform {
        /// The half-width of the interval.
        bound: f64,
    },
}

impl Init {
    /// Every entry 0.
    pub const ZEROS: Init = Init::Const(0.0);
    /// Every entry 1.
    pub const ONES: Init = Init::Const(1.0);

    /// PyTorch's default for linear and convolutional layers: U(-1/√fan_in, 1/√fan_in).
    pub fn fan_in(fan_in: i64) -> Init {
        Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }

    fn tensor(self, shape: &[i64], kind: Kind, device: Device, rng: &Generator) -> Tensor {
        // Drawn on the host: a seed gives different numbers on other devices, and a model should start alike on all.
        let host = (kind, Device::Cpu);
        let value = match self {
            Init::Const(value) => return Tensor::full(shape, value, (kind, device)),
            Init::Normal { mean, std } => rng.randn(shape, host) * std + mean,
            Init::Uniform { bound } => rng.rand(shape, host) * (2.0 * bound) - bound,
        };
        value.to_device(device)
    }
}

/// Tensors by name, in the order of their names.
///
/// The tensors are handles: writing to one changes the model that owns it.
#[derive(Debug, Default)]
pub struct NamedTensors(BTreeMap<String, Tensor>);

impl NamedTensors {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor.
    ///
    /// # Panics
    /// When the name is taken: two tensors of the same name would overwrite each other on disk.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        assert!(!self.0.contains_key(&name), "the tensor name `{name}` is used twice");
        self.0.insert(name, tensor);
    }

    /// Adds all tensors of `other` under `prefix.`.
    pub fn extend(&mut self, prefix: &str, other: NamedTensors) {
        for (name, tensor) in other.0 {
            self.insert(format!("{prefix}.{name}"), tensor);
        }
    }

    /// These tensors, each under `prefix.`.
    pub fn prefixed(self, prefix: &str) -> Self {
        let mut all = NamedTensors::new();
        all.extend(prefix, self);
        all
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names and tensors in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The total number of entries of all tensors.
    pub fn count_entries(&self) -> usize {
        self.0.values().map(Tensor::numel).sum()
    }

    /// Handles to the same tensors, not copies.
    #[must_use]
    pub fn shallow_clone(&self) -> NamedTensors {
        NamedTensors(self.0.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect())
    }

    /// Copies of the values, independent of the model.
    pub fn snapshot(&self) -> NamedTensors {
        let copies = self.0.iter().map(|(name, t)| (name.clone(), t.detach().copy()));
        NamedTensors(copies.collect())
    }

    /// Copies the values of `source` into these tensors.
    ///
    /// # Errors
    /// When the names, a shape or a kind differ; nothing is changed then.
    pub fn assign(&self, source: &NamedTensors) -> Result<()> {
        for (name, ours) in &self.0 {
            let theirs = source.get(name).ok_or_else(|| Error::invalid(format!("the tensor `{name}` is missing")))?;
            if ours.size() != theirs.size() || ours.kind() != theirs.kind() {
                return Err(Error::invalid(format!(
                    "the tensor `{name}` should be {:?} {:?}, found {:?} {:?}",
                    ours.kind(),
                    ours.size(),
                    theirs.kind(),
                    theirs.size()
                )));
            }
        }
        if let Some(extra) = source.0.keys().find(|name| !self.0.contains_key(*name)) {
            return Err(Error::invalid(format!("the tensor `{extra}` belongs to no part of the model")));
        }
        let _no_grad = tch::no_grad_guard();
        for (name, ours) in &self.0 {
            ours.shallow_clone().copy_(&source.0[name]);
        }
        Ok(())
    }
}

impl FromIterator<(String, Tensor)> for NamedTensors {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(pairs: I) -> Self {
        let mut all = NamedTensors::new();
        for (name, tensor) in pairs {
            all.insert(name, tensor);
        }
        all
    }
}

impl IntoIterator for NamedTensors {
    type Item = (String, Tensor);
    type IntoIter = std::collections::btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

struct Entry {
    tensor: Tensor,
    trainable: bool,
}

/// The parameters and buffers of one network.
///
/// ```
/// use gen_core::params::{Init, Params};
/// use tch::{Device, Kind};
///
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let root = params.root();
/// let weight = (&root / "linear").parameter("weight", &[3, 2], Init::fan_in(2));
/// assert!(weight.requires_grad());
/// assert_eq!(params.trainable()[0].0, "linear.weight");
/// ```
pub struct Params {
    kind: Kind,
    device: Device,
    rng: Generator,
    entries: RefCell<BTreeMap<String, Entry>>,
}

impl Params {
    /// An empty table for parameters of this kind on this device. Random initial values come from the generator that
    /// the process shares, seeded by `tch::manual_seed`; [`Params::drawn_from`] takes a generator.
    pub fn new(kind: Kind, device: Device) -> Self {
        Self::drawn_from(Generator::shared(), kind, device)
    }

    /// As [`Params::new`], with `rng` for random initial values.
    pub fn drawn_from(rng: Generator, kind: Kind, device: Device) -> Self {
        Params { kind, device, rng, entries: RefCell::default() }
    }

    /// The outermost scope.
    pub fn root(&self) -> Scope<'_> {
        Scope { params: self, prefix: String::new() }
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The kind of the parameters.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The parameters that an optimizer trains, sorted by name.
    pub fn trainable(&self) -> Vec<(String, Tensor)> {
        self.select(|entry| entry.trainable)
    }

    /// Parameters and buffers.
    pub fn all(&self) -> NamedTensors {
        self.select(|_| true).into_iter().collect()
    }

    /// The number of trainable entries.
    pub fn count(&self) -> usize {
        self.trainable().iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    fn select(&self, keep: impl Fn(&Entry) -> bool) -> Vec<(String, Tensor)> {
        let entries = self.entries.borrow();
        let kept = entries.iter().filter(|(_, entry)| keep(entry));
        kept.map(|(name, entry)| (name.clone(), entry.tensor.shallow_clone())).collect()
    }
}

/// A prefix of names under which a layer registers its parameters.
#[derive(Clone)]
pub struct Scope<'a> {
    params: &'a Params,
    prefix: String,
}

impl Scope<'_> {
    /// A new trainable parameter.
    ///
    /// # Panics
    /// When the name is taken, which is a bug of the layer.
    pub fn parameter(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let value = init.tensor(shape, self.params.kind, self.params.device, self.rng());
        self.register(name, value.set_requires_grad(true), true)
    }

    /// A new tensor that is saved with the parameters but not trained: running statistics, flags.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn buffer(&self, name: &str, value: Tensor) -> Tensor {
        self.register(name, value.to_device(self.params.device), false)
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.params.device
    }

    /// The kind of the parameters.
    pub fn kind(&self) -> Kind {
        self.params.kind
    }

    /// The generator of random initial values.
    pub fn rng(&self) -> &Generator {
        &self.params.rng
    }

    fn register(&self, name: &str, tensor: Tensor, trainable: bool) -> Tensor {
        let name = format!("{}{name}", self.prefix);
        let entry = Entry { tensor: tensor.shallow_clone(), trainable };
        let taken = self.params.entries.borrow_mut().insert(name.clone(), entry).is_some();
        assert!(!taken, "the parameter name `{name}` is used twice");
        tensor
    }
}

impl<'a, S: std::fmt::Display> Div<S> for &Scope<'a> {
    type Output = Scope<'a>;

    fn div(self, name: S) -> Scope<'a> {
        Scope { params: self.params, prefix: format!("{}{name}.", self.prefix) }
    }
}

impl<'a, S: std::fmt::Display> Div<S> for Scope<'a> {
    type Output = Scope<'a>;

    fn div(self, name: S) -> Scope<'a> {
        &self / name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_initialisation_is_pytorchs() {
        tch::manual_seed(0);
        let params = Params::new(Kind::Float, Device::Cpu);
        let weight = params.root().parameter("weight", &[512, 784], Init::fan_in(784));
        let bound = 1.0 / 784f64.sqrt();
        let largest = weight.abs().max().double_value(&[]);
        assert!(largest <= bound && largest > 0.99 * bound, "{largest} against {bound}");
        let std = weight.std(true).double_value(&[]);
        assert!((std / (bound / 3f64.sqrt()) - 1.0).abs() < 0.01);
    }

    #[test]
    #[should_panic(expected = "used twice")]
    fn a_name_clash_panics() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let _ = params.root().parameter("w", &[1], Init::ZEROS);
        let _ = params.root().parameter("w", &[1], Init::ZEROS);
    }

    #[test]
    fn assign_checks_before_it_writes() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let a = params.root().parameter("a", &[2], Init::ZEROS);
        let _ = params.root().parameter("b", &[2], Init::ZEROS);
        let source: NamedTensors = [
            ("a".to_owned(), Tensor::ones([2], (Kind::Float, Device::Cpu))),
            ("b".to_owned(), Tensor::ones([3], (Kind::Float, Device::Cpu))),
        ]
        .into_iter()
        .collect();
        assert!(params.all().assign(&source).is_err());
        assert_eq!(a.sum(Kind::Float).double_value(&[]), 0.0);
    }
}
