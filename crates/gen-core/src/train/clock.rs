use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a [`RunningClock`] looks at the time by itself.
const BEAT: Duration = Duration::from_millis(100);
/// A process that runs looks at the time within this; one that did not for longer was stopped.
const STOPPED: Duration = Duration::from_millis(500);

/// The time that this process has been running: neither the time in which it was stopped (SIGSTOP, Ctrl-Z, a frozen
/// container) nor, where the system's monotonic clock stands still meanwhile as on Linux, that in which the machine slept.
///
/// Nothing tells a process that it was stopped, so a thread looks at the time every tenth of a second. It sleeps
/// otherwise, and such a thread is woken in time even on a machine with far too much to do. Where half a second has
/// passed between two looks nothing in the process can have run, and a tenth of it is counted in their place. A stop
/// shorter than that is counted as if there had been none. The training thread looks as well, whenever it asks, so that no
/// stop can be counted by asking before the other thread has woken.
pub(super) struct RunningClock {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    time: Mutex<Counted>,
    ended: Condvar,
}

struct Counted {
    running: Duration,
    looked: Instant,
    /// Whether a thread looks at the time, too; otherwise nobody can tell a stop from a long step.
    is_watched: bool,
    is_over: bool,
}

impl Counted {
    fn look(&mut self, now: Instant) -> Duration {
        self.running += counted(now.saturating_duration_since(self.looked), self.is_watched);
        self.looked = now;
        self.running
    }
}

/// What counts of the time between two looks.
fn counted(passed: Duration, is_watched: bool) -> Duration {
    if is_watched && passed > STOPPED { BEAT } else { passed }
}

impl Shared {
    fn time(&self) -> MutexGuard<'_, Counted> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningClock {
    /// A clock at 0.
    pub(super) fn start() -> Self {
        let time =
            Counted { running: Duration::ZERO, looked: Instant::now(), is_watched: false, is_over: false };
        let shared = Arc::new(Shared { time: Mutex::new(time), ended: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("clock".to_owned()).spawn(move || watch(&watched)).ok();
        RunningClock { shared, thread }
    }

    /// Seconds since the start in which the process ran.
    pub(super) fn seconds(&self) -> f64 {
        self.shared.time().look(Instant::now()).as_secs_f64()
    }
}

fn watch(shared: &Shared) {
    let mut time = shared.time();
    time.is_watched = true;
    while !time.is_over {
        time.look(Instant::now());
        let woken = shared.ended.wait_timeout(time, BEAT);
        time = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
}

impl Drop for RunningClock {
    fn drop(&mut self) {
        self.shared.time().is_over = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Seconds of processor time that this process has used, all threads together.
pub fn cpu_seconds() -> f64 {
    cpu_time::ProcessTime::try_now().map_or(f64::NAN, |time| time.as_duration().as_secs_f64())
}

/// The largest resident memory that this process has had, in MiB; `None` where the system does not tell.
pub fn peak_rss_mib() -> Option<f64> {
    status_mib("VmHWM:")
}

/// The resident memory of this process now, in MiB; `None` where the system does not tell.
pub fn rss_mib() -> Option<f64> {
    status_mib("VmRSS:")
}

fn status_mib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_no_running_process_leaves_is_not_counted() {
        let milliseconds = Duration::from_millis;
        assert_eq!(counted(milliseconds(499), true), milliseconds(499));
        assert_eq!(counted(milliseconds(90_000), true), BEAT);
        assert_eq!(counted(milliseconds(90_000), false), milliseconds(90_000));
        let mut time =
            Counted { running: Duration::ZERO, looked: Instant::now(), is_watched: true, is_over: false };
        let start = time.looked;
        for at in [100, 200, 90_200, 90_300] {
            time.look(start + milliseconds(at));
        }
        assert_eq!(time.running, milliseconds(400));
    }

    #[test]
    fn a_long_step_counts_in_full() {
        let clock = RunningClock::start();
        let (start, started) = (clock.seconds(), Instant::now());
        thread::sleep(Duration::from_millis(1300));
        let (counted, passed) = (clock.seconds() - start, started.elapsed().as_secs_f64());
        assert!((counted - passed).abs() < 0.6, "{counted} of {passed} seconds");
    }
}
