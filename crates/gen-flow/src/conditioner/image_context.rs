use tch::Tensor;

use super::Conditioner;
use crate::bijection::{Bijection, Given, Squeeze};

/// A network that sees an image beside what it is given: the context, `[batch, channels, height, width]`, becomes
/// channels of its input.
#[derive(Debug)]
pub struct WithImage<C> {
    network: C,
    squeezed: bool,
}

impl<C: Conditioner> WithImage<C> {
    /// Of the size of what the network is given.
    pub fn new(network: C) -> Self {
        WithImage { network, squeezed: false }
    }

    /// Of twice the height and the width; it is squeezed to four times as many channels ([`Squeeze`]).
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
            true => Squeeze.forward(image, Given::NOTHING).0,
            false => image.shallow_clone(),
        };
        self.network.forward(&Tensor::cat(&[x, &image], 1), Given { context: None, ..given })
    }
}
