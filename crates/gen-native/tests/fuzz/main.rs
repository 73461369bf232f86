//! Every operation on tensors of random shapes and layouts, beside libtorch in double precision.
//!
//! `table` has a row for each operation. A case chooses values and shapes, the layout of each input (permuted, with
//! gaps, expanded, overlapping, with an offset, with lazy negation), the inputs with a gradient, the instructions of
//! the forward and of the backward pass, threads, and the layout of the gradient of each result. Values, gradients and
//! gradients of gradients are compared, and so are tangents of forward mode and their gradients. No other memory may
//! change. In some cases an input is wrong (in kind, device or shape); the operation must then fail or give the right
//! result.
//!
//! Environment variables: `GEN_FUZZ_CASES` (default 2000), `GEN_FUZZ_SEED` (from the clock), `GEN_FUZZ_FIRST` (the
//! number of the first case, 0) and `GEN_FUZZ_OPERATION` (part of the names of the operations that run). A case depends
//! only on the seed and its number. The running case is noted in a file whose name is printed, in case it ends the
//! process.

#![allow(clippy::unwrap_used)]

mod case;
mod compare;
mod draw;
mod faults;
mod forward;
mod layout;
mod runner;
#[path = "../shared/mod.rs"]
mod shared;
mod table;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::time::{Instant, SystemTime};
use std::{env, io, panic};

use draw::Draw;
use gen_native::{Instructions, use_instructions};
use runner::Outcome;

gen_native::mkl_on_amd!();

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; it is a whole number")))
}

/// The instructions of the processor; vector instructions are more frequent.
fn available() -> Vec<Instructions> {
    use Instructions::{Avx2, Avx512, Best, Libtorch, Portable};
    let all = [Best, Avx512, Avx512, Avx2, Avx2, Portable, Libtorch];
    all.into_iter().filter(|&which| use_instructions(which).unwrap()).collect()
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Writes past the output capture of tests, so that the seed is always shown.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[test]
fn operations_are_those_of_libtorch_however_tensors_lie() {
    let seed = setting("GEN_FUZZ_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000_000
    });
    let first = setting("GEN_FUZZ_FIRST").unwrap_or(0);
    let count = setting("GEN_FUZZ_CASES").unwrap_or(2000);
    let part = env::var("GEN_FUZZ_OPERATION").unwrap_or_default();
    let table: Vec<_> = table::OPERATIONS.iter().filter(|operation| operation.name.contains(&part)).collect();
    assert!(!table.is_empty(), "no operation has {part:?} in its name");
    let again = |case: u64| {
        let only = if part.is_empty() { String::new() } else { format!("GEN_FUZZ_OPERATION={part} ") };
        format!(
            "{only}GEN_FUZZ_SEED={seed} GEN_FUZZ_FIRST={case} GEN_FUZZ_CASES=1 cargo test -p gen-native --test fuzz"
        )
    };
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}.txt", std::process::id()));
    let mut notes = File::create(&path).unwrap();
    say(&format!("fuzz: seed {seed}, {count} cases from {first}; the case that runs is in {}", path.display()));

    // Panics of libtorch's functions are expected.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let available = available();
    let (start, mut failures) = (Instant::now(), Vec::new());
    let mut outcomes: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    for number in first..first + count {
        let mut draw = Draw::new(seed, number);
        let operation = draw.pick(&table);
        let case = (operation.draw)(&mut draw);
        let run = || {
            runner::run(&case, &mut draw, &available, |text| {
                notes.rewind().unwrap();
                notes.set_len(0).unwrap();
                write!(notes, "{}\n{} {text}", again(number), operation.name).unwrap();
            })
        };
        // The hook is silent, so the message of a panic is reported here.
        let result = panic::catch_unwind(panic::AssertUnwindSafe(run))
            .unwrap_or_else(|panic| Err(format!("{}\n  it panics: {}", case.settings, said(panic.as_ref()))));
        match result {
            Ok(outcome) => {
                let of_operation = outcomes.entry(operation.name).or_default();
                *of_operation.entry(format!("{outcome:?}")).or_default() += 1;
            }
            Err(text) => {
                failures.push(format!("{} {text}\n  again: {}", operation.name, again(number)));
                if failures.len() == 20 {
                    break;
                }
            }
        }
    }
    panic::set_hook(hook);
    let _ = use_instructions(Instructions::Best);
    let total = |outcome: Outcome| -> u64 { outcomes.values().filter_map(|of| of.get(&format!("{outcome:?}"))).sum() };
    say(&format!(
        "fuzz: seed {seed}: {} agree, {} refused, {} left to the caller, {} undecided, {} wrong, in {:.0} s",
        total(Outcome::Agreed),
        total(Outcome::Refused),
        total(Outcome::Declined),
        total(Outcome::Undecided),
        failures.len(),
        start.elapsed().as_secs_f64()
    ));
    if env::var_os("GEN_FUZZ_TABLE").is_some() {
        for (name, counts) in &outcomes {
            say(&format!("  {name}: {counts:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    // Undecided cases must be rare, or the comparison is useless.
    let undecided = total(Outcome::Undecided);
    assert!(undecided <= 5 + count / 50, "{undecided} of {count} cases decide nothing");
    drop(notes);
    let _ = std::fs::remove_file(path);
}
