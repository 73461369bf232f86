//! The program `gen`: train, sample, evaluate and compare generative models.

mod arguments;
mod cache;
mod catalog;
mod checkpoint;
mod commands;
mod device;
mod interrupt;
mod output;
mod pictures;
mod progress;
mod registry;
mod settings;
mod spaces;
mod trained;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};
use mimalloc::MiMalloc;

/// Train, sample and evaluate generative models: GANs, VAEs, normalizing flows, diffusion.
#[derive(Parser)]
#[command(name = "gen", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

// MKL would take its slow path on a processor of AMD.
gen_core::native::mkl_on_amd!();

/// libtorch takes and frees megabytes at every operation, which is not what the allocator of the C library is best at.
/// This one replaces it in the whole process.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gen_core::native::keep_freed_memory();
    let command = match parse() {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprint(&format!("gen: {}", in_one_line(&error)));
            let interrupted = error.downcast_ref::<interrupt::Interrupted>();
            interrupted.map_or(ExitCode::FAILURE, |interrupted| ExitCode::from(interrupted.exit_code))
        }
    }
}

fn parse() -> Result<commands::Command, clap::Error> {
    let matches = with_negative_numbers(Cli::command()).try_get_matches()?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// `--seed -1` is a wrong seed, not an unknown option: every option is given the numbers that follow it, and says what it
/// takes.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let takes_values = arg.get_action().takes_values() && !arg.is_positional();
        if takes_values { arg.allow_negative_numbers(true) } else { arg }
    });
    command.mut_subcommands(with_negative_numbers)
}

/// What is not a command: the help that was asked for, or what is wrong with the arguments, in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let told =
            text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
        let words: Vec<&str> = told.map(str::trim).filter(|line| !line.is_empty()).collect();
        eprint(&format!(
            "gen: {}; see --help",
            words.join(" ").replace(" tip: ", "; ").trim_start_matches("error: ")
        ));
    }
    ExitCode::from(2)
}

/// The first line of each cause; one that the error before it ends with is not repeated.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.lines().next().unwrap_or_default();
        if !line.ends_with(cause) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(cause);
        }
    }
    line
}

/// A reader that closes the pipe (`gen list | head -1`) has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// One line on standard error; a closed one is nobody's loss.
fn eprint(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
