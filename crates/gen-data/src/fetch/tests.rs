use std::io::Write;
use std::sync::atomic::Ordering;
use std::thread;

use super::*;
use crate::Role;

#[path = "../../tests/server/mod.rs"]
mod server;

use server::{Answer, serve};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gz.write_all(content).unwrap();
    gz.finish().unwrap()
}

fn file(name: &str, content: &[u8], urls: &[String]) -> DataFile {
    DataFile {
        role: Role::TrainImages,
        name: name.to_owned(),
        size: content.len() as u64,
        sha256: sha256(content),
        sources: urls.iter().map(|url| Source::Url { url: url.clone() }).collect(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn fetch_quietly(folder: &Path, file: &DataFile) -> Result<()> {
    fetch(folder, &[file], &mut |_| ())
}

#[test]
fn the_first_source_that_has_the_file_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let content = vec![7u8; 100_000];
    let compressed = gzip(&content);
    let length = compressed.len() as u64;
    let (host, _) = serve(move |path| match path {
        "/good.gz" => Answer::Content(compressed.clone()),
        _ => Answer::NotFound,
    });
    let file = file("content", &content, &[format!("{host}/gone"), format!("{host}/good.gz")]);
    let mut log = Vec::new();
    fetch(folder.path(), &[&file], &mut |event| {
        let line = match event {
            FetchEvent::Started { source, .. } => format!("started {source}"),
            FetchEvent::Failed { source, reason, .. } => format!("failed {source}: {reason}"),
            FetchEvent::Received { received, total, .. } if Some(*received) == *total => {
                format!("received {received}")
            }
            FetchEvent::Received { .. } => return,
            FetchEvent::Stored { file } => format!("stored {}", file.name),
        };
        if log.last() != Some(&line) {
            log.push(line);
        }
    })
    .unwrap();
    assert_eq!(
        log,
        [
            format!("started {host}/gone"),
            format!("failed {host}/gone: http status: 404"),
            format!("started {host}/good.gz"),
            format!("received {length}"),
            "stored content".to_owned(),
        ]
    );
    assert_eq!(names(folder.path()), ["content"]);
    assert_eq!(read_checked(folder.path(), &file).unwrap(), content);
}

#[test]
fn a_file_that_is_kept_compressed_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let compressed = gzip(b"abc");
    let answer = compressed.clone();
    let (host, _) = serve(move |_| Answer::Content(answer.clone()));
    let file = file("content.gz", &compressed, &[host]);
    fetch_quietly(folder.path(), &file).unwrap();
    assert_eq!(fs::read(folder.path().join("content.gz")).unwrap(), compressed);
}

#[test]
fn a_wrong_checksum_names_file_and_checksums_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = serve(|_| Answer::Content(b"abd".to_vec()));
    let file = file("content", b"abc", &[host]);
    let error = fetch_quietly(folder.path(), &file).unwrap_err().to_string();
    for part in ["content has 3 bytes", &sha256(b"abc"), &sha256(b"abd")] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains('\n'));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn broken_transfers_keep_nothing() {
    for (answer, expected) in [
        (Answer::CutOff(b"abc".to_vec()), "it broke off"),
        (Answer::Content(b"abcd".to_vec()), "larger than the 3 bytes expected"),
        (Answer::Content(gzip(&[0; 1 << 20])), "larger than the 3 bytes expected"),
        (Answer::Content(gzip(b"abc")[..12].to_vec()), "it broke off"),
        (Answer::Content(Vec::new()), "content has 0 bytes"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (host, _) = serve(move |_| answer.clone());
        let error = fetch_quietly(folder.path(), &file("content", b"abc", &[host])).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(names(folder.path()).is_empty());
    }
}

#[test]
fn a_host_that_cannot_be_reached_is_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let (dead, connections) = serve(|_| Answer::HangUp);
    let (alive, _) = serve(|path| Answer::Content(path.trim_start_matches('/').as_bytes().to_vec()));
    let files: Vec<DataFile> = ["a", "b", "c"]
        .map(|name| file(name, name.as_bytes(), &[format!("{dead}/{name}"), format!("{alive}/{name}")]))
        .into();
    let mut failures = 0;
    fetch(folder.path(), &files.iter().collect::<Vec<_>>(), &mut |event| {
        failures += usize::from(matches!(event, FetchEvent::Failed { .. }));
    })
    .unwrap();
    assert_eq!((names(folder.path()).len(), failures), (3, 1));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn two_may_fetch_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let content = vec![1u8; 300_000];
    let answer = content.clone();
    let (host, _) = serve(move |_| Answer::Content(answer.clone()));
    let file = file("content", &content, &[host]);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| fetch_quietly(folder.path(), &file))).collect();
        for worker in workers {
            worker.join().unwrap().unwrap();
        }
    });
    assert_eq!(names(folder.path()), ["content"]);
    assert_eq!(read_checked(folder.path(), &file).unwrap(), content);
}

#[test]
fn a_folder_that_cannot_be_created_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_folder = folder.path().join("file");
    fs::write(&not_a_folder, "").unwrap();
    let (host, _) = serve(|_| Answer::Content(b"abc".to_vec()));
    let file = file("content", b"abc", &[host]);
    assert!(matches!(fetch_quietly(&not_a_folder, &file), Err(Error::Io { .. })));
}

#[test]
fn damaged_files_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = file("content", b"abc", &[]);
    let error = || read_checked(folder.path(), &file).unwrap_err().to_string();
    fs::write(folder.path().join("content"), b"ab").unwrap();
    assert!(error().contains("content: the file is damaged: it has 2 bytes, expected 3; delete it"), "{}", error());
    fs::write(folder.path().join("content"), b"abd").unwrap();
    assert!(error().contains(&sha256(b"abd")) && error().contains(&sha256(b"abc")), "{}", error());
}
