//! `GEN_INSTRUCTIONS`, the limit of a process. A process reads it once, so each value gets its own process.

#![allow(clippy::unwrap_used)]

use std::env;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use gen_native::{Instructions, use_instructions};

gen_native::mkl_on_amd!();

const WORDS: [(&str, Instructions); 4] = [
    ("libtorch", Instructions::Libtorch),
    ("portable", Instructions::Portable),
    ("avx2", Instructions::Avx2),
    ("avx512", Instructions::Avx512),
];

/// Runs the ignored test of this name in a process with this limit.
fn start(test: &str, limit: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test]).env("GEN_INSTRUCTIONS", limit).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// The end of the process, if it ends within a minute.
fn end(mut child: Child) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn no_more_is_used_than_allowed() {
    for (limit, _) in WORDS {
        let ended = end(start("with_a_limit", limit));
        assert!(ended.is_some_and(|status| status.success()), "{limit}: {ended:?}");
    }
}

#[test]
fn every_thread_gets_the_error_of_an_unknown_limit() {
    let ended = end(start("with_none", "none of these"));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[test]
#[ignore = "it is started by another test, in a process with a limit"]
fn with_a_limit() {
    let limit = env::var("GEN_INSTRUCTIONS").unwrap();
    let most = WORDS.iter().position(|(word, _)| *word == limit).unwrap();
    for (i, (word, which)) in WORDS.into_iter().enumerate() {
        let allowed = use_instructions(which).unwrap();
        assert!(i <= most || !allowed, "{word} with the limit {limit}");
        // Every processor has the first two.
        assert!(i > most.min(1) || allowed, "no {word} with the limit {limit}");
    }
}

#[test]
#[ignore = "it is started by another test, in a process with a limit that is none"]
fn with_none() {
    let together = Barrier::new(4);
    let ask = || {
        together.wait();
        use_instructions(Instructions::Portable).unwrap_err().to_string()
    };
    let answers = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for answer in answers {
        assert!(answer.contains("GEN_INSTRUCTIONS is 'none of these'"), "{answer}");
    }
}
