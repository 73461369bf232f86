//! Operations on tensors that several parts of this crate share.

use gen_core::native;
use tch::Tensor;

/// The first `at` entries of dimension 1, and the others; views.
#[track_caller]
pub(crate) fn split(x: &Tensor, at: i64) -> [Tensor; 2] {
    native::split_channels(x, at).unwrap_or_else(|error| panic!("{error}"))
}

/// `a` and then `b` along dimension 1.
#[track_caller]
pub(crate) fn join(a: &Tensor, b: &Tensor) -> Tensor {
    native::join_channels(a, b).unwrap_or_else(|error| panic!("{error}"))
}

/// The two halves of `x` along a dimension; views.
pub(crate) fn halves(x: &Tensor, dim: i64) -> [Tensor; 2] {
    let size = x.size()[dim as usize] / 2;
    [0, 1].map(|half| x.narrow(dim, half * size, size))
}

/// The log-determinant of a map that moves values and changes none: zero for each row of `x`.
pub(crate) fn volume_preserving(x: &Tensor) -> Tensor {
    constant_log_det(&Tensor::zeros([], (x.kind(), x.device())), x)
}

/// A log-determinant that is the same for each row of `x`, from a scalar; a view, nothing is copied.
pub(crate) fn constant_log_det(log_det: &Tensor, x: &Tensor) -> Tensor {
    log_det.expand([x.size()[0]], false)
}

/// Each 2 × 2 block of pixels as four channels, y\[b, 4c + 2i + j, h, w\] = x\[b, c, 2h + i, 2w + j\].
pub(crate) fn squeeze(x: &Tensor) -> Tensor {
    match batch_last(x) {
        Some((x, [height, width, channels, batch])) => x
            .view([height / 2, 2, width / 2, 2, channels, batch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([height / 2, width / 2, 4 * channels, batch])
            .permute([3, 2, 0, 1]),
        None => x.pixel_unshuffle(2),
    }
}

/// The inverse of [`squeeze`].
pub(crate) fn unsqueeze(y: &Tensor) -> Tensor {
    match batch_last(y) {
        Some((y, [height, width, channels, batch])) => y
            .view([height, width, channels / 4, 2, 2, batch])
            .permute([0, 3, 1, 4, 2, 5])
            .reshape([2 * height, 2 * width, channels / 4, batch])
            .permute([3, 2, 0, 1]),
        None => y.pixel_shuffle(2),
    }
}

/// `x: [batch, channels, height, width]` as `[height, width, channels, batch]`, with these sizes, if the batch is
/// innermost in memory: moving pixels then moves blocks, and the result has the same layout.
fn batch_last(x: &Tensor) -> Option<(Tensor, [i64; 4])> {
    let (batch, channels, height, width) = x.size4().ok()?;
    (batch > 1 && x.stride()[0] == 1).then(|| (x.permute([2, 3, 1, 0]), [height, width, channels, batch]))
}
