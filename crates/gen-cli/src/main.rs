//! The program `gen`: train, sample, evaluate and compare generative models.

mod arguments;
mod cache;
mod catalog;
mod checkpoint;
mod commands;
mod device;
mod files;
mod given;
mod interrupt;
mod message;
mod networks;
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

// Without this, MKL takes its slow path on AMD processors.
gen_core::native::mkl_on_amd!();

/// libtorch allocates and frees megabytes in every operation, which the allocator of the C library is slow at. This one
/// replaces it in the whole process.
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
            message::tell(format!("gen: {}", message::in_one_line(&error)));
            let interrupted = error.downcast_ref::<interrupt::Interrupted>();
            interrupted.map_or(ExitCode::FAILURE, |interrupted| ExitCode::from(interrupted.exit_code))
        }
    }
}

fn parse() -> Result<commands::Command, clap::Error> {
    let matches = with_negative_numbers(Cli::command()).try_get_matches()?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// Lets every option take a negative number as its value, so that `--seed -1` is reported as a wrong seed and not as an
/// unknown option.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let takes_values = arg.get_action().takes_values() && !arg.is_positional();
        if takes_values { arg.allow_negative_numbers(true) } else { arg }
    });
    command.mut_subcommands(with_negative_numbers)
}

/// Prints the help that was asked for, or one line that says what is wrong with the arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let told = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
        let words: Vec<&str> = told.map(str::trim).filter(|line| !line.is_empty()).collect();
        message::tell(format!(
            "gen: {}; see --help",
            words.join(" ").replace(" tip: ", "; ").trim_start_matches("error: ")
        ));
    }
    ExitCode::from(2)
}

/// Whether the reader of the output closed the pipe, as in `gen list | head -1`. That is not a failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
