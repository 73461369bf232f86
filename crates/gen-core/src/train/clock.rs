use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The interval at which the thread of a [`RunningClock`] reads the time.
const BEAT: Duration = Duration::from_millis(100);
/// A running process reads the time at least this often; a longer gap means that it was stopped.
const STOPPED: Duration = Duration::from_millis(500);

/// The time for which this process has been running. It excludes time in which the process is stopped (SIGSTOP, Ctrl-Z,
/// a frozen container) and, where the system's monotonic clock stands still meanwhile as on Linux, sleep of the
/// machine.
///
/// A process is not notified that it was stopped, so a thread reads the time every tenth of a second. It sleeps
/// otherwise, and such a thread wakes in time even on an overloaded machine. A gap of half a second between two
/// readings therefore means that nothing in the process ran, and counts as a tenth of a second. Shorter stops count as
/// running time. The training thread takes a reading whenever it asks for the time, so that a stop is excluded even if
/// the other thread has not woken since.
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
    last: Instant,
    /// Whether the thread runs; without it, a stop cannot be told from a long step.
    is_watched: bool,
    is_over: bool,
}

impl Counted {
    fn read(&mut self, now: Instant) -> Duration {
        self.running += counted(now.saturating_duration_since(self.last), self.is_watched);
        self.last = now;
        self.running
    }
}

/// The running time between two readings.
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
        let time = Counted { running: Duration::ZERO, last: Instant::now(), is_watched: false, is_over: false };
        let shared = Arc::new(Shared { time: Mutex::new(time), ended: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("clock".to_owned()).spawn(move || watch(&watched)).ok();
        RunningClock { shared, thread }
    }

    /// Seconds since the start for which the process has been running.
    pub(super) fn seconds(&self) -> f64 {
        self.shared.time().read(Instant::now()).as_secs_f64()
    }
}

fn watch(shared: &Shared) {
    let mut time = shared.time();
    time.is_watched = true;
    while !time.is_over {
        time.read(Instant::now());
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

/// The processor time of this process in seconds, summed over threads.
pub fn cpu_seconds() -> f64 {
    cpu_time::ProcessTime::try_now().map_or(f64::NAN, |time| time.as_duration().as_secs_f64())
}

/// The peak resident memory of this process in MiB; `None` where the system does not report it.
pub fn peak_rss_mib() -> Option<f64> {
    status_mib("VmHWM:")
}

/// The resident memory of this process in MiB; `None` where the system does not report it.
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
    fn a_gap_in_which_the_process_was_stopped_is_not_counted() {
        let milliseconds = Duration::from_millis;
        assert_eq!(counted(milliseconds(499), true), milliseconds(499));
        assert_eq!(counted(milliseconds(90_000), true), BEAT);
        assert_eq!(counted(milliseconds(90_000), false), milliseconds(90_000));
        let mut time = Counted { running: Duration::ZERO, last: Instant::now(), is_watched: true, is_over: false };
        let start = time.last;
        for at in [100, 200, 90_200, 90_300] {
            time.read(start + milliseconds(at));
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
