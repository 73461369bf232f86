use tch::Tensor;

use crate::error::{Error, Result};

/// The intermediate states of samples on the way from noise to data.
#[derive(Debug)]
pub struct Trajectory {
    /// At least two, from the noise to the samples.
    pub frames: Vec<Frame>,
}

/// One moment of a [`Trajectory`].
#[derive(Debug)]
pub struct Frame {
    /// A short label of the moment: `t = 480`, `3/8`.
    pub label: String,
    /// The states, in the units of the data; values of images may lie outside [-1, 1] before the end.
    pub state: Tensor,
    /// The model's estimate of the final sample at this moment, where it makes one at every step.
    pub estimate: Option<Tensor>,
}

impl Trajectory {
    /// The indices of `frames` of the `states` states: the first, the last, and others at equal distances between them;
    /// all states if there are no more.
    ///
    /// ```
    /// use gen_core::model::Trajectory;
    /// assert_eq!(Trajectory::choose(26, 6)?, [0, 5, 10, 15, 20, 25]);
    /// assert_eq!(Trajectory::choose(3, 10)?, [0, 1, 2]);
    /// # Ok::<(), gen_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are fewer than 2 frames.
    pub fn choose(states: usize, frames: usize) -> Result<Vec<usize>> {
        if frames < 2 {
            return Err(Error::invalid(format!(
                "a trajectory needs at least 2 frames, its start and its end; found {frames}"
            )));
        }
        if frames >= states {
            return Ok((0..states).collect());
        }
        let gap = (states - 1) as f64 / (frames - 1) as f64;
        Ok((0..frames).map(|i| (i as f64 * gap).round() as usize).collect())
    }
}
