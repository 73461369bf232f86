//! The updates of optimizers, a file each: the settings of one kind, and the step that they give.

mod adam;
mod adamax;
mod rmsprop;
mod rule;
mod sgd;

pub use adam::{Adam, AdamW};
pub use adamax::Adamax;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

pub(super) use rule::{Range, Rule, Work};
