//! `.libtorch`, the link through which cargo finds libtorch.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// Makes `link` point at `target`, and discards builds against another libtorch.
pub(super) fn point(link: &Path, target: &Path) -> Result<()> {
    let before = fs::read_link(link).ok();
    if before.as_deref() == Some(target) {
        return Ok(());
    }
    replace(link, target)?;
    // The build script of torch-sys sees only the path of the link, so cargo does not notice the change.
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
        bail!("{} is not a link to libtorch, as it should be: move it away", link.display());
    }
    let folder = link.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .make_in(folder, |temporary| symlink(target, temporary))
        .and_then(|temporary| Ok(temporary.into_temp_path().persist(link)?))
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
