use std::io::Write;

use tch::{Kind, Tensor};

use super::*;
use gen_core::data::{DataOptions, Shape, Splits};
use gen_core::rng::{Purpose, permutation};

fn idx(magic: u32, size: &[u32], content: &[u8]) -> Vec<u8> {
    let header = [magic].into_iter().chain(size.iter().copied()).flat_map(u32::to_be_bytes);
    header.chain(content.iter().copied()).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gz.write_all(content).unwrap();
    gz.finish().unwrap()
}

/// Ten 2x2 training images and three test images; image i is all i, and its label is i modulo 2.
fn contents() -> [(Role, Vec<u8>); 4] {
    let pixels = |range: std::ops::Range<u8>| range.flat_map(|i| [i; 4]).collect::<Vec<u8>>();
    let labels = |range: std::ops::Range<u8>| range.map(|i| i % 2).collect::<Vec<u8>>();
    [
        (Role::TrainImages, idx(0x803, &[10, 2, 2], &pixels(0..10))),
        (Role::TrainLabels, idx(0x801, &[10], &labels(0..10))),
        (Role::TestImages, idx(0x803, &[3, 2, 2], &pixels(10..13))),
        (Role::TestLabels, idx(0x801, &[3], &labels(10..13))),
    ]
}

fn manifest(files: &[(Role, Vec<u8>)], source: impl Fn(&str) -> Source) -> Manifest {
    Manifest {
        name: "tiny".to_owned(),
        title: "Tiny".to_owned(),
        licence: "CC0".to_owned(),
        citation: "nobody".to_owned(),
        homepage: "https://example.org".to_owned(),
        format: Format::Idx,
        shape: Shape::Image { channels: 1, height: 2, width: 2 },
        classes: vec!["even".to_owned(), "odd".to_owned()],
        splits: Splits { train: 8, validation: 2, test: 3 },
        files: files
            .iter()
            .map(|(role, content)| {
                let name = format!("{role:?}").to_lowercase();
                DataFile {
                    role: *role,
                    size: content.len() as u64,
                    sha256: sha256(content),
                    sources: vec![source(&name)],
                    name,
                }
            })
            .collect(),
    }
}

/// A catalogue of the tiny set, its files compressed in the program.
fn bundled(files: &[(Role, Vec<u8>)], change: impl Fn(&mut Manifest)) -> Catalog {
    let mut manifest = manifest(files, |name| Source::Bundled { path: format!("tiny/{name}.gz") });
    change(&mut manifest);
    let paths: Vec<String> = manifest.files.iter().map(|file| format!("tiny/{}.gz", file.name)).collect();
    let catalog = Catalog::new(vec![manifest], "/nonexistent").unwrap();
    paths.into_iter().zip(files).fold(catalog, |catalog, (path, (_, content))| catalog.bundle(path, gzip(content)))
}

/// A catalogue of the tiny set, its files in the cache.
fn cached(cache: &Path, files: &[(Role, Vec<u8>)]) -> Catalog {
    let manifest = manifest(files, |name| Source::Url { url: format!("http://127.0.0.1:1/{name}") });
    let catalog = Catalog::new(vec![manifest], cache).unwrap();
    let folder = catalog.folder(&catalog.manifests()[0]);
    fs::create_dir_all(&folder).unwrap();
    for (file, (_, content)) in catalog.manifests()[0].files.iter().zip(files) {
        fs::write(folder.join(&file.name), content).unwrap();
    }
    catalog
}

fn load(catalog: &Catalog, name: &str) -> Result<Loaded> {
    catalog.load(name, &mut |_| ())
}

fn first_pixels(split: &Split) -> Vec<i64> {
    Vec::try_from(split.x.reshape([split.len() as i64, -1]).select(1, 0).to_kind(Kind::Int64)).unwrap()
}

#[test]
fn the_last_training_rows_validate() {
    let catalog = bundled(&contents(), |_| ());
    let data = load(&catalog, "tiny").unwrap().data;
    assert_eq!(first_pixels(&data.train), (0..8).collect::<Vec<_>>());
    assert_eq!(first_pixels(&data.validation), [8, 9]);
    assert_eq!(first_pixels(&data.test), [10, 11, 12]);
    assert_eq!(*data.test.labels().unwrap(), Tensor::from_slice(&[0i64, 1, 0]));
    assert_eq!(data.spec.classes, ["even", "odd"]);
    assert_eq!(data.spec.splits, Splits { train: 8, validation: 2, test: 3 });
    let files = &catalog.manifests()[0].files;
    let list: String = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
    assert_eq!(data.spec.sha256, sha256(list.as_bytes()));
}

#[test]
fn options_leave_checksum_and_splits() {
    let data = load(&bundled(&contents(), |_| ()), "tiny").unwrap().data;
    let (sha256, splits) = (data.spec.sha256.clone(), data.spec.splits);
    let padded = data.with_options(&DataOptions { pad: 4, ..Default::default() }).unwrap();
    assert_eq!((padded.spec.sha256, padded.spec.splits), (sha256, splits));
}

#[test]
fn files_in_the_program_need_no_cache() {
    let catalog = bundled(&contents(), |_| ());
    let manifest = catalog.manifest("tiny").unwrap();
    assert!(catalog.is_present(manifest));
    assert!(catalog.verify(manifest).iter().all(|(_, state)| *state == FileState::Bundled));
    catalog.fetch(manifest, &mut |event| panic!("{event:?}")).unwrap();
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn files_in_the_cache_are_used_as_they_are() {
    let cache = tempfile::tempdir().unwrap();
    let catalog = cached(cache.path(), &contents());
    let data = catalog.load("tiny", &mut |event| panic!("{event:?}")).unwrap().data;
    assert_eq!(data.train.len(), 8);
    assert!(catalog.is_present(&catalog.manifests()[0]));
}

#[test]
fn a_truncated_file_is_an_error_and_is_found_by_verify() {
    let cache = tempfile::tempdir().unwrap();
    let catalog = cached(cache.path(), &contents());
    let manifest = catalog.manifest("tiny").unwrap();
    fs::write(catalog.folder(manifest).join("trainimages"), b"short").unwrap();
    fs::remove_file(catalog.folder(manifest).join("testlabels")).unwrap();
    fs::write(catalog.folder(manifest).join("testimages"), idx(0x803, &[3, 2, 2], &[0; 12])).unwrap();
    assert!(!catalog.is_present(manifest));
    let states: Vec<FileState> = catalog.verify(manifest).into_iter().map(|(_, state)| state).collect();
    let [FileState::Damaged(short), FileState::Good, FileState::Damaged(other), FileState::Absent] = &states[..] else {
        panic!("{states:?}");
    };
    assert!(short.contains("it has 5 bytes, expected 56"), "{short}");
    assert!(other.contains("SHA-256"), "{other}");
    let error = load(&catalog, "tiny").unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("testlabels: no source has this file (http://127.0.0.1:1/testlabels"));
    fs::write(catalog.folder(manifest).join("testlabels"), &contents()[3].1).unwrap();
    let error = load(&catalog, "tiny").unwrap_err().to_string();
    assert!(error.contains("trainimages: the file is damaged") && !error.contains('\n'), "{error}");
}

#[test]
fn files_kept_compressed_are_read() {
    let mut files = contents();
    for (_, content) in &mut files {
        *content = gzip(content);
    }
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(load(&cached(cache.path(), &files), "tiny").unwrap().data.test.len(), 3);
}

#[test]
fn files_that_contradict_their_manifest_are_refused() {
    let files = contents();
    let error = |change: &dyn Fn(&mut Manifest)| load(&bundled(&files, change), "tiny").unwrap_err().to_string();
    assert!(error(&|m| m.splits.train = 7).contains("hold images [10, 1, 2, 2] and 10 labels"));
    assert!(error(&|m| m.classes.truncate(1)).contains("has a label 1, but 1 classes"));
    assert!(error(&|m| m.files[0].sha256 = sha256(b"")).contains("SHA-256"));
    let mut swapped = contents();
    swapped[1] = (Role::TrainLabels, contents()[0].1.clone());
    let message = load(&bundled(&swapped, |_| ()), "tiny").unwrap_err().to_string();
    assert!(message.contains("not an IDX file of labels"), "{message}");
}

#[test]
fn unknown_names_suggest_the_nearest() {
    let catalog = bundled(&contents(), |_| ());
    let error = |name: &str| load(&catalog, name).unwrap_err().to_string();
    assert_eq!(error("tinny"), "unknown data set `tinny`: did you mean `tiny`?");
    assert_eq!(error("moon"), "unknown data set `moon`: did you mean `moons`?");
    assert_eq!(error("foldr:x"), "unknown kind of data `foldr`: did you mean `folder`?");
    assert_eq!(error("csv:"), "`csv:` lacks a path: csv:PATH");
    assert_eq!(load(&catalog, "25gaussians").unwrap().data.spec.name, "25gaussians");
}

#[test]
fn names_are_taken_once() {
    let tiny = |name: &str| {
        let mut manifest = manifest(&contents(), |_| Source::Url { url: "http://x".to_owned() });
        manifest.name = name.to_owned();
        manifest
    };
    for names in [["a", "a"], ["a", "moons"]] {
        let error = Catalog::new(names.map(tiny).into(), "x").unwrap_err().to_string();
        assert_eq!(error, format!("two data sets are called `{}`", names[1]));
    }
}

#[test]
fn own_arrays_are_shuffled_and_divided() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    let rows: String = (0..50).map(|i| format!("{}.25,{}\n", i * 7 % 50, 2 * i)).collect();
    fs::write(&path, &rows).unwrap();
    let catalog = Catalog::new(Vec::new(), "x").unwrap();
    let name = format!("csv:{}", path.display());
    let Loaded { data, warnings } = load(&catalog, &name).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(data.train.x.kind(), Kind::Double);
    assert_eq!((data.spec.name.as_str(), data.spec.sha256), (name.as_str(), sha256(rows.as_bytes())));
    assert_eq!(data.spec.splits, Splits { train: 40, validation: 5, test: 5 });
    let parts: Vec<Vec<i64>> = [&data.train, &data.validation, &data.test].map(first_pixels).into();
    assert_ne!(parts[0], (0..40).collect::<Vec<_>>());
    let mut all = parts.concat();
    assert_eq!(load(&catalog, &name).map(|again| first_pixels(&again.data.test)).unwrap(), parts[2]);
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
}

#[test]
fn own_folders_take_a_size_and_pass_on_warnings() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..12u8 {
        let picture = image::GrayImage::from_pixel(10, 12, image::Luma([i]));
        picture.save(folder.path().join(format!("{i:02}.png"))).unwrap();
    }
    fs::write(folder.path().join("99.png"), "broken").unwrap();
    let catalog = Catalog::new(Vec::new(), "x").unwrap();
    let name = |options: &str| format!("folder:{}{options}", folder.path().display());
    let loaded = load(&catalog, &name("?size=4")).unwrap();
    assert_eq!(loaded.data.spec.shape, Shape::Image { channels: 1, height: 4, width: 4 });
    assert_eq!(loaded.data.spec.splits, Splits { train: 10, validation: 1, test: 1 });
    assert!(loaded.warnings[0].contains("left out 1 of 13 images: 99.png"), "{:?}", loaded.warnings);
    let whole = load(&catalog, &name("")).unwrap();
    assert_eq!(whole.data.spec.shape, Shape::Image { channels: 1, height: 10, width: 10 });
    assert_eq!(whole.data.spec.sha256, loaded.data.spec.sha256);
    let error = |options: &str| load(&catalog, &name(options)).unwrap_err().to_string();
    assert_eq!(error("?sise=4"), "unknown option of a folder `sise`: did you mean `size`?");
    assert_eq!(error("?size=0"), "`size` takes a side from 1 to 4096 pixels, found `0`");
}

#[test]
fn few_rows_are_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    fs::write(&path, "1\n2\n").unwrap();
    let loaded = load(&Catalog::new(Vec::new(), "x").unwrap(), &format!("csv:{}", path.display())).unwrap();
    assert_eq!(loaded.data.train.len(), 2);
    assert!(loaded.warnings[0].contains("has 2 rows: fewer than 10 leave none for validation and test"));
}

#[test]
fn columns_that_never_vary_are_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    fs::write(&path, (0..20).map(|i| format!("{}e-21,3,0.1\n", i * i)).collect::<String>()).unwrap();
    let loaded = load(&Catalog::new(Vec::new(), "x").unwrap(), &format!("csv:{}", path.display())).unwrap();
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.contains("one value in all training rows of column 2, column 3: there is no density"), "{warning}");
    let std = &loaded.data.spec.std;
    assert!(std[0] > 1e-20 && std[1] == 0.0 && std[2] == 0.0, "{std:?}");
}

/// The data set of a file with this content, of this ending.
fn own(name: &str, content: impl AsRef<[u8]>, options: &str) -> Result<Loaded> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let kind = path.extension().unwrap().to_str().unwrap().to_owned();
    load(&Catalog::new(Vec::new(), "x").unwrap(), &format!("{kind}:{}{options}", path.display()))
}

#[test]
fn values_that_are_not_finite_are_refused_wherever_they_are() {
    for row in [0, 17, 38, 99] {
        for (value, told) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
            let x = Tensor::arange(200, (Kind::Double, tch::Device::Cpu)).sin().view([100, 2]);
            let _ = x.get(row).get(1).fill_(value);
            for kind in [Kind::Double, Kind::Float] {
                let bytes = npy::to_bytes(&x.to_kind(kind)).unwrap();
                let error = own("x.npy", bytes, "").unwrap_err().to_string();
                let place = format!("row {}, column 2 (x[{row}, 1]): {told} is not a finite number", row + 1);
                assert!(error.ends_with(&place), "{error}");
            }
        }
    }
}

#[test]
fn a_value_far_from_the_training_rows_is_reported_or_refused() {
    let table = |far: &str| -> String {
        let order = permutation(100, 0, Purpose::Data, 0);
        let held_out = order[85] as usize;
        (0..100)
            .map(|i| {
                if i == held_out {
                    format!("0.5,{far}\n")
                } else {
                    format!("{:.4},{:.4}\n", (f64::from(i as u8) + 0.3).sin(), (f64::from(i as u8) + 0.3).cos())
                }
            })
            .collect()
    };
    let line = permutation(100, 0, Purpose::Data, 0)[85] + 1;
    let warnings = own("x.csv", table("1e6"), "").unwrap().warnings;
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains(&format!("line {line}, column 2: 1000000 is 1e6 standard deviations")), "{warning}");
    assert!(warning.contains("validation row"), "{warning}");
    let error = own("x.csv", table("1e200"), "").unwrap_err().to_string();
    assert!(error.contains(&format!("line {line}, column 2: 1e200 is")) && error.contains("too far"), "{error}");
    assert!(own("x.csv", table("3.5"), "").unwrap().warnings.is_empty());
}

#[test]
fn discrete_columns_are_found_and_dequantised() {
    let rows: String = (0..200).map(|i| format!("{},{:.6}\n", i % 7 * 5, f64::from(i as u8).sin() * 3.0)).collect();
    let text = format!("age,x\n{rows}");
    let loaded = own("x.csv", &text, "").unwrap();
    let found = loaded.data.discrete_columns().unwrap();
    assert_eq!(found.iter().map(|found| (found.column, found.distinct)).collect::<Vec<_>>(), [(0, 7)]);
    let by_option = loaded.data.with_options(&DataOptions { dequantise: true, ..Default::default() }).unwrap();
    let by_name = own("x.csv", &text, "?dequantise=age").unwrap().data;
    for data in [&by_option, &by_name] {
        assert_eq!(data.spec.grids.iter().map(|grid| grid.step).collect::<Vec<_>>(), [5.0, 0.0]);
        assert!(data.discrete_columns().unwrap().is_empty());
        let seen = data.test.to_batch(&data.spec, &gen_core::rng::Generator::seeded(1)).x;
        assert_ne!(seen, data.test.x);
        assert_eq!(data.spec.on_grids(&seen), data.test.x);
    }
    assert!(by_option.spec.options.dequantise && !by_name.spec.options.dequantise);
    let refused = own("x.csv", &text, "?dequantise=x").unwrap_err().to_string();
    assert!(refused.contains("column 2 (`x`) are not equally spaced"), "{refused}");
    let unknown = own("x.csv", &text, "?dequantise=ages").unwrap_err().to_string();
    assert_eq!(unknown, "unknown column `ages`: did you mean `age`?");
}

#[test]
fn names_of_columns_stay_with_the_data() {
    let rows: String = (0..20).map(|i| format!("{},{:.3},x\n", i * 3, f64::from(i as u8).sin())).collect();
    let loaded = own("x.csv", format!("a,b,c\n{rows}"), "?columns=b,a").unwrap();
    assert_eq!(
        (loaded.data.spec.columns.join(","), loaded.data.spec.shape),
        ("b,a".to_owned(), Shape::Points { dimension: 2 })
    );
}

/// Variables belong to a process: the test starts itself again for each set of them.
#[test]
fn the_cache_follows_the_environment() {
    const ANSWER: &str = "GEN_TEST_ANSWER";
    if let Some(file) = env::var_os(ANSWER) {
        fs::write(file, Catalog::default_cache().unwrap().to_str().unwrap()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    let cache = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env::current_exe().unwrap());
        command.args(["--exact", "catalog::tests::the_cache_follows_the_environment"]);
        command.env_remove("GEN_DATA").env_remove("XDG_CACHE_HOME").env("HOME", "/home/u");
        let output = command.envs(variables.iter().copied()).env(ANSWER, &answer).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(&answer).unwrap()
    };
    assert_eq!(cache(&[]), "/home/u/.cache/gen-models/datasets");
    assert_eq!(cache(&[("GEN_DATA", "")]), "/home/u/.cache/gen-models/datasets");
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), "/c/gen-models/datasets");
    // The specification has programs ignore relative paths.
    assert_eq!(cache(&[("XDG_CACHE_HOME", "c")]), "/home/u/.cache/gen-models/datasets");
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/c"), ("GEN_DATA", "/d")]), "/d");
}

#[test]
fn the_manifests_of_this_repository_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let mut manifests = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let manifest = Manifest::parse(&fs::read_to_string(&path).unwrap(), &path).unwrap();
            assert_eq!(path.file_stem().unwrap().to_str(), Some(manifest.name.as_str()));
            manifests.push(manifest);
        }
    }
    let catalog = Catalog::new(manifests, "/nonexistent").unwrap();
    let names: Vec<&str> = catalog.manifests().iter().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!(names, ["cifar10", "digits", "fashion-mnist", "kmnist", "mnist"]);

    let folders = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|path| fs::read_dir(path).unwrap()).map(|entry| entry.unwrap().path());
    let catalog = files.fold(catalog, |catalog, path| {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        catalog.bundle(name, fs::read(&path).unwrap())
    });
    for manifest in catalog.manifests() {
        let mut sources = manifest.files.iter().flat_map(|file| &file.sources);
        if sources.any(|source| matches!(source, Source::Bundled { .. })) {
            assert!(catalog.is_bundled(manifest), "a file of `{}` is not in datasets/", manifest.name);
            load(&catalog, &manifest.name).unwrap();
        }
    }
    let digits = load(&catalog, "digits").unwrap().data;
    assert_eq!(digits.spec.splits, Splits { train: 1258, validation: 180, test: 359 });
    assert_eq!(digits.train.x.max().int64_value(&[]), 255);
    // np.random.default_rng(0).permutation(1797)[0] is 360; the first row of that image is 0 0 1 13 7 0 0 0.
    let row = Vec::<u8>::try_from(digits.train.x.select(0, 0).reshape([-1]).narrow(0, 0, 8)).unwrap();
    assert_eq!(row, [0, 0, 16, 207, 112, 0, 0, 0]);
    let counts = digits.train.labels().unwrap().bincount::<Tensor>(None, 10);
    assert!(counts.min().int64_value(&[]) > 100);
}

/// The example in the README, with the files that its script writes.
#[test]
fn the_example_of_the_readme_can_be_loaded() {
    let readme = include_str!("../../README.md");
    let toml = readme.split("```toml\n").nth(1).and_then(|block| block.split("```").next()).unwrap();
    let manifest = Manifest::parse(toml, Path::new("bars.toml")).unwrap();
    let part = |n: u32| {
        let label = |i: u32| i % 2;
        let pixel = |i: u32, p: u32| if i / 2 % 8 == [p / 8, p % 8][label(i) as usize] { 255 } else { 0 };
        let pixels: Vec<u8> = (0..n).flat_map(|i| (0..64).map(move |p| pixel(i, p))).collect();
        let labels: Vec<u8> = (0..n).map(|i| label(i) as u8).collect();
        [idx(0x803, &[n, 8, 8], &pixels), idx(0x801, &[n], &labels)]
    };
    let names = ["train-images", "train-labels", "test-images", "test-labels"];
    let contents = [part(1200), part(200)].concat();
    let catalog = Catalog::new(vec![manifest], "/nonexistent").unwrap();
    let catalog = names
        .iter()
        .zip(contents)
        .fold(catalog, |catalog, (name, content)| catalog.bundle(format!("bars/{name}.gz"), gzip(&content)));
    let data = load(&catalog, "bars").unwrap().data;
    assert_eq!(data.spec.splits, Splits { train: 1000, validation: 200, test: 200 });
}
