use std::collections::BTreeSet;

/// The classes of pictures by the folders that hold them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    /// Sorted; empty where the folders are not classes.
    pub(super) names: Vec<String>,
    /// The class of each picture, where there are classes; `None` for a picture beside their folders.
    pub(super) labels: Vec<Option<usize>>,
    /// The number of pictures beside the folders, where these are so many that there are no classes.
    pub(super) beside: usize,
}

/// Usual names of the parts of data sets, which are unlikely names of classes.
const PARTS: [&str; 9] = ["train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"];

impl Classes {
    /// From the paths of pictures inside a folder, separated by `/`. If all lie in one sub-folder, its own sub-folders
    /// count, and so on.
    pub(super) fn of(paths: &[String]) -> Self {
        let mut inside: Vec<&str> = paths.iter().map(String::as_str).collect();
        while let Some(common) = common_folder(&inside) {
            inside.iter_mut().for_each(|path| *path = &path[common..]);
        }
        let class = |path: &&str| path.split_once('/').map(|(class, _)| class.to_owned());
        let found: Vec<Option<String>> = inside.iter().map(class).collect();
        let names: Vec<String> = found.iter().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        if names.len() < 2 {
            return Classes::default();
        }
        let beside = found.iter().filter(|class| class.is_none()).count();
        if 2 * beside >= found.len() {
            return Classes { beside, ..Classes::default() };
        }
        let labels = found.into_iter().map(|class| class.and_then(|class| names.binary_search(&class).ok()));
        Classes { labels: labels.collect(), names, beside: 0 }
    }

    /// Whether all classes have names of parts of a data set.
    pub(super) fn are_like_parts(&self) -> bool {
        !self.names.is_empty() && self.names.iter().all(|name| PARTS.contains(&name.to_lowercase().as_str()))
    }
}

/// The length of `folder/`, if all paths begin with it and one of them has a further folder.
fn common_folder(paths: &[&str]) -> Option<usize> {
    let (folder, _) = paths.first()?.split_once('/')?;
    let start = folder.len() + 1;
    let all = paths.iter().all(|path| path.split_once('/').is_some_and(|(first, _)| first == folder));
    (all && paths.iter().any(|path| path[start..].contains('/'))).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Classes {
        Classes::of(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn folders_are_classes() {
        let two = of(&["b/1.png", "a/deep/2.png", "b/3.png"]);
        assert_eq!((two.names, two.labels), (vec!["a".into(), "b".into()], vec![Some(1), Some(0), Some(1)]));
        assert_eq!(of(&["train/a/1.png", "train/b/1.png"]).names, ["a", "b"]);
        assert_eq!(of(&["a/1.png", "a/2.png"]), Classes::default());
        assert_eq!(of(&["1.png", "2.png"]), Classes::default());
        assert!(of(&["train/a/1.png", "val/a/1.png"]).are_like_parts());
        assert!(!of(&["test/1.png", "zebra/1.png"]).are_like_parts());
    }

    #[test]
    fn a_stray_picture_has_no_class_and_takes_none_away() {
        let stray = of(&["a/1.png", "b/2.png", "logo.png"]);
        assert_eq!((stray.names.len(), stray.labels), (2, vec![Some(0), Some(1), None]));
        let many = of(&["a/1.png", "b/2.png", "1.png", "2.png"]);
        assert_eq!((many.names.len(), many.beside), (0, 2));
    }
}
