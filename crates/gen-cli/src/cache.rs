//! What evaluations keep of the real side of a data set, in the user's cache.

use std::path::{Path, PathBuf};

use gen_core::params::NamedTensors;
use gen_data::Catalog;
use gen_eval::EvaluationCache;
use gen_run::write_atomically;
use tch::Tensor;

use crate::spaces::sha256;

/// A folder of safetensors files, each named by the hash of its key. A file that cannot be read is made again, one that
/// cannot be written is done without.
pub(crate) struct FolderCache {
    folder: PathBuf,
}

impl FolderCache {
    /// The folder `evaluation` beside the data sets.
    pub(crate) fn of_user() -> gen_core::Result<Self> {
        Ok(Self::new(&Catalog::default_cache()?.join("evaluation")))
    }

    fn new(folder: &Path) -> Self {
        FolderCache { folder: folder.to_owned() }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{}.safetensors", sha256(key.as_bytes())))
    }
}

impl EvaluationCache for FolderCache {
    fn load(&self, key: &str) -> Option<NamedTensors> {
        let path = self.file(key);
        if !path.is_file() {
            return None;
        }
        let mut tensors = NamedTensors::new();
        for (name, tensor) in Tensor::read_safetensors(&path).ok()? {
            tensors.insert(name, tensor);
        }
        Some(tensors)
    }

    fn store(&self, key: &str, tensors: &NamedTensors) {
        let tensors: Vec<(&str, Tensor)> =
            tensors.iter().map(|(name, tensor)| (name, tensor.contiguous())).collect();
        let written = write_atomically(&self.file(key), |temporary| {
            Ok(Tensor::write_safetensors(&tensors, temporary)?)
        });
        if let Err(error) = written {
            crate::eprint(&format!("warning: what was measured of the data is not kept: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_under_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::new(folder.path());
        let mut tensors = NamedTensors::new();
        tensors.insert("fd|", Tensor::from_slice(&[0.1f64]));
        tensors.insert("rows", Tensor::from_slice(&[1.0f64, 2.0, 3.0, 4.0]).view([2, 2]).tr());
        cache.store("a", &tensors);
        let found = cache.load("a").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found.get("fd|").unwrap(), tensors.get("fd|").unwrap());
        assert_eq!(found.get("rows").unwrap(), tensors.get("rows").unwrap());
        assert!(cache.load("b").is_none());
        std::fs::write(cache.file("a"), b"torn").unwrap();
        assert!(cache.load("a").is_none());
    }
}
