//! Numbers from elsewhere: `tests/vectors/free_form.json` has where each comes from.

use gen_core::params::Params;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub(crate) fn vectors(block: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../vectors/free_form.json")).expect("JSON");
    all[block].clone()
}

/// A list, or a list of lists, as a tensor of doubles.
pub(crate) fn tensor(value: &Value) -> Tensor {
    let row = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    match value[0].as_array() {
        Some(first) => {
            let all: Vec<f64> = value.as_array().expect("a list").iter().flat_map(row).collect();
            Tensor::from_slice(&all).view([-1, first.len() as i64])
        }
        None => Tensor::from_slice(&row(value)),
    }
}

/// A table of parameters in double precision.
pub(crate) fn double() -> Params {
    // Small tensors: threads would only wait for each other.
    tch::set_num_threads(1);
    Params::new(Kind::Double, Device::Cpu)
}

pub(crate) fn set(params: &Params, name: &str, value: &Tensor) {
    let _no_grad = tch::no_grad_guard();
    let all = params.all();
    all.get(name).unwrap_or_else(|| panic!("no parameter `{name}`")).shallow_clone().copy_(value);
}
