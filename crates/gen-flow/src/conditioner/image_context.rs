use tch::Tensor;

use super::network::Conditioner;
use crate::given::Given;
use crate::tensor::squeeze;

/// A network that sees an image beside its input: the context, `[batch, channels, height, width]`, becomes
/// channels of its input.
#[derive(Debug)]
pub struct WithImage<C> {
    network: C,
    squeezed: bool,
}

impl<C: Conditioner> WithImage<C> {
    /// The image has the size of the input.
    pub fn new(network: C) -> Self {
        WithImage { network, squeezed: false }
    }

    /// The image has twice the height and the width of the input; it is squeezed to four times as many channels
    /// ([`Squeeze`](crate::bijection::Squeeze)).
    pub fn squeezed(network: C) -> Self {
        WithImage { network, squeezed: true }
    }
}

impl<C: Conditioner> Conditioner for WithImage<C> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let Some(image) = given.context else {
            panic!("a network that sees an image needs one as its context");
        };
        let image = match self.squeezed {
            true => squeeze(image),
            false => image.shallow_clone(),
        };
        self.network.forward(&Tensor::cat(&[x, &image], 1), Given { context: None, ..given })
    }
}
