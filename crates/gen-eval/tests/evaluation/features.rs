//! Networks of features: what they learn, what is kept of them, and the spaces that they are.

use gen_core::Error;
use gen_core::data::{Condition, DataOptions, Dataset, Shape, bytes_to_signed};
use gen_core::testing::assert_close;
use gen_eval::features::{
    Classification, FEATURES, FeatureNetwork, FeatureTraining, SelfSupervision, train, train_self_supervised,
};
use gen_eval::{EvaluateOptions, FeatureSpace, Measured, NoCache, Protocol, Reference};
use tch::{Device, Kind, Tensor};

use crate::bars::{bars, images};

fn reference(protocol: &Protocol<'_>, reference: Reference) -> Measured {
    protocol.evaluate_reference(reference, &mut |_| ()).unwrap().measured
}

#[test]
fn a_feature_network_learns_and_comes_back_from_its_file() {
    let data = images();
    let config = FeatureTraining { epochs: 6, batch_size: 32, ..Default::default() };
    let mut records = Vec::new();
    let network = train(&data, &config, &Classification::default(), |record| records.push(record)).unwrap();
    assert_eq!(records.len(), 6);
    assert!(records[5].loss < records[0].loss && records[5].validation_accuracy.unwrap() > 0.95, "{records:?}");
    assert!(network.accuracy(&data.test).unwrap() > 0.95);

    let features_of = |network: &FeatureNetwork, x: &Tensor| network.features(x, &mut |_, _| ()).features;
    let features = features_of(&network, &data.train.x);
    assert_eq!((features.size(), features.kind()), (vec![1200, FEATURES], Kind::Double));
    let zeros = Tensor::zeros([FEATURES], (Kind::Double, Device::Cpu));
    assert_close(&features.mean_dim(0, false, Kind::Double), &zeros, 0.0, 1e-5);
    let std = features.std_dim(0, true, false);
    assert!(std.max().double_value(&[]) < 1.0 + 1e-5 && std.mean(Kind::Double).double_value(&[]) > 0.5);

    // The features of an image depend on that image only.
    assert_close(&features_of(&network, &data.train.x.narrow(0, 7, 1)), &features.narrow(0, 7, 1), 1e-5, 1e-5);
    let bytes = network.to_safetensors().unwrap();
    let again = FeatureNetwork::from_safetensors(&bytes).unwrap();
    assert_eq!(features_of(&again, &data.train.x), features);
    assert_eq!(again.to_safetensors().unwrap(), bytes);
    // The same seed, the same network.
    assert_eq!(train(&data, &config, &Classification::default(), |_| ()).unwrap().to_safetensors().unwrap(), bytes);

    let spaces = [FeatureSpace::Classifier { name: "bars".to_owned(), sha256: "0".to_owned(), network }];
    let options = EvaluateOptions::default();
    let protocol = Protocol::new(&data, &spaces, &options, &NoCache, &mut |_| ()).unwrap();
    let rows = Reference::ALL.map(|which| reference(&protocol, which));
    assert_eq!(rows[0].row.feature_space, "classifier:bars");
    assert!(
        rows[1].number("fd").unwrap() > 2.0 * rows[0].number("fd").unwrap()
            && rows[2].number("fd") > rows[1].number("fd"),
        "{rows:?}"
    );

    // Padding is cut off again.
    let padded = images().with_options(&DataOptions { pad: 12, ..Default::default() }).unwrap();
    let embedded = |x: &Tensor| spaces[0].embed(x, &mut |_, _| ()).unwrap().features;
    assert_eq!(embedded(&padded.test.x), embedded(&data.test.x));
    // Floating-point images are those of the bytes.
    assert_close(&embedded(&bytes_to_signed(&data.test.x)), &embedded(&data.test.x), 1e-5, 1e-5);
    // What a classifier tells of classes: all four are hit as often as in the test images.
    let metrics = protocol.compare(&data.test.x, &mut |_| ()).unwrap().metrics;
    let value = |metric: &str| metrics.iter().find(|found| found.metric == metric).unwrap().value;
    assert_eq!((value("class_tv"), value("class_kl")), (0.0, 0.0));
    assert!(value("classifier_score") > 3.0);
    assert_eq!(metrics.iter().filter(|found| found.metric == "class_fd").count(), 4);
    assert!(again.fits(&padded.spec) && again.fits(&data.spec));
    let resized = images().with_options(&DataOptions { resize: 12, ..Default::default() }).unwrap();
    assert!(!again.fits(&resized.spec));
}

#[test]
fn a_network_learns_without_labels_and_compares_as_a_space() {
    let with_labels = images();
    let mut data = images();
    data.train.condition = Condition::NONE;
    let config = FeatureTraining { epochs: 4, batch_size: 32, ..FeatureTraining::self_supervised() };
    let learn = |data: &Dataset| {
        let mut records = Vec::new();
        let supervision = SelfSupervision::default();
        let network = train_self_supervised(data, &config, &supervision, |record| records.push(record)).unwrap();
        (network, records)
    };
    let (network, records) = learn(&data);
    assert_eq!(records.len(), 4);
    assert!(records[3].loss < records[0].loss && records[3].validation_accuracy.is_none(), "{records:?}");
    assert!(!network.knows_classes() && network.classes(&data.test.x).is_none());
    assert!(network.accuracy(&with_labels.test).is_err());
    let bytes = network.to_safetensors().unwrap();
    // What only training needs is gone, labels play no part, and the same seed gives the same network.
    let again = FeatureNetwork::from_safetensors(&bytes).unwrap();
    assert_eq!(again.to_safetensors().unwrap(), bytes);
    assert_eq!(learn(&with_labels).0.to_safetensors().unwrap(), bytes);

    let spaces = [FeatureSpace::SelfSupervised { name: "bars".to_owned(), sha256: "0".to_owned(), network }];
    let options = EvaluateOptions::default();
    let protocol = Protocol::new(&data, &spaces, &options, &NoCache, &mut |_| ()).unwrap();
    let rows = Reference::ALL.map(|which| reference(&protocol, which));
    assert_eq!(rows[0].row.feature_space, "self-supervised:bars");
    assert!(
        rows[1].number("fd").unwrap() > 2.0 * rows[0].number("fd").unwrap()
            && rows[2].number("fd") > rows[1].number("fd"),
        "{rows:?}"
    );
    let metrics = protocol.compare(&data.test.x, &mut |_| ()).unwrap().metrics;
    assert!(metrics.iter().all(|found| !found.metric.starts_with("class")), "it knows no classes");
}

#[test]
fn broken_networks_are_refused() {
    let error = |bytes: &[u8]| FeatureNetwork::from_safetensors(bytes).err().unwrap();
    assert!(matches!(error(b"no safetensors"), Error::Invalid(_)));
    let shape = Shape::Image { channels: 1, height: 8, width: 8 };
    let bytes = FeatureNetwork::classifier(shape, 3, 0).unwrap().to_safetensors().unwrap();
    assert!(matches!(error(&bytes[..bytes.len() - 5]), Error::Invalid(_)));
    assert!(FeatureNetwork::classifier(Shape::Points { dimension: 2 }, 3, 0).is_err());
    assert!(FeatureNetwork::classifier(shape, 1, 0).is_err());
    let unlabelled = Dataset::from_tensor("mine", bars(10, 0).x).unwrap();
    assert!(train(&unlabelled, &FeatureTraining::default(), &Classification::default(), |_| ()).is_err());
}
