//! The functions of the [table](super::table): each computes the numbers of one metric under the protocol.

pub(super) mod classes;
pub(super) mod copies;
pub(super) mod distances;
pub(super) mod likelihood;
pub(super) mod path;
pub(super) mod support;
