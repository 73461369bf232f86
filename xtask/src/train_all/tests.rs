//! All of `train-all` with a shell script in place of `gen`, which takes the same arguments.

use std::fs;
use std::path::PathBuf;

use clap::Parser;

use super::*;

/// Training writes `config.toml`, evaluation writes `evaluation.csv`, and every call is recorded in `calls`.
///
/// A file `fail-<model>` beside the script makes the training of that model fail, `fail-evaluate` every evaluation.
const GEN: &str = r#"
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$*" in
"list --names") printf 'quick-gan\nquick-vae\nquick-flow\nquick-diffusion\nvae\nddpm\n'; exit ;;
"data fetch digits") exit ;;
"data fetch "*) echo "gen: unknown data set" >&2; exit 1 ;;
*" --budget 0s "*) echo "gen: the budget is 0s" >&2; exit 2 ;;
*--dry-run) exit ;;
esac
command=$1; model=$2; folder=$2
while [ $# -gt 0 ]; do
    case "$1" in --out) folder=$2 ;; --reference) model=$2 ;; esac
    shift
done
mkdir -p "$folder"
if [ "$command" = train ]; then
    printf '[run]\nfamily = "vae"\n' > "$folder/config.toml"
    echo "50%  step 7" >&2
    if [ -e "$here/fail-$model" ]; then echo "gen: the loss is NaN" >&2; exit 1; fi
else
    if [ -e "$here/fail-evaluate" ]; then echo "gen: no features" >&2; exit 1; fi
    name=$(basename "$folder")
    case "$name" in
    reference-*) printf 'model,family,fd\n%s,reference,1\n' "$model" ;;
    *) printf 'model,family,fd\n%s,vae,2\n' "${name%%-*}" ;;
    esac > "$folder/evaluation.csv"
fi
"#;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        crate::testing::script(folder.path(), "gen", GEN);
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, arguments: &str) -> Result<()> {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let mut args = Cli::parse_from(["train-all"].into_iter().chain(arguments.split_whitespace())).args;
        args.places.results = Some(self.path("results"));
        let plan = Plan::of(&args)?;
        plan.check_writable()?;
        run_plan(&plan, &self.path("gen"), |_| Ok(()))
    }

    /// The calls of `gen` since the last time, without the checks before the first run.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        let work = |line: &&str| line.starts_with("train") || line.starts_with("evaluate");
        let results = self.path("results").display().to_string() + "/";
        text.lines()
            .filter(work)
            .filter(|line| !line.contains("--dry-run"))
            .map(|line| line.replace(&results, ""))
            .collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("results/digits-20s").join(name)).unwrap()
    }

    fn statuses(&self) -> Vec<(String, String)> {
        let runs = gen_report::read_all(&self.path("results/digits-20s")).unwrap();
        runs.iter().map(|run| (run.name().to_owned(), run.text("status").to_owned())).collect()
    }
}

const DIGITS: &str = "--data digits --budget 20s";

#[test]
fn every_model_is_trained_evaluated_and_reported() {
    let bench = Bench::new();
    bench.start(&format!("{DIGITS} --models vae,ddpm --seeds 0,1 --set ddpm.channels=8 --evaluate-n 100")).unwrap();
    let calls = bench.calls();
    assert_eq!(calls.len(), 3 + 2 * 4);
    assert_eq!(calls[0], "evaluate --reference floor --data digits --out digits-20s/reference-floor -n 100");
    assert_eq!(
        calls[3],
        "train vae --data digits --budget 20s --seed 0 --out digits-20s/vae-digits-s0 --progress plain"
    );
    assert_eq!(calls[4], "evaluate digits-20s/vae-digits-s0 -n 100");
    assert!(
        calls[9].starts_with("train ddpm")
            && calls[9].ends_with("--seed 1 --out digits-20s/ddpm-digits-s1 --progress plain --set channels=8"),
        "{}",
        calls[9]
    );
    assert_eq!(bench.statuses().len(), 7);
    assert!(bench.statuses().iter().all(|(_, status)| status == "done"));
    assert!(bench.read("vae-digits-s0/log.txt").contains("50%  step 7"));
    assert!(bench.read("report.html").contains("vae (seed 1)"));
    assert_eq!(bench.read("summary.csv").lines().count(), 8);
}

#[test]
fn one_failure_does_not_stop_the_rest_and_is_tried_again() {
    let bench = Bench::new();
    fs::write(bench.path("fail-vae"), "").unwrap();
    let error = bench.start(&format!("{DIGITS} --models vae,ddpm")).unwrap_err().to_string();
    assert!(error.contains("1 of 5 runs failed (vae-digits-s0)"), "{error}");
    let failed: Vec<_> = bench.statuses().into_iter().filter(|(_, status)| status == "failed").collect();
    assert_eq!(failed, [("vae-digits-s0".to_owned(), "failed".to_owned())]);
    assert!(bench.read("summary.csv").contains("failed,the loss is NaN"));
    bench.calls();

    fs::remove_file(bench.path("fail-vae")).unwrap();
    bench.start(&format!("{DIGITS} --models vae,ddpm")).unwrap();
    // The run that had begun is resumed; all others were done.
    let calls = bench.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[0].starts_with("train vae") && calls[0].ends_with("--resume"), "{}", calls[0]);
    assert!(!bench.path("results/digits-20s/vae-digits-s0/error.txt").exists());
}

#[test]
fn a_torn_evaluation_is_made_again() {
    let bench = Bench::new();
    bench.start(&format!("{DIGITS} --models vae")).unwrap();
    fs::write(bench.path("results/digits-20s/vae-digits-s0/evaluation.csv"), "model,fd\nvae,").unwrap();
    bench.calls();
    bench.start(&format!("{DIGITS} --models vae")).unwrap();
    assert_eq!(bench.calls().len(), 2);
}

#[test]
fn more_models_may_be_added_and_nothing_else_may_change() {
    let bench = Bench::new();
    bench.start(&format!("{DIGITS} --models vae")).unwrap();
    bench.start(&format!("{DIGITS} --models vae,ddpm --set ddpm.channels=8")).unwrap();
    let refused = |arguments: &str, why: &str| {
        bench.calls();
        let error = bench.start(&format!("{arguments} --experiment digits-20s")).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("choose another --experiment"), "{error}");
        assert!(bench.calls().is_empty());
    };
    refused("--data digits --budget 30s --models vae", "started with --budget 20s, not 30s");
    refused("--data digits --budget 20s --models ddpm", "started with --set ddpm [channels=8], not ddpm []");
    refused("--data digits --budget 20s --models vae --evaluate-n 5", "started with --evaluate-n all, not 5");
}

#[test]
fn wrong_arguments_are_found_before_anything_is_written() {
    let bench = Bench::new();
    let refused = |arguments: &str, why: &str| {
        let error = format!("{:#}", bench.start(arguments).unwrap_err());
        assert!(error.contains(why), "{error}");
    };
    refused("--data digits --models gan", "unknown model `gan`: there are quick-gan, quick-vae");
    refused("--data nothing", "data set `nothing`");
    refused("--data digits --budget 0s", "quick-gan cannot be trained with these arguments: the budget is 0s");
    refused("--data digits --set vae:latent", "expected MODEL.KEY=VALUE");
    refused("--data digits --models vae --set ddpm.channels=8", "`ddpm` is not among the models vae");
    refused("--data digits --experiment ../x", "it names a folder");
    assert_eq!(fs::read_dir(bench.path("results")).unwrap().count(), 0);
}

#[test]
fn results_that_cannot_be_written_are_refused_first() {
    let bench = Bench::new();
    fs::write(bench.path("results"), "a file").unwrap();
    let error = format!("{:#}", bench.start(DIGITS).unwrap_err());
    assert!(error.contains("cannot write to") && !error.contains('\n'), "{error}");
    assert!(!bench.path("calls").exists());
}

#[test]
fn two_at_once_do_not_share_an_experiment() {
    let bench = Bench::new();
    bench.start(&format!("{DIGITS} --models vae")).unwrap();
    let folder = fs::File::open(bench.path("results/digits-20s")).unwrap();
    folder.lock().unwrap();
    let error = bench.start(&format!("{DIGITS} --models vae")).unwrap_err().to_string();
    assert!(error.contains("another train-all is working"), "{error}");
}

#[test]
fn an_evaluation_that_fails_fails_its_run() {
    let bench = Bench::new();
    fs::write(bench.path("fail-evaluate"), "").unwrap();
    let error = bench.start(&format!("{DIGITS} --models vae")).unwrap_err().to_string();
    assert!(error.contains("4 of 4 runs failed"), "{error}");
    assert!(bench.read("reference-floor/error.txt").contains("no features"));
}
