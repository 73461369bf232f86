//! `cargo xtask train-all`: a model of each family on one data set, one after the other, and the report.
//!
//! Each run is a child process `gen`: a crash costs one row, and memory and processor time are that run's own.

mod jobs;
mod plan;
mod progress;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, Interrupted};
use crate::{note, report, setup, workspace};
use jobs::Outcome;
use plan::Plan;
use progress::Progress;

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH
    #[arg(long, default_value = "fashion-mnist")]
    data: String,

    /// The models; `gen list` shows them
    #[arg(long, value_delimiter = ',', default_value = "dcgan,vae,realnvp,ddpm")]
    models: Vec<String>,

    /// How long each trains: 90s, 5m, 20000steps, 1Mimages, 10epochs
    #[arg(long, default_value = "3m")]
    budget: String,

    /// The seeds; each model is trained once with each
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,

    /// The folder in results; by default DATA-BUDGET
    #[arg(long)]
    experiment: Option<String>,

    /// Change a setting of one model; may be repeated
    #[arg(long = "set", value_name = "MODEL.KEY=VALUE")]
    set: Vec<String>,

    /// Samples that each model is evaluated with; by default as many as there are test images, up to 10000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    evaluate_n: Option<u64>,

    /// The program to run instead of building it.
    #[arg(long = "gen", hide = true)]
    program: Option<PathBuf>,

    #[arg(long, hide = true)]
    results: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    process::catch_interrupts()?;
    let plan = Plan::of(args)?;
    plan.check_writable()?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => {
            setup::ensure()?;
            workspace::build_program()?
        }
    };
    run_plan(&plan, &program, report::print).inspect_err(|error| {
        if error.is::<Interrupted>() {
            note("stopped; the same command goes on from here");
        }
    })
}

/// Runs all, builds the report and hands it to `show`; an error at the end if a run has failed.
fn run_plan(plan: &Plan, program: &Path, show: impl Fn(&gen_report::Built) -> Result<()>) -> Result<()> {
    check_with_program(plan, program)?;
    let _lock = plan.start()?;
    let jobs = plan.jobs();
    let mut progress = Progress::new(&jobs, &plan.budget);
    let mut failed = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        progress.start(index, job);
        let outcome = job.run(plan, program, &mut progress)?;
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

/// Asks `gen` whether it can do all this, so that a wrong name or setting shows now and not in an hour.
fn check_with_program(plan: &Plan, program: &Path) -> Result<()> {
    let names = jobs::output_of(Command::new(program).args(["list", "--names"]))?;
    let known: Vec<&str> = names.lines().map(str::trim).collect();
    if let Some(unknown) = plan.models.iter().find(|model| !known.contains(&model.as_str())) {
        // `gen` knows which name was meant, and looks at the model before the data.
        jobs::output_of(Command::new(program).args(plan.train_arguments(unknown, 0)).arg("--dry-run"))?;
        bail!("unknown model `{unknown}`: there are {}", known.join(", "));
    }
    // What lies on this machine has nothing to fetch.
    if !plan.data.contains(':') {
        let status = process::run(Command::new(program).args(["data", "fetch", &plan.data]))?;
        if !status.success() {
            bail!("the data set `{}` is not there: see above, or choose another --data", plan.data);
        }
    }
    for model in &plan.models {
        let mut train = Command::new(program);
        train.args(plan.train_arguments(model, plan.seeds[0])).arg("--dry-run");
        jobs::output_of(&mut train).with_context(|| format!("{model} cannot be trained so"))?;
    }
    Ok(())
}
