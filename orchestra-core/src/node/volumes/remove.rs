//! Removing what pods have left.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Removes a directory with all that is in it, also where a program has taken the rights on parts of it from their owner; there need
/// not be one. For runtimes that keep what containers write. It follows no link, and expects nothing to be mounted below.
///
/// # Errors
/// Where the system refuses.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    let mut removed = fs::remove_dir_all(dir);
    if removed.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        open_up(dir)?;
        removed = fs::remove_dir_all(dir);
    }
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives the owner all rights on a directory and those in it. No link is followed.
#[cfg(unix)]
fn open_up(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const OWNER_ALL: u32 = 0o700;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let mode = fs::symlink_metadata(&dir)?.permissions().mode();
        if mode & OWNER_ALL != OWNER_ALL {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode & 0o7777 | OWNER_ALL))?;
        }
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn open_up(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::host::set_mode;
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
        remove_tree(&root).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }
}
