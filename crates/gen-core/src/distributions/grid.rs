use tch::Tensor;

/// Grey levels: equally spaced values from -1 to 1, each in the middle of a bin. The two outermost bins are open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Half the width of a bin.
    pub(super) half_bin: f64,
}

/// Masks of the values that lie in the two outermost bins.
pub(super) struct Outermost {
    pub(super) lowest: Tensor,
    pub(super) highest: Tensor,
}

impl Grid {
    /// # Panics
    /// When there are fewer than 2 levels.
    pub(super) fn new(levels: u32) -> Self {
        assert!(levels >= 2, "a grid has at least 2 levels, found {levels}");
        Grid { half_bin: 1.0 / (f64::from(levels) - 1.0) }
    }

    pub(super) fn outermost(self, x: &Tensor) -> Outermost {
        Outermost { lowest: x.lt(self.half_bin - 1.0), highest: x.gt(1.0 - self.half_bin) }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use tch::{Device, Kind, Tensor};

    use crate::testing::{assert_close, assert_gradient};

    /// A log-probability by location, log-scale and value.
    pub(in crate::distributions) type LogProb = fn(&Tensor, &Tensor, &Tensor) -> Tensor;

    pub(in crate::distributions) fn scalar(value: f64) -> Tensor {
        Tensor::from_slice(&[value])
    }

    /// All 256 bytes, a row each.
    pub(in crate::distributions) fn bytes() -> Tensor {
        Tensor::arange(256, (Kind::Double, Device::Cpu)).unsqueeze(1) / 127.5 - 1.0
    }

    /// The 256 masses sum to one, wherever the distribution lies and however wide it is.
    #[track_caller]
    pub(in crate::distributions) fn assert_normalised(log_prob: LogProb) {
        let x = bytes();
        for location in [-3.0, -1.0, 0.1, 0.999, 1.5] {
            for log_scale in [-7.0, -4.0, -1.0, 2.0] {
                let masses = log_prob(&Tensor::full_like(&x, location), &scalar(log_scale), &x).exp();
                let total = masses.sum(Kind::Double).double_value(&[]);
                assert!((total - 1.0).abs() < 1e-10, "location {location}, log-scale {log_scale}: {total}");
            }
        }
    }

    #[track_caller]
    pub(in crate::distributions) fn assert_single_precision(log_prob: LogProb) {
        let x = bytes();
        let location = Tensor::full_like(&x, 0.3);
        for log_scale in [-7.0, -2.0, 1.0] {
            let exact = log_prob(&location, &scalar(log_scale), &x);
            let single = |t: &Tensor| t.to_kind(Kind::Float);
            let actual = log_prob(&single(&location), &single(&scalar(log_scale)), &single(&x));
            assert!(bool::try_from(actual.isfinite().all()).unwrap());
            assert_close(&actual, &exact, 1e-4, 1e-3);
        }
    }

    /// In the location and the scale of each value, at both ends of the range and between them.
    #[track_caller]
    pub(in crate::distributions) fn assert_gradients(log_prob: LogProb) {
        let x = Tensor::from_slice(&[0u8, 1, 90, 255]).to_kind(Kind::Double).unsqueeze(0) / 127.5 - 1.0;
        let location = Tensor::from_slice(&[-0.7, 0.2, -0.294117647, 0.9]).unsqueeze(0);
        let log_scale = Tensor::from_slice(&[-0.5, -1.0, -2.0, -1.5]).unsqueeze(0);
        let both = Tensor::cat(&[location, log_scale], 0);
        let f = |p: &Tensor| log_prob(&p.narrow(0, 0, 1), &p.narrow(0, 1, 1), &x).sum(Kind::Double);
        assert_gradient(f, &both, 1e-7);
    }
}
