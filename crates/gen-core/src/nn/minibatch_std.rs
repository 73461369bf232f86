use tch::Tensor;

use super::maps::concat_channels;

/// Appends to each feature map how much the images of its group differ (Karras et al. 2018, section 3; the groups are
/// those of StyleGAN2, Karras et al. 2020): `[batch, channels, height, width]` to
/// `[batch, channels + features, height, width]`.
///
/// A group has `group` images, or the whole batch where that is smaller. The standard deviation of each value over the
/// group is averaged over all positions and over the channels of each of `features` equal parts. Image `i` belongs to
/// group `i % (batch / group)`, as in StyleGAN2's code. One feature is usual.
///
/// ```
/// use gen_core::nn::minibatch_std;
/// use tch::{Device, Kind, Tensor};
///
/// let x = Tensor::randn([8, 16, 4, 4], (Kind::Float, Device::Cpu));
/// assert_eq!(minibatch_std(&x, 4, 1).size(), [8, 17, 4, 4]);
/// ```
///
/// # Panics
/// When the group does not divide the batch, or the features do not divide the channels.
pub fn minibatch_std(x: &Tensor, group: i64, features: i64) -> Tensor {
    let [batch, channels, height, width] = x.size()[..] else {
        panic!("the deviation needs a feature map, found {:?}", x.size())
    };
    let group = group.min(batch);
    assert!(group > 0 && batch % group == 0, "groups of {group} do not divide a batch of {batch}");
    assert!(features > 0 && channels % features == 0, "{features} features do not divide {channels} channels");
    let grouped = x.reshape([group, batch / group, features, channels / features, height, width]);
    let centred = &grouped - grouped.mean_dim([0].as_slice(), true, x.kind());
    let std = (centred.square().mean_dim([0].as_slice(), false, x.kind()) + 1e-8).sqrt();
    let per_group = std.mean_dim([2, 3, 4].as_slice(), false, x.kind());
    let feature = per_group.view([batch / group, features, 1, 1]).repeat([group, 1, height, width]);
    concat_channels(x, &gen_native::as_convolved(&feature))
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, leaf};
    use crate::testing::assert_close;

    /// x = numpy.array([1., 2., 4., 8.]).reshape(4, 1, 1, 1)
    /// numpy.sqrt(x[[0, 2]].var() + 1e-8), numpy.sqrt(x[[1, 3]].var() + 1e-8), numpy.sqrt(x.var() + 1e-8)
    #[test]
    fn images_of_a_group_share_their_deviation() {
        let x = Tensor::from_slice(&[1.0, 2.0, 4.0, 8.0]).view([4, 1, 1, 1]);
        let feature = |group| minibatch_std(&x, group, 1).select(1, 1).view([-1]);
        assert_close(&feature(2), &Tensor::from_slice(&[1.5, 3.0, 1.5, 3.0]), 1e-7, 0.0);
        assert_close(&feature(16), &Tensor::from_slice(&[2.680951323690902; 4]), 1e-8, 0.0);
        assert_eq!(minibatch_std(&x, 2, 1).narrow(1, 0, 1), x);
    }

    #[test]
    fn features_of_parts_of_the_channels_are_stylegan2s() {
        let golden = Golden::of("minibatch std");
        golden.check("y", &minibatch_std(&golden.get("x"), 3, 2));
    }

    #[test]
    fn layouts_agree() {
        let x = leaf(1, &[32, 4, 3, 2]).detach().to_kind(Kind::Float);
        let innermost = gen_native::batch_innermost(&x).unwrap();
        assert_close(&minibatch_std(&innermost, 4, 1), &minibatch_std(&x, 4, 1), 1e-6, 1e-6);
    }

    #[test]
    fn gradients_have_gradients() {
        let x = leaf(1, &[4, 2, 2, 1]);
        assert_derivatives(&[x.shallow_clone()], || minibatch_std(&x, 2, 2));
    }
}
