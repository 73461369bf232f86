use tch::Tensor;

use crate::error::{Error, Result};

/// How samples came to be: the states on the way from noise to data.
#[derive(Debug)]
pub struct Trajectory {
    /// From the noise to the samples; at least two.
    pub frames: Vec<Frame>,
}

/// One moment of a [`Trajectory`].
#[derive(Debug)]
pub struct Frame {
    /// Where on the way this is, in few words: `t = 480`, `3/8`.
    pub label: String,
    /// The states, in the units of the data; values of images may lie outside [-1, 1] on the way.
    pub state: Tensor,
    /// What the model takes the data to be at this point, where it makes such a guess at every step.
    pub estimate: Option<Tensor>,
}

impl Trajectory {
    /// Which of `states` (numbered from 0) are shown in `frames` frames: the first, the last, and others between them at
    /// equal distances; all of them where there are not more.
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
                "a trajectory has a start and an end: at least 2 frames, found {frames}"
            )));
        }
        if frames >= states {
            return Ok((0..states).collect());
        }
        let gap = (states - 1) as f64 / (frames - 1) as f64;
        Ok((0..frames).map(|i| (i as f64 * gap).round() as usize).collect())
    }
}
