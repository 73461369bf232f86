//! `cargo xtask train-all`: a model of each family on one data set, one after the other, and the report.
//!
//! Each run is a child process `gen`, so a crash costs one row, and memory and processor time are those of the run.

mod args;
mod job;
mod plan;
mod progress;
mod run;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, Interrupted};
use crate::report;
use crate::terminal::note;
use job::Outcome;
use plan::Plan;
use progress::Progress;

pub(crate) use args::Args;

pub(crate) fn run(args: &Args) -> Result<()> {
    process::catch_interrupts()?;
    let plan = Plan::of(args)?;
    plan.check_writable()?;
    let program = args.places.program()?;
    run_plan(&plan, &program, report::print).inspect_err(|error| {
        if error.is::<Interrupted>() {
            note("stopped; the same command goes on from here");
        }
    })
}

/// Runs all jobs, builds the report and passes it to `show`. Failed runs are an error at the end.
fn run_plan(plan: &Plan, program: &Path, show: impl Fn(&gen_report::Built) -> Result<()>) -> Result<()> {
    check_with_program(plan, program)?;
    let _lock = plan.start()?;
    let jobs = plan.jobs();
    let mut progress = Progress::new(&jobs, &plan.budget);
    let mut failed = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        progress.start(index, job);
        let outcome = run::run(job, plan, program, &mut progress)?;
        progress.finish(job, &outcome);
        if matches!(outcome, Outcome::Failed(_)) {
            failed.push(job.name().to_owned());
        }
    }
    progress.end();
    show(&report::build(&plan.folder())?)?;
    if !failed.is_empty() {
        bail!(
            "{} of {} runs failed ({}): the same command tries them again",
            failed.len(),
            jobs.len(),
            failed.join(", ")
        );
    }
    Ok(())
}

/// Checks the names and settings with `gen`, so that a wrong one is reported before the first run starts.
fn check_with_program(plan: &Plan, program: &Path) -> Result<()> {
    let dry_run = |model: &str, seed| [plan.train_arguments(model, seed), vec!["--dry-run".to_owned()]].concat();
    let names = run::output_of(program, &["list", "--names"])?;
    let known: Vec<&str> = names.lines().map(str::trim).collect();
    if let Some(unknown) = plan.models.iter().find(|model| !known.contains(&model.as_str())) {
        // `gen` suggests the name that was meant; it looks at the model before the data.
        run::output_of(program, &dry_run(unknown, 0))?;
        bail!("unknown model `{unknown}`: there are {}", known.join(", "));
    }
    // Files on this machine need not be fetched.
    if !plan.data.contains(':') {
        let status = process::run(Command::new(program).args(["data", "fetch", &plan.data]))?;
        if !status.success() {
            bail!("cannot get the data set `{}`: see above, or choose another --data", plan.data);
        }
    }
    for model in &plan.models {
        run::output_of(program, &dry_run(model, plan.seeds[0]))
            .with_context(|| format!("{model} cannot be trained with these arguments"))?;
    }
    Ok(())
}
