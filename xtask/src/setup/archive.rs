//! The official libtorch archive, for machines without pip.

use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use super::release::{Build, VERSION};
use crate::terminal::byte_bar;

/// The address of the archive. The only one with the right version is for Linux on x86-64, without GPU support.
pub(super) fn url(build: Build) -> Result<String> {
    if build == Build::Cuda {
        bail!("libtorch with GPU support is installed by pip: install pip, or set LIBTORCH");
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("there is no official archive of libtorch {VERSION} for this system: install pip, or set LIBTORCH");
    }
    Ok(format!("https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-{VERSION}%2Bcpu.zip"))
}

/// Downloads `url` to `path`, continuing an earlier download.
pub(super) fn download(url: &str, path: &Path) -> Result<()> {
    let part = path.with_extension("zip.part");
    fetch(url, &part).with_context(|| {
        format!("cannot download {url}: start again to go on, install pip, or set LIBTORCH to a libtorch {VERSION}")
    })?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}

fn fetch(url: &str, part: &Path) -> Result<()> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .build(),
    );
    let have = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call()?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let length: Option<u64> = header("content-length").and_then(|value| value.parse().ok());
    let (mut file, start) = match response.status().as_u16() {
        200 => (File::create(part)?, 0),
        206 if header("content-range").is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) => {
            (OpenOptions::new().append(true).open(part)?, have)
        }
        // Nothing is left to download. The checksums in the archive tell whether it is whole.
        416 if have > 0 => return Ok(()),
        status => bail!("the server answered with status {status}"),
    };
    let progress = byte_bar("libtorch", length.map(|length| start + length));
    progress.set_position(start);
    let body = response.body_mut().with_config().limit(u64::MAX).reader();
    let received = std::io::copy(&mut progress.wrap_read(body), &mut file)?;
    file.sync_all()?;
    progress.finish_and_clear();
    if length.is_some_and(|length| length != received) {
        bail!("the connection ended after {received} of {} bytes", length.unwrap_or_default());
    }
    Ok(())
}

/// Unpacks headers, shared libraries and the version, and verifies the checksums of the archive.
///
/// A damaged archive is removed, so that it is downloaded anew.
pub(super) fn unpack(path: &Path, root: &Path) -> Result<()> {
    let result = unpack_checked(path, root);
    if result.is_err() {
        let _ = fs::remove_file(path);
    }
    result.with_context(|| format!("{} was damaged and has been removed: start again", path.display()))
}

fn unpack_checked(path: &Path, root: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let total = archive.decompressed_size().and_then(|size| u64::try_from(size).ok());
    let progress = byte_bar("unpacking", total);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let Some(name) = entry.enclosed_name() else { bail!("unsafe file name {:?}", entry.name()) };
        let Some(target) = target(&name, root).filter(|_| entry.is_file()) else { continue };
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&target)?;
        std::io::copy(&mut progress.wrap_read(&mut entry), &mut file).with_context(|| name.display().to_string())?;
    }
    progress.finish_and_clear();
    Ok(())
}

fn target(name: &Path, root: &Path) -> Option<PathBuf> {
    let inside = name.strip_prefix("libtorch").ok()?;
    let file = inside.file_name()?.to_string_lossy();
    let kept = inside == Path::new("build-version")
        || inside.starts_with("include")
        || (inside.starts_with("lib") && file.contains(".so") && !file.contains("python"));
    kept.then(|| root.join(inside))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    /// Serves `content`, one request for each behaviour; returns the address and the ranges that were asked for.
    fn serve(content: &'static [u8], behaviours: Vec<Behaviour>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/libtorch.zip", listener.local_addr().unwrap());
        let handle = std::thread::spawn(move || {
            let mut ranges = Vec::new();
            for behaviour in behaviours {
                let (mut stream, _) = listener.accept().unwrap();
                let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map_while(|line| line.ok().filter(|line| !line.is_empty()))
                    .collect();
                let range = lines.iter().find_map(|line| {
                    let line = line.to_ascii_lowercase();
                    line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
                });
                ranges.push(format!("{range:?}"));
                let start = range.unwrap_or(0);
                let rest = &content[start..];
                let head = match behaviour {
                    Behaviour::NotFound => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n".to_owned(),
                    Behaviour::IgnoreRange => {
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", content.len())
                    }
                    _ if range.is_some() => format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n",
                        rest.len(),
                        content.len() - 1,
                        content.len()
                    ),
                    _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", content.len()),
                };
                write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
                let body = match behaviour {
                    Behaviour::NotFound => &[],
                    Behaviour::BreakOff => &rest[..rest.len() / 2],
                    Behaviour::IgnoreRange => content,
                    Behaviour::Whole => rest,
                };
                stream.write_all(body).unwrap();
            }
            ranges
        });
        (url, handle)
    }

    #[derive(Clone, Copy)]
    enum Behaviour {
        Whole,
        BreakOff,
        IgnoreRange,
        NotFound,
    }

    const CONTENT: &[u8] = b"0123456789abcdefghij";

    #[test]
    fn an_interrupted_download_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libtorch.zip");
        let (url, server) = serve(CONTENT, vec![Behaviour::BreakOff, Behaviour::Whole]);
        assert!(download(&url, &path).is_err());
        assert!(!path.exists());
        download(&url, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(server.join().unwrap(), ["None", "Some(10)"]);
    }

    #[test]
    fn a_server_without_ranges_starts_from_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libtorch.zip");
        let (url, server) = serve(CONTENT, vec![Behaviour::BreakOff, Behaviour::IgnoreRange]);
        assert!(download(&url, &path).is_err());
        download(&url, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(server.join().unwrap().len(), 2);
    }

    #[test]
    fn a_refusal_says_what_to_do_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (url, _server) = serve(CONTENT, vec![Behaviour::NotFound]);
        let error = format!("{:#}", download(&url, &folder.path().join("libtorch.zip")).unwrap_err());
        assert!(error.contains("status 404") && error.contains("set LIBTORCH"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    fn archive(path: &Path) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for name in ["build-version", "lib/libc10.so", "lib/libprotoc.a", "include/ATen/ATen.h", "share/x"] {
            zip.start_file(format!("libtorch/{name}"), options).unwrap();
            zip.write_all(b"twelve bytes").unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn headers_libraries_and_version_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("libtorch.zip"), folder.path().join("root"));
        archive(&path);
        unpack(&path, &root).unwrap();
        assert!(root.join("lib/libc10.so").is_file() && root.join("include/ATen/ATen.h").is_file());
        assert!(root.join("build-version").is_file() && !root.join("share").exists());
        assert!(!root.join("lib/libprotoc.a").exists());
    }

    #[test]
    fn a_damaged_archive_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("libtorch.zip"), folder.path().join("root"));
        archive(&path);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(12).position(|window| window == b"twelve bytes").unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(unpack(&path, &root).unwrap_err().to_string().contains("start again"));
        assert!(!path.exists());
    }
}
