//! Child processes: their output line by line, and the end of all when the user interrupts.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The user pressed Ctrl-C, or the system asked this program to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on an interrupt does not end this program at once: children are ended first.
pub(crate) fn catch_interrupts() -> Result<()> {
    #[cfg(unix)]
    use signal_hook::consts::SIGHUP;
    use signal_hook::consts::{SIGINT, SIGTERM};
    let signals = [
        SIGINT,
        SIGTERM,
        #[cfg(unix)]
        SIGHUP,
    ];
    for signal in signals {
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED)).context("cannot catch Ctrl-C")?;
    }
    Ok(())
}

/// An error if the user has interrupted.
pub(crate) fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Interrupted.into()) } else { Ok(()) }
}

/// Which of a child's outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// How long a child may take to end after an interrupt.
const GRACE: Duration = Duration::from_secs(15);
/// How often an interrupt is looked for.
const POLL: Duration = Duration::from_millis(100);

/// Runs a child that shares this program's terminal.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    let program = name(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {program}"))?;
    check_interrupt()?;
    Ok(status)
}

/// Runs a child to its end and hands over its lines as they come.
///
/// After an interrupt the child is asked once to end, and ended if it does not.
pub(crate) fn run_lines(
    command: &mut Command,
    mut on_line: impl FnMut(Stream, &str) -> Result<()>,
) -> Result<ExitStatus> {
    let program = name(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Group::start(command)?;
    let (sender, lines) = mpsc::channel();
    if let (Some(out), Some(err)) = (child.0.stdout.take(), child.0.stderr.take()) {
        let to = sender.clone();
        std::thread::spawn(move || forward(out, Stream::Out, &to));
        std::thread::spawn(move || forward(err, Stream::Err, &sender));
    }
    child.supervise(&lines, |(stream, line)| on_line(stream, &line))?;
    child.status(&program)
}

/// [`run_lines`] with both outputs in the order in which the child wrote them.
pub(crate) fn run_merged(
    mut command: Command,
    mut on_line: impl FnMut(&str) -> Result<()>,
) -> Result<ExitStatus> {
    let program = name(&command);
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("cannot make a pipe")?).stderr(writer);
    let mut child = Group::start(&mut command)?;
    // It holds the ends of the pipe that are written to; while they live there is no end of input.
    drop(command);
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || forward(reader, Stream::Out, &sender));
    child.supervise(&lines, |(_, line)| on_line(&line))?;
    child.status(&program)
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// A child that answers one line with one line.
pub(crate) struct Worker {
    input: Option<ChildStdin>,
    lines: Receiver<(Stream, String)>,
    /// What it said last on standard error.
    said: String,
    group: Group,
}

impl Worker {
    /// Starts it, and returns the line with which it says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Result<(Self, String)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::start(command)?;
        let (sender, lines) = mpsc::channel();
        if let (Some(out), Some(err)) = (group.0.stdout.take(), group.0.stderr.take()) {
            let to = sender.clone();
            std::thread::spawn(move || forward(out, Stream::Out, &to));
            std::thread::spawn(move || forward(err, Stream::Err, &sender));
        }
        let mut worker = Worker { input: group.0.stdin.take(), lines, said: String::new(), group };
        let ready = worker.answer()?;
        Ok((worker, ready))
    }

    /// Sends a request and waits for its answer, however long that takes.
    pub(crate) fn ask(&mut self, request: &str) -> Result<String> {
        // A child that has ended says why in its answer.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{request}").and_then(|()| input.flush());
        }
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        loop {
            check_interrupt()?;
            match self.lines.recv_timeout(POLL) {
                Ok((Stream::Out, line)) => return Ok(line),
                Ok((Stream::Err, line)) if line.trim().is_empty() => {}
                Ok((Stream::Err, line)) => self.said = line,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.group.0.wait().context("cannot wait for a worker")?;
                    bail!("{} ({status})", self.said.trim().trim_start_matches("gen: "));
                }
            }
        }
    }
}

/// A child in a process group of its own, which does not outlive an error of its parent.
///
/// Ctrl-C in a terminal reaches this program alone, which passes it on once.
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        command.spawn().map(Group).with_context(|| format!("cannot start {}", name(command)))
    }

    /// Hands over lines until the child has closed its outputs.
    fn supervise<T>(&mut self, lines: &Receiver<T>, mut on_line: impl FnMut(T) -> Result<()>) -> Result<()> {
        let mut asked: Option<Instant> = None;
        loop {
            match lines.recv_timeout(POLL) {
                Ok(line) => on_line(line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let Err(interrupted) = check_interrupt() else { continue };
            match asked {
                None => {
                    self.signal(End::Ask);
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > GRACE => return Err(interrupted),
                Some(_) => {}
            }
        }
    }

    fn status(&mut self, program: &str) -> Result<ExitStatus> {
        let status = self.0.wait().with_context(|| format!("cannot wait for {program}"))?;
        check_interrupt()?;
        Ok(status)
    }

    #[cfg(unix)]
    fn signal(&mut self, end: End) {
        use nix::sys::signal::{Signal, killpg};
        let signal = if end == End::Ask { Signal::SIGINT } else { Signal::SIGKILL };
        // The number of a child that was waited for may be another's by now.
        if let (Ok(None), Ok(id)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            let _ = killpg(nix::unistd::Pid::from_raw(id), signal);
        }
    }

    #[cfg(not(unix))]
    fn signal(&mut self, end: End) {
        if end == End::Force {
            let _ = self.0.kill();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(End::Force);
        let _ = self.0.wait();
    }
}

/// How a child is brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ask,
    Force,
}

/// Sends each line; a carriage return, with which progress bars go back, ends a line too.
fn forward(pipe: impl Read, stream: Stream, sender: &Sender<(Stream, String)>) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
        let text = String::from_utf8_lossy(&bytes);
        for line in text.trim_end_matches(['\n', '\r']).split('\r') {
            if sender.send((stream, line.to_owned())).is_err() {
                return;
            }
        }
        bytes.clear();
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_outputs_and_the_status_arrive() {
        let mut lines = Vec::new();
        let mut command = shell("echo one; printf 'two\\rthree\\n' >&2; printf four; exit 3");
        let status = run_lines(&mut command, |stream, line| {
            lines.push((stream, line.to_owned()));
            Ok(())
        });
        assert_eq!(status.unwrap().code(), Some(3));
        let of = |wanted| -> Vec<&str> {
            lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| line.as_str()).collect()
        };
        assert_eq!(of(Stream::Out), ["one", "four"]);
        assert_eq!(of(Stream::Err), ["two", "three"]);
    }

    #[test]
    fn merged_outputs_keep_their_order() {
        let mut lines = Vec::new();
        let status = run_merged(shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done"), |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        assert!(status.unwrap().success());
        assert_eq!(lines, ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3"]);
    }

    #[test]
    fn a_child_ends_with_an_error_of_its_parent() {
        let started = Instant::now();
        let result = run_lines(&mut shell("echo line; sleep 60"), |_, _| Err(anyhow::anyhow!("full disk")));
        assert_eq!(result.unwrap_err().to_string(), "full disk");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_worker_answers_line_by_line_and_says_why_it_ended() {
        let script = "echo ready; while read -r line; do echo \"$line?\"; [ $line = two ] && break; done; echo bad >&2; exit 4";
        let (mut worker, ready) = Worker::start(&mut shell(script)).unwrap();
        assert_eq!(ready, "ready");
        assert_eq!(worker.ask("one").unwrap(), "one?");
        assert_eq!(worker.ask("two").unwrap(), "two?");
        assert_eq!(worker.ask("three").unwrap_err().to_string(), "bad (exit status: 4)");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run_lines(&mut Command::new("/nowhere/gen"), |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("/nowhere/gen"), "{error:#}");
    }
}
