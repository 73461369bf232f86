//! The gain of each kernel over the same operations of libtorch, on the shapes of our models: the table of
//! `native/README.md`.
//!
//! `cargo bench --package gen-native --bench worth` prints it. Words after `--` select rows that contain one of them,
//! and GEN_WORTH_THREADS sets the number of threads (1).
//!
//! Both sides do the same work in turn, many times, so that other load affects both. With one thread, its processor
//! time counts, so that other programs do not; with more threads, wall-clock time counts. libtorch's operations are
//! measured on contiguous and on batch-innermost maps, and the faster one counts. The gain is the median quotient of
//! successive times.

#![allow(missing_docs, clippy::unwrap_used)]

mod cases;

use std::io::Write;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use gen_native::{Instructions, batch_innermost, use_instructions, with_gradient};
use tch::{Device, Kind, Tensor};

use cases::{Call, Case, Work};

gen_native::mkl_on_amd!();

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The duration of a measurement, and the number of measurements of each side.
const SAMPLE: Duration = Duration::from_millis(4);
const ROUNDS: usize = 41;

/// The layout of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Contiguous,
    BatchInnermost,
}

/// A way to do the work of a case.
#[derive(Debug, Clone, Copy)]
struct Way {
    instructions: Instructions,
    layout: Layout,
}

const OURS: Way = Way { instructions: Instructions::Best, layout: Layout::BatchInnermost };
const THEIRS: [Way; 2] = [
    Way { instructions: Instructions::Libtorch, layout: Layout::Contiguous },
    Way { instructions: Instructions::Libtorch, layout: Layout::BatchInnermost },
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let threads = std::env::var("GEN_WORTH_THREADS").map_or(1, |text| text.parse().unwrap());
    tch::set_num_threads(threads);
    tch::manual_seed(1);
    let mut out = std::io::stdout().lock();
    writeln!(out, "| kernel | on | in | ours, us | libtorch's, us | gain |").unwrap();
    writeln!(out, "|---|---|---|---|---|---|").unwrap();
    for case in cases::all() {
        let name = format!("{} {} {}", case.kernel, case.shape, case.models);
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let Compared { ours, theirs, gain } = compare(&case);
        writeln!(out, "| {} | {} | {} | {ours:.1} | {theirs:.1} | {gain:.2} |", case.kernel, case.shape, case.models)
            .unwrap();
        out.flush().unwrap();
    }
    use_instructions(Instructions::Best).unwrap();
}

struct Compared {
    /// Medians in microseconds.
    ours: f64,
    theirs: f64,
    gain: f64,
}

fn compare(case: &Case) -> Compared {
    let ways = [OURS, THEIRS[0], THEIRS[1]];
    let inputs = ways.map(|way| laid_out(case, way.layout));
    let mut seconds: [Vec<f64>; 3] = Default::default();
    let repeats: Vec<u32> = ways.iter().zip(&inputs).map(|(way, inputs)| repeats(case, *way, inputs)).collect();
    for round in 0..ROUNDS {
        // Each is the first in turn.
        for i in (0..ways.len()).map(|i| (i + round) % ways.len()) {
            let taken = time(case, ways[i], &inputs[i], repeats[i]);
            seconds[i].push(taken.as_secs_f64() / f64::from(repeats[i]));
        }
    }
    let best = if median(&seconds[1]) < median(&seconds[2]) { 1 } else { 2 };
    let quotients: Vec<f64> = seconds[best].iter().zip(&seconds[0]).map(|(theirs, ours)| theirs / ours).collect();
    Compared { ours: median(&seconds[0]) * 1e6, theirs: median(&seconds[best]) * 1e6, gain: median(&quotients) }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The inputs of a case, maps and rows lying as `layout` says.
fn laid_out(case: &Case, layout: Layout) -> Vec<Tensor> {
    let lay = |x: &Tensor| match (layout, x.dim()) {
        (Layout::BatchInnermost, 4) => batch_innermost(x).unwrap(),
        (Layout::BatchInnermost, 2) => x.tr().contiguous().tr(),
        _ => x.contiguous(),
    };
    let with_batch = |(i, x): (usize, &Tensor)| if i < case.with_batch { lay(x) } else { x.copy() };
    case.inputs.iter().enumerate().map(with_batch).collect()
}

/// How often the work fits into one measurement, after a first run that does not count.
fn repeats(case: &Case, way: Way, inputs: &[Tensor]) -> u32 {
    time(case, way, inputs, 2);
    let once = time(case, way, inputs, 3) / 3;
    (SAMPLE.as_nanos() / once.as_nanos().max(1)).clamp(1, 10_000) as u32
}

fn time(case: &Case, way: Way, inputs: &[Tensor], repeats: u32) -> Duration {
    use_instructions(way.instructions).unwrap();
    let call = match &case.composed {
        Some(composed) if way.instructions == Instructions::Libtorch => composed,
        _ => &case.call,
    };
    let (started, on_core) = (Instant::now(), ThreadTime::now());
    for _ in 0..repeats {
        match case.work {
            Work::Forward => tch::no_grad(|| {
                call(inputs);
            }),
            Work::Train => train(case, call, inputs),
        }
    }
    if tch::get_num_threads() == 1 { on_core.elapsed() } else { started.elapsed() }
}

/// The call, and the gradients of what has one.
fn train(case: &Case, call: &Call, inputs: &[Tensor]) {
    let leaf = |(i, x): (usize, &Tensor)| x.detach().set_requires_grad(!case.constants.contains(&i));
    let leaves: Vec<Tensor> = inputs.iter().enumerate().map(leaf).collect();
    let results = call(&leaves);
    // A loss whose gradients are there already and cost nothing, so that only the kernel is measured.
    let gradients: Vec<Tensor> = results.iter().map(Tensor::detach).collect();
    let list: Vec<&Tensor> = results.iter().collect();
    let given = move |_: &[Tensor]| Ok(gradients.iter().map(|x| Some(x.shallow_clone())).collect());
    let loss = with_gradient(&list, vec![Tensor::zeros([], OPTIONS)], given).unwrap();
    let learned: Vec<&Tensor> = leaves.iter().filter(|x| x.requires_grad()).collect();
    Tensor::run_backward(&loss, &learned, false, false);
}
