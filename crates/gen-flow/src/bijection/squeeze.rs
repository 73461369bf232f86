use tch::Tensor;

use super::{Bijection, Given, volume_preserving};

/// Trades space for channels: each 2 × 2 block becomes four channels,
///
/// > y\[b, 4c + 2i + j, h, w\] = x\[b, c, 2h + i, 2w + j\], log|det| = 0
///
/// `[batch, channels, height, width]` to `[batch, 4 channels, height / 2, width / 2]`; height and width are even.
///
/// Dinh et al. 2017, section 3.6.
#[derive(Debug, Clone, Copy)]
pub struct Squeeze;

impl Bijection for Squeeze {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let y = match batch_last(x) {
            Some((at, [height, width, channels, batch])) => at
                .view([height / 2, 2, width / 2, 2, channels, batch])
                .permute([0, 2, 4, 1, 3, 5])
                .reshape([height / 2, width / 2, 4 * channels, batch])
                .permute([3, 2, 0, 1]),
            None => x.pixel_unshuffle(2),
        };
        (y, volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let x = match batch_last(y) {
            Some((at, [height, width, channels, batch])) => at
                .view([height, width, channels / 4, 2, 2, batch])
                .permute([0, 3, 1, 4, 2, 5])
                .reshape([2 * height, 2 * width, channels / 4, batch])
                .permute([3, 2, 0, 1]),
            None => y.pixel_shuffle(2),
        };
        (x, volume_preserving(y))
    }
}

/// `x: [batch, channels, height, width]` as `[height, width, channels, batch]`, with these sizes, if the batch is
/// innermost in memory: moving pixels then moves blocks, and the result lies in the same way.
fn batch_last(x: &Tensor) -> Option<(Tensor, [i64; 4])> {
    let (batch, channels, height, width) = x.size4().ok()?;
    (batch > 1 && x.stride()[0] == 1).then(|| (x.permute([2, 3, 1, 0]), [height, width, channels, batch]))
}
