use tch::{Device, Kind, Tensor};

use super::bytes::bytes_to_signed;
use super::condition::Condition;
use super::options::{Binarise, draw_binary, perturbed};
use super::shape::Shape;
use super::spec::DataSpec;
use super::split::Split;
use super::values::Values;
use crate::rng::{Generator, Purpose, permutation};

/// The data of one training step.
#[derive(Debug)]
pub struct Batch {
    /// `f32 [batch, channels, height, width]` in [-1, 1], or `f64 [batch, dimension]` in the units of the file.
    pub x: Tensor,
    /// What each row is given, images in the range of `x`.
    pub condition: Condition,
}

impl Batch {
    /// A batch of which nothing is given.
    pub fn of(x: &Tensor) -> Self {
        Batch { x: x.shallow_clone(), condition: Condition::NONE }
    }

    /// Rows `start..start + length`, sharing memory.
    #[must_use]
    pub fn narrow(&self, start: i64, length: i64) -> Self {
        Batch { x: self.x.narrow(0, start, length), condition: self.condition.narrow(start, length) }
    }

    /// The batch on `device`.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Self {
        Batch { x: self.x.to_device(device), condition: self.condition.to_device(device) }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.x.size().first().map_or(0, |n| *n as usize)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Batches of a split, epoch after epoch without end. Each epoch has its own random order.
///
/// Batch `i` is a function of the seed and `i` alone, so the position in the data needs no saving. Rows at the end of
/// an epoch that do not fill a batch are dropped.
pub struct Batches<'a> {
    split: &'a Split,
    spec: &'a DataSpec,
    batch_size: usize,
    seed: u64,
    epoch: u64,
    order: Tensor,
}

impl<'a> Batches<'a> {
    /// Batches of `batch_size` rows, or of the whole split if that is smaller.
    pub fn new(split: &'a Split, spec: &'a DataSpec, batch_size: usize, seed: u64) -> Self {
        let batch_size = batch_size.clamp(1, split.len().max(1));
        let mut batches = Batches { split, spec, batch_size, seed, epoch: u64::MAX, order: Tensor::new() };
        batches.shuffle(0);
        batches
    }

    /// Rows in each batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Batches in each epoch.
    pub fn per_epoch(&self) -> u64 {
        (self.split.len() / self.batch_size) as u64
    }

    /// The batch of training step `step`; flips, perturbation, binarisation and dequantisation draw from `rng`.
    pub fn get(&mut self, step: u64, rng: &Generator) -> Batch {
        let per_epoch = self.per_epoch();
        self.shuffle(step / per_epoch);
        let start = (step % per_epoch) as i64 * self.batch_size as i64;
        let index = self.order.narrow(0, start, self.batch_size as i64);
        let mut x = self.split.x.index_select(0, &index);
        let mut condition = self.split.condition.select(&index);
        if self.spec.options.flip {
            let mirrored = rng.rand([x.size()[0], 1, 1, 1], (Kind::Float, x.device())).lt(0.5);
            let flipped = |image: &Tensor| image.flip([3]).where_self(&mirrored, image);
            condition.image = condition.image.as_ref().map(flipped);
            x = x.flip([3]).where_self(&mirrored, &x);
        }
        if self.spec.options.perturb > 0.0 {
            x = perturbed(&x, self.spec.options.perturb, rng);
        }
        Batch { x: to_model(&x, self.spec, rng), condition: condition.to_model() }
    }

    fn shuffle(&mut self, epoch: u64) {
        if epoch != self.epoch {
            let order = permutation(self.split.len(), self.seed, Purpose::Shuffle, epoch);
            self.order = Tensor::from_slice(&order).to_device(self.split.x.device());
            self.epoch = epoch;
        }
    }
}

/// Converts stored values to the input of a model, by the options of `spec`.
pub(crate) fn to_model(x: &Tensor, spec: &DataSpec, rng: &Generator) -> Tensor {
    match (spec.shape, spec.values) {
        (Shape::Points { .. }, _) => spec.spread(x, rng),
        (_, Values::Dequantised) => {
            let x = x.to_kind(Kind::Float);
            (&x + rng.rand_like(&x)) / 128.0 - 1.0
        }
        (_, Values::Binary) if spec.options.binarise == Binarise::Dynamic => bytes_to_signed(&draw_binary(x, rng)),
        _ => bytes_to_signed(x),
    }
}

impl Split {
    /// All rows as the input of a model; random options draw from `rng`.
    pub fn to_batch(&self, spec: &DataSpec, rng: &Generator) -> Batch {
        Batch { x: to_model(&self.x, spec, rng), condition: self.condition.to_model() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataOptions, Dataset};

    fn numbered(n: i64) -> Dataset {
        let x = Tensor::arange(n, (Kind::Float, tch::Device::Cpu)).unsqueeze(1);
        Dataset::from_tensor("numbered", x).unwrap()
    }

    fn values(batch: &Batch) -> Vec<i64> {
        Vec::<i64>::try_from(batch.x.reshape([-1]).to_kind(Kind::Int64)).unwrap()
    }

    #[test]
    fn an_epoch_has_every_row_once_in_an_order_of_its_own() {
        let data = numbered(12);
        let mut batches = Batches::new(&data.train, &data.spec, 4, 7);
        let epochs: Vec<Vec<i64>> = (0..2)
            .map(|e| (0..3).flat_map(|i| values(&batches.get(3 * e + i, &Generator::shared()))).collect())
            .collect();
        assert_ne!(epochs[0], epochs[1]);
        for mut epoch in epochs {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..12).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let data = numbered(50);
        let mut all = Batches::new(&data.train, &data.spec, 8, 3);
        let expected: Vec<_> = (0..20).map(|i| values(&all.get(i, &Generator::shared()))).collect();
        assert_eq!(values(&Batches::new(&data.train, &data.spec, 8, 3).get(17, &Generator::shared())), expected[17]);
        assert_ne!(values(&Batches::new(&data.train, &data.spec, 8, 4).get(17, &Generator::shared())), expected[17]);
    }

    #[test]
    fn small_sets_give_whole_batches() {
        let data = numbered(5);
        let mut batches = Batches::new(&data.train, &data.spec, 64, 0);
        assert_eq!(batches.get(9, &Generator::shared()).len(), 5);
    }

    fn image(options: DataOptions) -> Dataset {
        let x = Tensor::arange(2 * 16, (Kind::Uint8, tch::Device::Cpu)).view([2, 1, 4, 4]) * 8;
        Dataset::from_tensor("image", x).unwrap().with_options(&options).unwrap()
    }

    /// Pairs of equal images.
    fn pairs(options: &DataOptions) -> Dataset {
        let x = image(DataOptions::default()).train.x;
        let condition = Condition::of_image(x.shallow_clone());
        let data = Dataset::from_splits("pairs", Split { x, condition }, None, None, Vec::new()).unwrap();
        data.with_options(options).unwrap()
    }

    #[test]
    fn both_images_of_a_pair_change_alike() {
        let data = pairs(&DataOptions { flip: true, pad: 6, ..Default::default() });
        assert_eq!(data.spec.pair, Some(data.spec.shape));
        let mut batches = Batches::new(&data.train, &data.spec, 2, 0);
        let mut mirrored = false;
        for step in 0..8 {
            let batch = batches.get(step, &Generator::seeded(step as i64));
            assert_eq!(batch.condition.image.as_ref(), Some(&batch.x));
            let first = batch.x.select(0, 0).eq_tensor(&batch.x.flip([3]).select(0, 0)).all();
            assert!(!bool::try_from(first).unwrap());
            let stored = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
            let is_stored = |row: i64| (0..2).any(|other| batch.x.get(row) == stored.get(other));
            mirrored |= !is_stored(0) || !is_stored(1);
        }
        assert!(mirrored);
    }

    #[test]
    fn padding_centres_the_image() {
        let data = image(DataOptions { pad: 6, ..Default::default() });
        assert_eq!(data.spec.shape, Shape::Image { channels: 1, height: 6, width: 6 });
        assert_eq!(data.train.x.narrow(2, 1, 4).narrow(3, 1, 4), image(DataOptions::default()).train.x);
    }

    #[test]
    fn dequantised_values_stay_in_their_cell() {
        let data = image(DataOptions { dequantise: true, ..Default::default() });
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        assert_eq!(((x + 1.0) * 128.0).floor().to_kind(Kind::Uint8), data.train.x);
    }

    #[test]
    fn binarisation_is_black_and_white_and_static_stays() {
        for binarise in [Binarise::Static, Binarise::Dynamic] {
            let data = image(DataOptions { binarise, ..Default::default() });
            let (a, b) = (
                data.train.to_batch(&data.spec, &Generator::shared()).x,
                data.train.to_batch(&data.spec, &Generator::shared()).x,
            );
            assert_eq!(a.abs().min().double_value(&[]), 1.0);
            assert_eq!(a == b, binarise == Binarise::Static);
        }
    }

    #[test]
    fn only_training_batches_are_perturbed_and_anew_each_time() {
        let x = Tensor::full([40, 1, 8, 8], 7, (Kind::Uint8, tch::Device::Cpu));
        let part = || Split::unlabelled(x.shallow_clone());
        let data = Dataset::from_splits("grey", part(), Some(part()), Some(part()), Vec::new()).unwrap();
        let data = data.with_options(&DataOptions { perturb: 0.25, ..Default::default() }).unwrap();
        assert_eq!(data.spec.options.perturb, 0.25);
        for split in [&data.train, &data.validation, &data.test] {
            let seen = split.to_batch(&data.spec, &Generator::seeded(1)).x;
            assert_eq!(crate::data::signed_to_bytes(&seen), x);
        }
        let batch = |step: u64| {
            let x = Batches::new(&data.train, &data.spec, 40, 0).get(step, &Generator::seeded(step as i64)).x;
            crate::data::signed_to_bytes(&x)
        };
        let (first, second) = (batch(0), batch(1));
        assert_ne!(first, second);
        assert_eq!(first, batch(0));
        // A quarter of the 2560 values is replaced, one in 256 of those by the same value.
        let changed = first.ne(7).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((changed - 0.25).abs() < 0.04, "{changed}");
        let replaced = first.masked_select(&first.ne(7)).to_kind(Kind::Double);
        assert!((replaced.mean(Kind::Double).double_value(&[]) - 127.5).abs() < 12.0);
        assert!(replaced.min().double_value(&[]) < 6.0 && replaced.max().double_value(&[]) > 249.0);
    }

    #[test]
    fn a_perturbation_out_of_range_is_refused() {
        let refused = |options: DataOptions| {
            let x = Tensor::zeros([2, 1, 4, 4], (Kind::Uint8, tch::Device::Cpu));
            Dataset::from_tensor("image", x).unwrap().with_options(&options).unwrap_err().to_string()
        };
        for perturb in [-0.1, 1.1, f64::NAN] {
            let message = refused(DataOptions { perturb, ..Default::default() });
            assert!(message.contains("from 0 to 1"), "{message}");
        }
        let binarise = Binarise::Static;
        assert!(refused(DataOptions { perturb: 0.1, binarise, ..Default::default() }).contains("dynamic"));
    }

    #[test]
    fn image_options_on_tables_are_refused() {
        let error = numbered(3).with_options(&DataOptions { flip: true, ..Default::default() });
        assert!(error.is_err());
    }
}
