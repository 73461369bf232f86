//! The cache of what evaluations compute from the real rows of a data set.

use std::path::{Path, PathBuf};

use gen_core::params::NamedTensors;
use gen_data::{Catalog, sha256};
use gen_eval::EvaluationCache;
use tch::Tensor;

use crate::{files, message};

/// A folder of safetensors files, each named by the SHA-256 of its key. A file that cannot be read counts as missing. A
/// file that cannot be written is a warning.
pub(crate) struct FolderCache {
    folder: PathBuf,
}

impl FolderCache {
    /// The folder `evaluation` in the cache of the data sets.
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
        if let Err(error) = files::write_tensors(&self.file(key), tensors) {
            message::warn(format!("the statistics of the data were not cached: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_found_under_their_key_alone() {
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
