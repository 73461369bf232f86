use std::collections::BTreeMap;

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::network::{CLASSES, InceptionNetwork};
use gen_core::params::NamedTensors;
use gen_core::testing::assert_close;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/inception.json")).unwrap()
}

/// Names and shapes of the weights of pytorch-fid's network.
fn shapes(vectors: &Value) -> BTreeMap<String, Vec<i64>> {
    serde_json::from_value(vectors["shapes"].clone()).unwrap()
}

fn rows(values: &Value) -> Tensor {
    let rows: Vec<Vec<f64>> = serde_json::from_value(values.clone()).unwrap();
    let rows: Vec<Tensor> = rows.iter().map(|row| Tensor::from_slice(row)).collect();
    Tensor::stack(&rows, 0)
}

/// The numbers of `inception.py`: in [-1, 1), by index and seed.
fn uniform(count: i64, seed: u32) -> impl Iterator<Item = f64> {
    (0..count as u32).map(move |index| {
        let u = index.wrapping_mul(747_796_405).wrapping_add(seed.wrapping_mul(2_891_336_453));
        let u = (u ^ u >> 16).wrapping_mul(73_244_475);
        f64::from(u ^ u >> 16) / 2f64.powi(31) - 1.0
    })
}

fn weight(name: &str, shape: &[i64], seed: u32) -> Tensor {
    let fan_in: i64 = shape[1..].iter().product();
    let (offset, scale) = match name {
        "fc.weight" => (0.0, (3.0 / fan_in as f64).sqrt()),
        name if name.ends_with("conv.weight") => (0.0, (6.0 / fan_in as f64).sqrt()),
        name if name.ends_with("bn.weight") => (1.0, 0.2),
        name if name.ends_with("running_var") => (1.0, 0.5),
        _ => (0.0, 0.2),
    };
    let values: Vec<f32> = uniform(shape.iter().product(), seed).map(|u| (offset + scale * u) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

fn weights(vectors: &Value) -> NamedTensors {
    let shapes = shapes(vectors).into_iter().enumerate();
    shapes.map(|(seed, (name, shape))| (name.clone(), weight(&name, &shape, seed as u32))).collect()
}

/// Two images of `inception.py`: `u8 [2, channels, height, width]`.
fn images(shape: [i64; 3], first: i64) -> Tensor {
    let [channels, height, width] = shape;
    let mut values = Vec::new();
    for index in [first, first + 1] {
        for c in 0..channels {
            for y in 0..height {
                values.extend((0..width).map(|x| (37 * y + 91 * x + 13 * y * x + 50 * c + 17 * index) as u8));
            }
        }
    }
    Tensor::from_slice(&values).view([2, channels, height, width])
}

/// The largest difference, in parts of the largest expected entry.
fn difference(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    ((actual - expected).abs().max() / expected.abs().max()).double_value(&[])
}

#[test]
fn features_and_scores_are_those_of_pytorch_fid() {
    let vectors = vectors();
    let network = InceptionNetwork::from_tensors(&weights(&vectors), "of a formula").unwrap();
    assert_eq!(network.sha256(), "of a formula");
    let (gray, colour) = (images([1, 28, 28], 0), images([3, 64, 48], 2));
    let mut steps = Vec::new();
    let outputs = [&gray, &colour]
        .map(|images| network.features_and_logits(images, &mut |done, total| steps.push((done, total))).unwrap());
    assert_eq!(steps, [(2, 2), (2, 2)]);

    let features = Tensor::cat(&outputs.each_ref().map(|output| &output.features), 0);
    let logits = Tensor::cat(&outputs.each_ref().map(|output| &output.logits), 0);
    assert_eq!((features.kind(), logits.size()), (Kind::Double, vec![4, CLASSES]));
    // The weights are of order 1 and the same to the bit, so that sums in another order are all that differs.
    let features_differ = difference(&features, &rows(&vectors["features"]));
    let every = Tensor::arange_start_step(0, CLASSES, 63, (Kind::Int64, Device::Cpu));
    let logits_differ = difference(&logits.index_select(1, &every), &rows(&vectors["logits"]));
    assert!(features_differ < 1e-5 && logits_differ < 1e-5, "{features_differ:e}, {logits_differ:e}");

    // An image's features are its own, and gray is equal parts of three colours.
    let one = network.features(&gray.narrow(0, 1, 1).repeat([1, 3, 1, 1]), &mut |_, _| ()).unwrap();
    assert_close(&one, &features.narrow(0, 1, 1), 1e-4, 1e-4);

    for wrong in [gray.to_kind(Kind::Float), gray.narrow(0, 0, 0), gray.view([2, 28, 28]), gray.repeat([1, 2, 1, 1])] {
        let error = network.features(&wrong, &mut |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("Uint8 [n, 1 or 3, height, width], found"), "{error}");
    }
}

/// Weights of the right shapes that take next to no memory.
fn zeros(vectors: &Value) -> BTreeMap<String, Tensor> {
    let zero = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    shapes(vectors).into_iter().map(|(name, shape)| (name, zero.expand(&shape, false))).collect()
}

fn problem(tensors: BTreeMap<String, Tensor>) -> String {
    let tensors = tensors.into_iter().collect();
    InceptionNetwork::from_tensors(&tensors, "").err().expect("an error").to_string()
}

#[test]
fn a_tensor_that_is_wrong_is_named() {
    let vectors = vectors();
    let name = "Conv2d_2b_3x3.bn.running_var";
    let mut missing = zeros(&vectors);
    missing.remove(name);
    assert!(problem(missing).contains(&format!("`{name}` is missing")));

    let mut misshapen = zeros(&vectors);
    misshapen.insert(name.to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    assert!(problem(misshapen).contains(&format!("`{name}` should be Float [64], found Float [3]")));

    let mut other_kind = zeros(&vectors);
    other_kind.insert(name.to_owned(), Tensor::zeros([64], (Kind::Half, Device::Cpu)));
    assert!(problem(other_kind).contains(&format!("`{name}` should be Float [64], found Half [64]")));

    let mut infinite = zeros(&vectors);
    infinite.insert(name.to_owned(), Tensor::full([64], f64::NAN, (Kind::Float, Device::Cpu)));
    assert!(problem(infinite).contains(&format!("`{name}` has values that are not finite")));

    let mut unknown = zeros(&vectors);
    unknown.insert("AuxLogits.fc.bias".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    assert!(problem(unknown).contains("`AuxLogits.fc.bias` belongs to no part of it"));
}

#[test]
fn a_file_is_read_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bin");
    let mut tensors = zeros(&vectors());
    // Newer PyTorch counts batches, the published file's may not.
    let counter = "Conv2d_1a_3x3.bn.num_batches_tracked";
    tensors.insert(counter.to_owned(), Tensor::zeros([1], (Kind::Int64, Device::Cpu)).squeeze());
    let content: Vec<_> = tensors.iter().map(|(name, tensor)| (name, tensor.contiguous())).collect();
    Tensor::write_safetensors(&content, &path).unwrap();
    let network = InceptionNetwork::load(&path).unwrap();
    assert_eq!(network.sha256(), gen_data::sha256(&std::fs::read(&path).unwrap()));

    std::fs::write(&path, include_bytes!("../../../tests/vectors/state_dict.pth")).unwrap();
    let error = InceptionNetwork::load(&path).err().unwrap().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains("`Conv2d_1a_3x3.conv.weight` is missing"), "{error}");
}
