use std::fmt;

use super::level::Level;

/// A process from data to noise: its levels in the order of their noise.
///
/// A process needs two functions, the level at a time and the level at a signal-to-noise ratio. Training, all samplers,
/// the bound in continuous time and the probability flow follow from them.
pub trait Process: fmt::Debug {
    /// The level at `time` in [0, 1]: 0 has the least noise, 1 the most. The level at 0 has some noise.
    fn at(&self, time: f64) -> Level;

    /// The level of this [`Level::log_snr`], also between the levels that [`Process::at`] gives, and beyond them.
    fn at_log_snr(&self, log_snr: f64) -> Level;

    /// All levels of a process in timesteps, from the least noise to the most; `None` in continuous time.
    fn all_levels(&self) -> Option<&[Level]> {
        None
    }

    /// A short name of a level, for pictures: `t = 480`.
    fn label(&self, level: &Level) -> String {
        format!("t = {:.0}", level.time)
    }
}
