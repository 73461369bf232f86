use tch::{Kind, Tensor};

/// Appends a channel with the standard deviation over groups of images, a mean over all values of a group, so that a
/// discriminator sees whether samples differ (Karras et al. 2018, section 3; Karras et al. 2020).
///
/// `x: [batch, channels, height, width]` to `[batch, channels + 1, height, width]`. A group has `group` images, or the
/// next smaller number that divides the batch; it takes one image from each of as many equal parts of the batch.
///
/// # Panics
/// When `x` has no image, or `group` is below 1.
pub fn minibatch_std(x: &Tensor, group: i64) -> Tensor {
    let [batch, channels, height, width] = x.size()[..] else {
        panic!("the deviation is over feature maps, found {:?}", x.size())
    };
    let group = (1..=group.min(batch)).rev().find(|size| batch % size == 0);
    let group = group.unwrap_or_else(|| panic!("groups of {group:?} of {batch} images"));
    let grouped = x.reshape([group, -1, channels, height, width]);
    let centred = &grouped - grouped.mean_dim([0].as_slice(), true, None::<Kind>);
    let variance = centred.square().mean_dim([0].as_slice(), false, None::<Kind>);
    let deviation = (variance + 1e-8).sqrt().mean_dim([1, 2, 3].as_slice(), false, None::<Kind>);
    let channel = deviation.repeat([group]).view([batch, 1, 1, 1]).expand([batch, 1, height, width], false);
    Tensor::cat(&[x, &channel], 1)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::testing::{assert_close, assert_gradient, assert_penalty_gradient};

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn the_channel_is_the_deviation_within_each_group() {
        // Groups of two: images 0 and 2, which differ by 2, and images 1 and 3, which are alike.
        let x = Tensor::from_slice(&[1.0, 5.0, 3.0, 5.0]).view([4, 1, 1, 1]).expand([4, 2, 3, 3], false);
        let channel = minibatch_std(&x, 2);
        assert_eq!(channel.size(), [4, 3, 3, 3]);
        assert_eq!(channel.narrow(1, 0, 2), x);
        let expected = Tensor::from_slice(&[1.0, 1e-4, 1.0, 1e-4]).view([4, 1, 1]).expand([4, 3, 3], false);
        assert_close(&channel.select(1, 2), &expected, 1e-7, 1e-12);
        // Of 3 images no two are a group.
        assert_close(&minibatch_std(&x.narrow(0, 0, 3), 2).select(1, 2).max(), &Tensor::from(1e-4), 1e-7, 0.0);
    }

    #[test]
    fn gradients_and_those_of_penalties_are_right() {
        tch::manual_seed(0);
        let (x, w) = (Tensor::randn([4, 2, 2, 2], F64), Tensor::randn([3], F64));
        assert_gradient(|x| minibatch_std(x, 2).sin().sum(Kind::Double), &x, 1e-7);
        let layer = |x: &Tensor, w: &Tensor| (minibatch_std(x, 4) * w.view([3, 1, 1])).tanh();
        assert_penalty_gradient(layer, &x, &w, 1e-6);
    }
}
