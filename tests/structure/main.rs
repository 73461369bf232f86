//! The structure of the source, as ARCHITECTURE.md has it.

mod architecture;
mod circles;
mod lines;
