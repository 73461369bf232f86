//! A data set of four classes that is made by formula.

use gen_core::data::{Dataset, Split};
use gen_core::rng::{Purpose, derive};
use tch::{Kind, Tensor};

/// Classes of 8x8 images: a bright bar in one of four places, in grey noise.
pub(crate) fn bars(n: i64, seed: u64) -> Split {
    let uniform = |i: i64| (derive(seed, Purpose::Data, i as u64) >> 11) as f64 / (1u64 << 53) as f64;
    let noise: Vec<f64> = (0..n * 64).map(|i| 60.0 * uniform(i)).collect();
    let x = Tensor::from_slice(&noise).view([n, 1, 8, 8]);
    let labels: Vec<i64> = (0..n).map(|i| (4.0 * uniform(n * 64 + i)) as i64).collect();
    for (i, class) in labels.iter().enumerate() {
        let image = x.get(i as i64).get(0);
        let _ = image.narrow((class % 2) as usize as i64, 2 + 3 * (class / 2), 2).g_add_scalar_(150.0);
    }
    Split::labelled(x.to_kind(Kind::Uint8), Tensor::from_slice(&labels))
}

/// 1,200 training images of them, 100 for validation, 300 for tests.
pub(crate) fn images() -> Dataset {
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    Dataset::from_splits("bars", bars(1200, 1), Some(bars(100, 3)), Some(bars(300, 2)), classes).unwrap()
}
