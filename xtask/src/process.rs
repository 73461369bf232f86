//! Child processes: their output line by line, and the end of all when the user interrupts.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use process_wrap::std::{ChildWrapper, CommandWrap};
use signal_hook::consts::{SIGINT, SIGTERM};

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

/// Once this has been called, an interrupt does not end this program at once: it ends the children first.
pub(crate) fn catch_interrupts() -> Result<()> {
    let signals = [
        SIGINT,
        SIGTERM,
        #[cfg(unix)]
        signal_hook::consts::SIGHUP,
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

/// The output of a child that a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// The lines of a child's outputs, as they come.
type Lines = Receiver<(Stream, String)>;

/// How long a child may take to end after an interrupt.
const GRACE: Duration = Duration::from_secs(15);
/// How often to look for an interrupt.
const POLL: Duration = Duration::from_millis(100);

/// Runs a child that shares this program's terminal.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", name(command)))?;
    check_interrupt()?;
    Ok(status)
}

/// Runs a child to its end and passes its lines on as they come.
///
/// After an interrupt the child is asked once to end, and killed if it does not.
pub(crate) fn run_lines(mut command: Command, on_line: impl FnMut(Stream, &str) -> Result<()>) -> Result<ExitStatus> {
    command.stdin(Stdio::null());
    let (child, lines) = Group::start_with_lines(command)?;
    child.supervise(&lines, on_line)
}

/// [`run_lines`] with both outputs in the order in which the child wrote them.
pub(crate) fn run_merged(mut command: Command, mut on_line: impl FnMut(&str) -> Result<()>) -> Result<ExitStatus> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("cannot make a pipe")?).stderr(writer);
    let child = Group::start(command)?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || forward(reader, Stream::Out, &sender));
    child.supervise(&lines, |_, line| on_line(line))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// A child that answers each line with one line.
pub(crate) struct Worker {
    input: Option<ChildStdin>,
    lines: Lines,
    /// Its last line on standard error.
    last_error: String,
    group: Group,
}

impl Worker {
    /// Starts it, and returns the line with which it says that it is ready.
    pub(crate) fn start(mut command: Command) -> Result<(Self, String)> {
        command.stdin(Stdio::piped());
        let (mut group, lines) = Group::start_with_lines(command)?;
        let input = group.child.stdin().take();
        let mut worker = Worker { input, lines, last_error: String::new(), group };
        let ready = worker.answer()?;
        Ok((worker, ready))
    }

    /// Sends a request and waits for its answer, however long that takes.
    pub(crate) fn ask(&mut self, request: &str) -> Result<String> {
        // If the child has ended, `answer` reports why.
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
                Ok((Stream::Err, line)) => self.last_error = line,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.group.wait()?;
                    bail!("{} ({status})", self.last_error.trim().trim_start_matches("gen: "));
                }
            }
        }
    }
}

/// A child in a process group of its own, which is killed when this is dropped.
///
/// Ctrl-C in a terminal reaches this program alone, which passes it on once.
struct Group {
    child: Box<dyn ChildWrapper>,
    program: String,
}

impl Group {
    /// Takes the command, since its ends of pipes have to be closed for a reader to see the end of its input.
    fn start(command: Command) -> Result<Self> {
        let program = name(&command);
        let mut command = CommandWrap::from(command);
        #[cfg(unix)]
        command.wrap(process_wrap::std::ProcessGroup::leader());
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Group { child, program })
    }

    /// Starts a child whose two outputs are read line by line.
    fn start_with_lines(mut command: Command) -> Result<(Self, Lines)> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::start(command)?;
        let (sender, lines) = mpsc::channel();
        if let Some(out) = group.child.stdout().take() {
            let sender = sender.clone();
            std::thread::spawn(move || forward(out, Stream::Out, &sender));
        }
        if let Some(err) = group.child.stderr().take() {
            std::thread::spawn(move || forward(err, Stream::Err, &sender));
        }
        Ok((group, lines))
    }

    /// Passes lines on until the child has closed its outputs, then waits for its end.
    fn supervise(mut self, lines: &Lines, mut on_line: impl FnMut(Stream, &str) -> Result<()>) -> Result<ExitStatus> {
        let mut asked: Option<Instant> = None;
        loop {
            match lines.recv_timeout(POLL) {
                Ok((stream, line)) => on_line(stream, &line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let Err(interrupted) = check_interrupt() else { continue };
            match asked {
                None => {
                    self.ask_to_end();
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > GRACE => return Err(interrupted),
                Some(_) => {}
            }
        }
        let status = self.wait()?;
        check_interrupt()?;
        Ok(status)
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().with_context(|| format!("cannot wait for {}", self.program))
    }

    /// Whether the child has not been waited for. After that its number may belong to another process.
    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn ask_to_end(&mut self) {
        #[cfg(unix)]
        if self.is_running() {
            let _ = self.child.signal(SIGINT);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.start_kill();
        }
        let _ = self.child.wait();
    }
}

/// Sends each line. A carriage return, with which progress bars go back, ends a line too.
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
        let command = shell("echo one; printf 'two\\rthree\\n' >&2; printf four; exit 3");
        let status = run_lines(command, |stream, line| {
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
        let result = run_lines(shell("echo line; sleep 60"), |_, _| Err(anyhow::anyhow!("full disk")));
        assert_eq!(result.unwrap_err().to_string(), "full disk");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_worker_answers_line_by_line_and_says_why_it_ended() {
        let script = "echo ready; while read -r line; do echo \"$line?\"; [ $line = two ] && break; done; \
                      echo bad >&2; exit 4";
        let (mut worker, ready) = Worker::start(shell(script)).unwrap();
        assert_eq!(ready, "ready");
        assert_eq!(worker.ask("one").unwrap(), "one?");
        assert_eq!(worker.ask("two").unwrap(), "two?");
        assert_eq!(worker.ask("three").unwrap_err().to_string(), "bad (exit status: 4)");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run_lines(Command::new("/nowhere/gen"), |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("/nowhere/gen"), "{error:#}");
    }
}
