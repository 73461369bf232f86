//! The program `gen`: train, sample, evaluate and compare generative models.

mod catalog;
mod commands;
mod device;
mod progress;
mod registry;
mod spaces;

use std::process::ExitCode;

use clap::Parser;

/// Train, sample and evaluate generative models: GANs, VAEs, normalizing flows, diffusion.
#[derive(Parser)]
#[command(name = "gen", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprint(&format!("gen: {}", in_one_line(&error)));
            ExitCode::FAILURE
        }
    }
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
