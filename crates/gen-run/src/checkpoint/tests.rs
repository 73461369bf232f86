//! Checkpoints after a killed process, a power failure or an edit.

use std::collections::BTreeSet;

use rand::RngExt;
use tch::Kind;

use super::*;
use gen_core::rng::{Purpose, generator};
use gen_core::train::LossSum;

/// A state in which every value is `step`.
fn state(step: u64) -> NamedTensors {
    let tensor = |n: i64| Tensor::full([n], step as f64, (Kind::Float, Device::Cpu));
    let names = ["weights.a", "weights.b", "ema.average.a", "ema.average.b", "training.m", "training.steps"];
    names.iter().zip(3..).map(|(name, n)| ((*name).to_owned(), tensor(n))).collect()
}

fn save_step(folder: &Path, step: u64) {
    let progress = Progress { step, images_seen: 8 * step, seconds: 0.1, cpu_seconds: 0.2 };
    let row = OpenRow {
        since: Progress::default(),
        losses: [("loss".to_owned(), LossSum { sum: 0.1 + 0.2, steps: 3 })].into(),
    };
    save(folder, Content { state: &state(step), progress, row, best: None, since_best: 0 }).unwrap();
}

/// A folder with `latest` of step 2 and `previous` of step 1.
fn saved_twice() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    save_step(folder.path(), 1);
    save_step(folder.path(), 2);
    folder
}

/// The step of the checkpoint that is read, after a check of its tensors, and the number of damaged ones.
fn loaded(folder: &Path) -> Option<(u64, usize)> {
    let checkpoint = load(folder).unwrap()?;
    let step = checkpoint.progress.step;
    for ((name, read), (expected_name, expected)) in checkpoint.state.iter().zip(state(step).iter()) {
        assert_eq!((name, read), (expected_name, expected));
    }
    assert_eq!(checkpoint.state.len(), state(step).len());
    assert_eq!(checkpoint.row.losses["loss"].sum.to_bits(), (0.1f64 + 0.2).to_bits());
    Some((step, checkpoint.damaged.len()))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_latest_and_the_one_before_are_kept() {
    let folder = saved_twice();
    assert_eq!(loaded(folder.path()), Some((2, 0)));
    save_step(folder.path(), 3);
    assert_eq!(loaded(folder.path()), Some((3, 0)));
    assert_eq!(names(folder.path()), ["latest", "previous"].map(str::to_owned).into());
    fs::remove_dir_all(folder.path().join("latest")).unwrap();
    assert_eq!(loaded(folder.path()), Some((2, 1)));
}

#[test]
fn a_file_that_lost_what_was_not_synced_is_detected() {
    let whole = saved_twice();
    let latest = whole.path().join("latest");
    assert_eq!(names(&latest).len(), 4);
    for name in names(&latest) {
        let path = latest.join(&name);
        let content = fs::read(&path).unwrap();
        let length = content.len();
        let mut torn: Vec<Vec<u8>> = [0, 1, 7, 8, length / 2, length - 1].map(|kept| content[..kept].to_vec()).into();
        // Blocks that were allocated but not written.
        torn.push(vec![0; length]);
        torn.push([&content[..length / 2], &vec![0; length - length / 2][..]].concat());
        torn.push([&content[..], b"\n"].concat());
        for bytes in torn {
            fs::write(&path, bytes).unwrap();
            assert_eq!(loaded(whole.path()), Some((1, 1)), "{name}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(loaded(whole.path()), Some((1, 1)), "{name} is missing");
        fs::write(&path, content).unwrap();
        assert_eq!(loaded(whole.path()), Some((2, 0)));
    }
}

#[test]
fn every_changed_byte_is_detected() {
    let folder = saved_twice();
    let latest = folder.path().join("latest");
    let mut random = generator(0, Purpose::Data, 0);
    for name in names(&latest) {
        let path = latest.join(&name);
        let content = fs::read(&path).unwrap();
        for _ in 0..40 {
            let mut edited = content.clone();
            edited[random.random_range(0..content.len())] ^= random.random_range(1..=255u8);
            fs::write(&path, edited).unwrap();
            assert_eq!(loaded(folder.path()), Some((1, 1)), "{name}");
        }
        fs::write(&path, content).unwrap();
    }
}

#[test]
fn files_of_two_checkpoints_are_not_mixed() {
    let folder = saved_twice();
    let file = |place: &str| folder.path().join(place).join("ema.safetensors");
    fs::copy(file("previous"), file("latest")).unwrap();
    assert_eq!(loaded(folder.path()), Some((1, 1)));
}

#[test]
fn a_process_killed_while_it_saves_leaves_a_whole_checkpoint() {
    // The intermediate states of a `save` of step 3 after step 2, by the folders that exist.
    let three = saved_twice();
    save_step(three.path(), 3);
    let build = |places: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let (two, three) = (saved_twice(), three.path());
        for (what, place) in places {
            let from = match *what {
                "1" => two.path().join("previous"),
                "2" => two.path().join("latest"),
                _ => three.join("latest"),
            };
            let to = folder.path().join(place);
            fs::create_dir(&to).unwrap();
            for name in names(&from) {
                // A part has no manifest, since that comes last.
                if *what != "part of 3" || name == "ema.safetensors" {
                    fs::copy(from.join(&name), to.join(&name)).unwrap();
                }
            }
        }
        folder
    };
    type Places = &'static [(&'static str, &'static str)];
    let states: [(Places, Option<(u64, usize)>); 8] = [
        (&[("1", "previous"), ("2", "latest"), ("part of 3", "new-4")], Some((2, 0))),
        (&[("1", "previous"), ("2", "latest"), ("3", "new-4")], Some((2, 0))),
        (&[("2", "latest"), ("3", "new-4")], Some((2, 0))),
        (&[("2", "previous"), ("3", "new-4")], Some((3, 1))),
        (&[("2", "previous"), ("part of 3", "new-4")], Some((2, 1))),
        (&[("2", "previous"), ("3", "latest")], Some((3, 0))),
        (&[("3", "new-4")], Some((3, 1))),
        (&[("part of 3", "new-4")], None),
    ];
    for (places, expected) in states {
        let folder = build(places);
        assert_eq!(loaded(folder.path()), expected, "{places:?}");
        save_step(folder.path(), 5);
        assert_eq!(loaded(folder.path()), Some((5, 0)), "{places:?}");
        assert!(names(folder.path()).iter().all(|name| !name.starts_with(ASIDE)), "leftovers of {places:?}");
    }
}

#[test]
fn damage_to_both_says_what_and_where() {
    let folder = saved_twice();
    for place in ["latest", "previous"] {
        let path = folder.path().join(place).join("weights.safetensors");
        let content = fs::read(&path).unwrap();
        fs::write(&path, &content[1..]).unwrap();
    }
    let message = load(folder.path()).unwrap_err().to_string();
    for part in ["latest", "previous", "weights.safetensors", "not a whole checkpoint file", "start anew"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(message.lines().count(), 1);
}

/// Forges the manifest of `latest` for its current files.
fn seal(folder: &Path, change: impl Fn(&mut Manifest)) {
    let latest = folder.join("latest");
    let mut manifest = Manifest::read(&latest).unwrap();
    manifest.files = FILES.iter().map(|(name, _)| FileRecord::of(&latest.join(name), name).unwrap()).collect();
    change(&mut manifest);
    manifest.write(&latest).unwrap();
}

#[test]
fn a_forged_checkpoint_is_refused_without_panic() {
    let headers: [(&str, &[u8]); 5] = [
        ("a header of 2^60 bytes", &(1u64 << 60).to_le_bytes()),
        ("a header of 90 MB", &90_000_000u64.to_le_bytes()),
        ("no header", b"abc"),
        (
            "a shape that overflows",
            br#"{"weights.a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}"#,
        ),
        (
            "a tensor that is not there",
            br#"{"weights.a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#,
        ),
    ];
    for (what, bytes) in headers {
        let folder = saved_twice();
        let weights = folder.path().join("latest/weights.safetensors");
        let header = if bytes.starts_with(b"{") {
            [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
        } else {
            bytes.to_vec()
        };
        fs::write(&weights, header).unwrap();
        seal(folder.path(), |_| ());
        assert_eq!(loaded(folder.path()), Some((1, 1)), "{what}");
    }

    let changes: [fn(&mut Manifest); 5] = [
        |manifest| manifest.progress.seconds = f64::NAN,
        |manifest| manifest.row.since.cpu_seconds = f64::NEG_INFINITY,
        |manifest| manifest.files[0].name = "../previous/weights.safetensors".to_owned(),
        |manifest| drop(manifest.files.remove(0)),
        |manifest| {
            let path = Path::new("/dev/null");
            manifest.files.push(FileRecord::of(path, "weights.safetensors").unwrap());
        },
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let folder = saved_twice();
        seal(folder.path(), change);
        assert_eq!(loaded(folder.path()), Some((1, 1)), "change {i}");
    }
}

#[test]
fn anything_in_place_of_a_manifest_is_refused() {
    let folder = saved_twice();
    let path = folder.path().join("latest").join(manifest::NAME);
    let mut random = generator(1, Purpose::Data, 0);
    for length in 0..200 {
        let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        fs::write(&path, bytes).unwrap();
        assert_eq!(loaded(folder.path()), Some((1, 1)));
    }
}
