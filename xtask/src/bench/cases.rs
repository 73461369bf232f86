//! The models that are timed, and the implementations of each.

use anyhow::{Result, bail};

use Implementation::{Beside, Compiled, Eager, Gen, GenBf16, Nflows, Normflows, Zuko};

/// The other implementations. The output depends on them, the timing does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    /// The same models in PyTorch, eager and compiled; the faster one counts.
    PyTorch,
    /// Published libraries; each is compared on its own.
    Libraries,
    /// Another build of this workspace.
    Build,
}

/// A model with its settings and data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) model: &'static str,
    pub(super) family: &'static str,
    pub(super) data: &'static str,
    pub(super) set: &'static [&'static str],
    /// Numbers of samples drawn at once; each is timed on its own.
    pub(super) samples: &'static [u64],
    /// The implementations, ours first.
    pub(super) implementations: &'static [Implementation],
}

impl Case {
    /// With default settings, for comparison with the same model in PyTorch.
    pub(super) const fn new(
        name: &'static str,
        model: &'static str,
        family: &'static str,
        data: &'static str,
        samples: &'static [u64],
    ) -> Self {
        Case { name, model, family, data, set: &[], samples, implementations: &[Gen, GenBf16, Eager, Compiled] }
    }

    /// A flow of points in the plane, for comparison with the libraries.
    const fn points(
        name: &'static str,
        model: &'static str,
        set: &'static [&'static str],
        implementations: &'static [Implementation],
    ) -> Self {
        let case = Case::new(name, model, "flow", "moons", &[256, 10_000]);
        Case { set, implementations, ..case }
    }

    /// Training, then sampling.
    pub(super) fn tasks(&self) -> Vec<Task> {
        std::iter::once(Task::Train).chain(self.samples.iter().map(|n| Task::Sample(*n))).collect()
    }
}

/// A task that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Training steps.
    Train,
    /// Drawing this number of samples at once.
    Sample(u64),
}

impl Task {
    pub(super) const NAMES: [&str; 2] = ["train", "sample"];

    pub(super) fn name(self) -> &'static str {
        match self {
            Task::Train => Self::NAMES[0],
            Task::Sample(_) => Self::NAMES[1],
        }
    }
}

/// An implementation of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Implementation {
    /// This workspace.
    Gen,
    /// This workspace, with factors of products rounded to bfloat16.
    GenBf16,
    /// Another build of this workspace.
    Beside,
    /// The same model in plain PyTorch, with our weights.
    Eager,
    /// The same with `torch.compile`.
    Compiled,
    /// A library of flows.
    Zuko,
    /// A library of flows.
    Nflows,
    /// A library of flows.
    Normflows,
}

impl Implementation {
    /// Those of this workspace.
    pub(super) const OURS: [Implementation; 2] = [Gen, GenBf16];

    pub(super) fn is_ours(self) -> bool {
        Self::OURS.contains(&self)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Gen => "gen",
            GenBf16 => "gen-bf16",
            Beside => "gen-beside",
            Eager => "pytorch-eager",
            Compiled => "pytorch-compile",
            Zuko => "zuko",
            Nflows => "nflows",
            Normflows => "normflows",
        }
    }

    /// The name of its mode in `worker.py`.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Compiled => "compile",
            Zuko | Nflows | Normflows => self.name(),
            Gen | GenBf16 | Beside | Eager => "eager",
        }
    }

    /// Whether it starts from our weights, so that its training step has to be the same.
    pub(super) fn has_our_weights(self) -> bool {
        matches!(self, Eager | Compiled)
    }
}

/// Each family on images with its default settings, and two small networks, which show the cost of everything but the
/// arithmetic.
pub(super) const FAMILIES: [Case; 6] = [
    Case::new("dcgan", "quick-gan", "gan", "fashion-mnist", &[500]),
    Case::new("vae", "quick-vae", "vae", "fashion-mnist", &[1000]),
    Case {
        // Wider versions of the networks in Kingma & Welling's paper.
        set: &["network=mlp", "widths=[512,512]", "latent_dim=20", "prior=standard-normal", "binarise=static"],
        ..Case::new("vae-mlp", "quick-vae", "vae", "fashion-mnist", &[1000])
    },
    Case::new("realnvp", "quick-flow", "flow", "fashion-mnist", &[250]),
    Case::new("realnvp-moons", "quick-flow", "flow", "moons", &[10_000]),
    Case::new("ddpm", "quick-diffusion", "diffusion", "fashion-mnist", &[64]),
];

/// Flows that published libraries have too: eight transforms of points whose networks have two hidden layers of 64,
/// also as plain PyTorch written by hand, and a small Glow. All are in single precision except `gen-bf16`.
///
/// The libraries build the same architectures from these settings. No implementation averages the weights.
pub(super) const FLOWS: [Case; 5] = [
    Case::points(
        "realnvp",
        "quick-flow",
        &["couplings=8", "hidden=[64,64]", "batch_size=256", "ema_decay=0"],
        &[Gen, Eager, Zuko, Normflows],
    ),
    Case::points(
        "maf",
        "maf",
        &["transforms=8", "hidden=[64,64]", "batch_size=256", "ema_decay=0"],
        &[Gen, Eager, Zuko],
    ),
    Case::points(
        "nsf",
        "nsf",
        &["transforms=8", "hidden=[64,64]", "bins=8", "batch_size=256", "ema_decay=0"],
        &[Gen, Eager, Nflows, Zuko],
    ),
    Case::points(
        "nsf-ar",
        "nsf-ar",
        &["transforms=8", "hidden=[64,64]", "bins=8", "batch_size=256", "ema_decay=0"],
        &[Gen, Eager, Zuko],
    ),
    Case {
        set: &["pad=32", "scales=2", "steps=8", "width=128", "batch_size=64", "ema_decay=0"],
        implementations: &[Gen, GenBf16, Normflows],
        ..Case::new("glow", "glow", "flow", "fashion-mnist", &[64])
    },
];

/// The cases of two builds: the families', and those of the flows that have a name of their own.
pub(super) fn of_builds() -> Vec<Case> {
    let taken = |case: &&Case| FAMILIES.iter().all(|other| other.name != case.name);
    let cases = FAMILIES.iter().chain(FLOWS.iter().filter(taken));
    cases.map(|case| Case { implementations: &[Gen, Beside], ..*case }).collect()
}

/// The cases with these names, in the order of `cases`; all of them if there are no names.
pub(super) fn choose(cases: &[Case], names: &[String]) -> Result<Vec<Case>> {
    if names.is_empty() {
        return Ok(cases.to_vec());
    }
    let known: Vec<&str> = cases.iter().map(|case| case.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no model `{unknown}` to time: there are {}", known.join(", "));
    }
    Ok(cases.iter().filter(|case| names.iter().any(|name| name == case.name)).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name_in_their_own_order() {
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let chosen = choose(&FAMILIES, &names(&["ddpm", "vae"])).unwrap();
        assert_eq!(chosen.iter().map(|case| case.name).collect::<Vec<_>>(), ["vae", "ddpm"]);
        assert_eq!(choose(&FLOWS, &[]).unwrap().len(), FLOWS.len());
        let error = |cases, name| choose(cases, &names(&[name])).unwrap_err().to_string();
        assert!(error(&FAMILIES, "gan").contains("there are dcgan, vae"));
        assert!(error(&FLOWS, "dcgan").contains("there are realnvp, maf"));
    }

    #[test]
    fn every_case_has_a_name_of_its_own_and_ours_first() {
        for cases in [&FAMILIES[..], &FLOWS, &of_builds()] {
            for (index, case) in cases.iter().enumerate() {
                assert!(cases[..index].iter().all(|other| other.name != case.name), "{}", case.name);
                assert_eq!(case.implementations[0], Gen, "{}", case.name);
                assert!(case.implementations.iter().any(|implementation| !implementation.is_ours()));
            }
        }
    }

    #[test]
    fn training_comes_first_and_each_number_of_samples_is_a_task() {
        let tasks = FLOWS[0].tasks();
        assert_eq!(tasks, [Task::Train, Task::Sample(256), Task::Sample(10_000)]);
        let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
        assert_eq!(names, ["train", "sample", "sample"]);
    }
}
