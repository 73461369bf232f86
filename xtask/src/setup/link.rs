//! `.libtorch`, the link through which cargo finds libtorch.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// Makes `link` point at `target`; what was built against another libtorch is built again.
pub(super) fn point(link: &Path, target: &Path) -> Result<()> {
    let before = fs::read_link(link).ok();
    if before.as_deref() == Some(target) {
        return Ok(());
    }
    replace(link, target)?;
    // The build script of torch-sys sees the path of the link only, so cargo cannot know of the change.
    if before.is_some() {
        for profile in ["dev", "release"] {
            let mut clean = workspace::cargo();
            clean.args(["clean", "--quiet", "--package", "torch-sys", "--profile", profile]);
            process::run(&mut clean)?;
        }
    }
    Ok(())
}

fn replace(link: &Path, target: &Path) -> Result<()> {
    if link.exists() && !link.is_symlink() {
        bail!("{} should be a link to libtorch, and is not: move it away", link.display());
    }
    let temporary = link.with_extension(format!("{}.tmp", std::process::id()));
    symlink(target, &temporary)
        .and_then(|()| fs::rename(&temporary, link))
        .with_context(|| format!("cannot make the link {} to {}", link.display(), target.display()))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(target, link)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_made_and_moved_and_a_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join(".libtorch");
        replace(&link, Path::new("/first")).unwrap();
        replace(&link, Path::new("/second")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/second"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, Path::new("/first")).unwrap_err().to_string().contains("move it away"));
    }
}
