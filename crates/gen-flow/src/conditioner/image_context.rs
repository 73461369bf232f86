use tch::Tensor;

use super::Conditioner;
use crate::bijection::Given;

/// A network that sees an image beside what it is given: the context, `[batch, channels, height, width]`, becomes
/// channels of its input.
#[derive(Debug)]
pub struct WithImage<C>(pub C);

impl<C: Conditioner> Conditioner for WithImage<C> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let Some(image) = given.context else {
            panic!("a network that sees an image needs one as its context");
        };
        self.0.forward(&Tensor::cat(&[x, image], 1), Given { context: None, ..given })
    }
}
