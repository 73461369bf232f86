use std::io::Write;
use std::path::PathBuf;

use crate::output;
use crate::progress::Work;

/// Compare evaluated runs: tables, figures and a report
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of evaluated runs, of references or of samples from elsewhere; they are not changed
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The folder for the tables, the figures and report.html
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    output::check_folder(&args.out)?;
    let work = Work::on("tables and figures");
    let built = gen_report::compare(&args.runs, &args.out)?;
    drop(work);
    std::io::stdout().lock().write_all(built.text().as_bytes())?;
    Ok(())
}
