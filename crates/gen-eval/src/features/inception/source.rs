//! Sources of the weights: a file, a URL, or the file that pytorch-fid publishes.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::network::InceptionNetwork;
use crate::state_dict::Format;
use gen_core::{Error, Result};
use gen_data::{fetch_url, sha256};

/// URL of the weights of pytorch-fid (`FID_WEIGHTS_URL` in its source).
const OFFICIAL: &str = concat!(
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
    "pt_inception-2015-12-05-6726825d.pth"
);

/// SHA-256 of that file.
const OFFICIAL_SHA256: &str = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";

/// Folder of the cache for networks.
const FOLDER: &str = "feature-networks";

/// Limit on the size of a file of weights; the published one has 96 MB.
const MOST_BYTES: u64 = 1 << 30;

/// The source of the weights of an [`InceptionNetwork`], as users write it: a path, a URL that begins with `http://` or
/// `https://`, or `official`.
///
/// ```
/// use gen_eval::features::InceptionSource;
///
/// let source: InceptionSource = "weights/inception.pth".into();
/// assert!(matches!(source, InceptionSource::File(_)));
/// let source: InceptionSource = "official".into();
/// assert!(source.to_string().ends_with("pt_inception-2015-12-05-6726825d.pth"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InceptionSource {
    /// A file on this machine.
    File(PathBuf),
    /// A URL, fetched once and kept. If the name of the file ends in a dash and eight or more hexadecimal digits, which
    /// is PyTorch's convention, its SHA-256 must begin with these.
    Url(String),
    /// The file that pytorch-fid publishes, checked by its SHA-256.
    Official,
}

impl From<&str> for InceptionSource {
    fn from(text: &str) -> Self {
        match text {
            "official" => InceptionSource::Official,
            url if url.starts_with("http://") || url.starts_with("https://") => InceptionSource::Url(url.to_owned()),
            path => InceptionSource::File(path.into()),
        }
    }
}

impl fmt::Display for InceptionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InceptionSource::File(path) => write!(f, "{}", path.display()),
            InceptionSource::Url(url) => f.write_str(url),
            InceptionSource::Official => f.write_str(OFFICIAL),
        }
    }
}

impl InceptionSource {
    /// The network, whose weights are fetched if necessary and kept in a folder of `cache`.
    ///
    /// `progress` receives the number of bytes fetched, and their total if the server tells it.
    ///
    /// # Errors
    /// Those of [`InceptionSource::fetch`] and [`InceptionNetwork::load`].
    pub fn load(&self, cache: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<InceptionNetwork> {
        let path = self.fetch(cache, progress)?;
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let sha256 = sha256(&bytes);
        // A kept file may be damaged.
        if let Some(expected) = self.expected_sha256() {
            matches(&sha256, expected)
                .map_err(|problem| Error::format(&path, format!("{problem}; delete it to have it fetched again")))?;
        }
        InceptionNetwork::from_bytes(&bytes, sha256, &path)
    }

    /// The path of the file of weights, which is fetched into a folder of `cache` if it is not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the server does not answer, or sends another file; nothing is kept then.
    /// [`Error::Io`] when the cache cannot be written.
    pub fn fetch(&self, cache: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<PathBuf> {
        let url = match self {
            InceptionSource::File(path) => return Ok(path.clone()),
            InceptionSource::Url(url) => url,
            InceptionSource::Official => OFFICIAL,
        };
        let path = cache.join(FOLDER).join(self.kept_as(url));
        if path.exists() {
            return Ok(path);
        }
        let check = |part: &Path, found: &str| {
            check_format(part)?;
            self.expected_sha256().map_or(Ok(()), |expected| matches(found, expected))
        };
        fetch_url(url, &path, MOST_BYTES, &check, progress)?;
        Ok(path)
    }

    /// The first digits of the SHA-256 of the file, if they are known.
    fn expected_sha256(&self) -> Option<&str> {
        match self {
            InceptionSource::File(_) => None,
            InceptionSource::Url(url) => digits_in_name(last_segment(url)),
            InceptionSource::Official => Some(OFFICIAL_SHA256),
        }
    }

    /// The name in the cache: that of the file, with digits of a hash of the URL if it has no digits of its own.
    fn kept_as(&self, url: &str) -> String {
        let name = last_segment(url);
        match self.expected_sha256() {
            Some(_) => name.to_owned(),
            None => format!("{}-{name}", &sha256(url.as_bytes())[..8]),
        }
    }
}

/// The last part of a URL, as the name of a file.
fn last_segment(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) && name.len() <= 100 {
        name
    } else {
        "weights"
    }
}

/// The digits at the end of a name: `6726825d` of `inception-6726825d.pth`.
fn digits_in_name(name: &str) -> Option<&str> {
    let (stem, _) = name.rsplit_once('.')?;
    let (_, digits) = stem.rsplit_once('-')?;
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    ((8..=64).contains(&digits.len()) && digits.chars().all(hexadecimal)).then_some(digits)
}

fn matches(found: &str, expected: &str) -> Result<(), String> {
    if found.starts_with(expected) {
        return Ok(());
    }
    Err(format!("it has SHA-256 {found}, expected {expected}{}", if expected.len() < 64 { "..." } else { "" }))
}

/// Checks that a file holds weights, since servers may send a page about a missing file.
fn check_format(path: &Path) -> Result<(), String> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).map_err(|error| error.to_string())?;
    match Format::of(&head) {
        Some(_) => Ok(()),
        None => Err(format!("it is no file of weights: it begins with `{}`", head.escape_ascii())),
    }
}

#[cfg(test)]
#[path = "../../../../gen-data/tests/server/mod.rs"]
mod server;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    use super::server::{Answer, serve};

    /// A file of weights, though not of Inception.
    const WEIGHTS: &[u8] = include_bytes!("../../../tests/vectors/state_dict_legacy.pth");

    fn fetch(url: String, cache: &Path) -> Result<PathBuf> {
        InceptionSource::Url(url).fetch(cache, &mut |_, _| ())
    }

    fn kept(cache: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(cache.join(FOLDER)) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_address_is_fetched_once() {
        let (host, connections) = serve(|_| Answer::Content(WEIGHTS.to_vec()));
        let cache = tempfile::tempdir().unwrap();
        let source: InceptionSource = format!("{host}/some/weights.pth?download=true").as_str().into();
        let mut last = (0, None);
        let path = source.fetch(cache.path(), &mut |received, total| last = (received, total)).unwrap();
        assert_eq!(last, (WEIGHTS.len() as u64, Some(WEIGHTS.len() as u64)));
        assert_eq!(fs::read(&path).unwrap(), WEIGHTS);
        assert!(path.to_str().unwrap().ends_with("-weights.pth"), "{path:?}");
        assert_eq!(source.fetch(cache.path(), &mut |_, _| panic!("fetched again")).unwrap(), path);
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        let other = fetch(format!("{host}/other/weights.pth"), cache.path()).unwrap();
        assert_ne!(path, other);
        assert_eq!(kept(cache.path()).len(), 2);
    }

    #[test]
    fn digits_in_the_name_are_those_of_the_content() {
        let (host, _) = serve(|_| Answer::Content(WEIGHTS.to_vec()));
        let cache = tempfile::tempdir().unwrap();
        let digits = &sha256(WEIGHTS)[..8];
        let path = fetch(format!("{host}/w-{digits}.pth"), cache.path()).unwrap();
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("w-{digits}.pth"));

        let error = fetch(format!("{host}/w-0123456789.pth"), cache.path()).unwrap_err().to_string();
        assert!(error.contains(&sha256(WEIGHTS)) && error.contains("expected 0123456789..."), "{error}");
        assert_eq!(kept(cache.path()), [format!("w-{digits}.pth")]);
    }

    #[test]
    fn only_files_of_weights_are_kept() {
        let (host, _) = serve(|path| match path {
            "/page" => Answer::Content(b"<!DOCTYPE html>".to_vec()),
            "/short" => Answer::CutOff(WEIGHTS.to_vec()),
            "/empty" => Answer::Content(Vec::new()),
            _ => Answer::NotFound,
        });
        let cache = tempfile::tempdir().unwrap();
        for (place, expected) in [
            ("page", "it is no file of weights: it begins with `<!DOCTYPE html>`"),
            ("short", "it broke off"),
            ("empty", "it is no file of weights"),
            ("gone", "404"),
        ] {
            let error = fetch(format!("{host}/{place}"), cache.path()).unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }));
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains(&format!("{host}/{place}")), "{error}");
        }
        assert_eq!(kept(cache.path()), [""; 0]);
    }

    #[test]
    fn a_file_is_where_it_is_and_the_published_one_has_its_name() {
        let source: InceptionSource = "dir/w.pth".into();
        assert_eq!(source.fetch(Path::new("/none"), &mut |_, _| ()).unwrap(), Path::new("dir/w.pth"));
        let cache = tempfile::tempdir().unwrap();
        let source: InceptionSource = "official".into();
        let path = cache.path().join(FOLDER).join("pt_inception-2015-12-05-6726825d.pth");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, WEIGHTS).unwrap();
        assert_eq!(source.fetch(cache.path(), &mut |_, _| ()).unwrap(), path);
        let error = source.load(cache.path(), &mut |_, _| ()).err().unwrap().to_string();
        assert!(error.contains(&format!("expected {OFFICIAL_SHA256}; delete it")), "{error}");
        assert!(OFFICIAL_SHA256.starts_with(digits_in_name(OFFICIAL).unwrap()));
    }

    #[test]
    fn names_in_the_cache_are_plain() {
        for (url, name) in [
            ("https://a/b/w.pth", "w.pth"),
            ("https://a/b/w.pth?x=/y#z", "w.pth"),
            ("https://a/b/..", "weights"),
            ("https://a/b/", "weights"),
            ("https://a/b/%2e%2e", "weights"),
        ] {
            assert_eq!(last_segment(url), name, "{url}");
        }
        assert_eq!(digits_in_name("pt_inception-2015-12-05-6726825d.pth"), Some("6726825d"));
        assert_eq!(digits_in_name("pt_inception-2015-12-05.pth"), None);
        assert_eq!(digits_in_name("w-6726825x.pth"), None);
    }
}
