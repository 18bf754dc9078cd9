//! Removing what pods have left.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::VolumeError;
use super::host::io;
#[cfg(unix)]
use super::host::set_mode;

/// Removes a directory with all that is in it. It follows no link; nothing is ever mounted below.
pub(super) fn tree(path: &Path) -> Result<(), VolumeError> {
    let mut removed = fs::remove_dir_all(path);
    if removed.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        open_up(path)?;
        removed = fs::remove_dir_all(path);
    }
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(io(path, "remove it")),
    }
}

/// Gives us all rights on those of these directories that are ours: a program may have taken them away. No link is followed.
#[cfg(unix)]
fn open_up(dir: &Path) -> Result<(), VolumeError> {
    use std::os::unix::fs::PermissionsExt;
    const OWNER_ALL: u32 = 0o700;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let mode = fs::symlink_metadata(&dir).map_err(io(&dir, "look at it"))?.permissions().mode();
        if mode & OWNER_ALL != OWNER_ALL {
            set_mode(&dir, mode & 0o7777 | OWNER_ALL)?;
        }
        for entry in fs::read_dir(&dir).map_err(io(&dir, "list it"))? {
            let entry = entry.map_err(io(&dir, "list it"))?;
            if entry.file_type().is_ok_and(|type_| type_.is_dir()) {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn open_up(_: &Path) -> Result<(), VolumeError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_that_nobody_may_write_to_are_removed() {
        let root =
            std::env::temp_dir().join(format!("orchestra-host-{}", crate::rng::Rng::from_os().suffix(12)));
        let inner = root.join("cache/module");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "text").unwrap();
        for (dir, mode) in [(&inner, 0o555), (&root.join("cache"), 0o000)] {
            set_mode(dir, mode).unwrap();
        }
        // Root could remove them as they are.
        open_up(&root).unwrap();
        for dir in [&inner, &root.join("cache")] {
            assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o700, 0o700, "{dir:?}");
        }
        tree(&root).unwrap();
        tree(&root).unwrap();
        assert!(!root.exists());
    }
}
