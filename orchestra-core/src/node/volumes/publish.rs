//! Files that change all at once.
//!
//! A volume's directory holds a directory with the files, named `..<number>`; a link `..data` to it; and for each
//! file or directory at the top a link into `..data`. An update writes the next directory and renames a new
//! `..data` over the old one: Kubernetes' layout, which programs that watch their configuration know.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::host::{SET_GROUP, give, io, set_mode};
use super::{FileSet, VolumeError};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_next";

/// The permissions of the directories that hold the files: the files have their own.
const DIR_MODE: u32 = 0o755;

/// What a group may do with the files that are given to it: read them.
const GROUP_READS: u32 = 0o040;

/// Makes the volume at `dir` have exactly these files, given to the group.
pub(super) fn publish(dir: &Path, files: &FileSet, group: Option<u32>) -> Result<(), VolumeError> {
    fs::create_dir_all(dir).map_err(io(dir, "create it"))?;
    set_owned(dir, DIR_MODE, group)?;
    let data = dir.join(DATA);
    let current = fs::read_link(&data).ok().and_then(|t| t.to_str().map(str::to_owned));
    if let Some(current) = &current
        && holds(&dir.join(current), files)
    {
        return link_names(dir, files);
    }
    let number = current.as_deref().and_then(|c| c.trim_start_matches('.').parse::<u64>().ok()).unwrap_or(0);
    let name = format!("..{}", number + 1);
    let fresh = dir.join(&name);
    if fresh.symlink_metadata().is_ok() {
        // Left behind half-written.
        fs::remove_dir_all(&fresh).map_err(io(&fresh, "remove it"))?;
    }
    write(&fresh, files, group)?;
    let next = dir.join(DATA_NEXT);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&next, "remove it")(error)),
        _ => {}
    }
    link(&name, &next)?;
    fs::rename(&next, &data).map_err(io(&data, "replace it"))?;
    link_names(dir, files)?;
    remove_others(dir, &name)
}

/// Gives a directory to the group, and with it what will be made in it, and sets its permissions.
fn set_owned(dir: &Path, mode: u32, group: Option<u32>) -> Result<(), VolumeError> {
    let Some(group) = group else { return set_mode(dir, mode) };
    give(dir, group)?;
    set_mode(dir, mode | SET_GROUP)
}

fn write(dir: &Path, files: &FileSet, group: Option<u32>) -> Result<(), VolumeError> {
    fs::create_dir(dir).map_err(io(dir, "create it"))?;
    set_owned(dir, DIR_MODE, group)?;
    for (path, file) in &files.0 {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io(parent, "create it"))?;
        }
        fs::write(&path, file.contents.as_bytes()).map_err(io(&path, "write it"))?;
        match group {
            Some(group) => {
                give(&path, group)?;
                set_mode(&path, file.mode | GROUP_READS)?;
            }
            None => set_mode(&path, file.mode)?,
        }
    }
    Ok(())
}

/// Whether `dir` holds these files with these contents and no others.
fn holds(dir: &Path, files: &FileSet) -> bool {
    let same = |(path, file): (&String, &super::VolumeFile)| {
        fs::read(dir.join(path)).is_ok_and(|found| found == file.contents.as_bytes())
    };
    files.0.iter().all(same) && count(dir) == files.0.len()
}

fn count(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.file_type().is_ok_and(|t| t.is_dir()) { count(&entry.path()) } else { 1 })
        .sum()
}

/// Links every top name into `..data`, and takes away the links of names that are gone.
fn link_names(dir: &Path, files: &FileSet) -> Result<(), VolumeError> {
    let names: BTreeSet<&str> = files.0.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        let path = dir.join(name);
        if path.symlink_metadata().is_err() {
            link(&format!("{DATA}/{name}"), &path)?;
        }
    }
    for entry in fs::read_dir(dir).map_err(io(dir, "list it"))? {
        let entry = entry.map_err(io(dir, "list it"))?;
        let name = entry.file_name();
        let ours = entry.file_type().is_ok_and(|t| t.is_symlink());
        if ours && name.to_str().is_some_and(|n| !n.starts_with("..") && !names.contains(n)) {
            fs::remove_file(entry.path()).map_err(io(&entry.path(), "remove it"))?;
        }
    }
    Ok(())
}

/// Removes the directories of earlier contents.
fn remove_others(dir: &Path, current: &str) -> Result<(), VolumeError> {
    for entry in fs::read_dir(dir).map_err(io(dir, "list it"))? {
        let entry = entry.map_err(io(dir, "list it"))?;
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        let name = entry.file_name();
        if is_dir && name.to_str().is_some_and(|n| n.starts_with("..") && n != current) {
            fs::remove_dir_all(entry.path()).map_err(io(&entry.path(), "remove it"))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link(target: &str, at: &Path) -> Result<(), VolumeError> {
    std::os::unix::fs::symlink(target, at).map_err(io(at, "link it"))
}

#[cfg(not(unix))]
fn link(_: &str, at: &Path) -> Result<(), VolumeError> {
    Err(io(at, "link it")(std::io::Error::from(ErrorKind::Unsupported)))
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::PathBuf;

    use super::super::{HostVolumes, VolumeFile, VolumeFiles};
    use super::*;
    use crate::model::{ByteString, HostPathType, Uid};

    /// A directory of the system's own for one test, removed with it.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            let name = format!("orchestra-volumes-{}", crate::rng::Rng::from_os().suffix(12));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ignored = fs::remove_dir_all(&self.0);
        }
    }

    fn files(list: &[(&str, &str)]) -> FileSet {
        let file = |text: &str| VolumeFile { contents: ByteString::from(text), mode: 0o640 };
        FileSet(list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect())
    }

    #[tokio::test]
    async fn an_update_replaces_everything_at_once() {
        let dir = Dir::new();
        let (volumes, uid) = (HostVolumes::new(&dir.0), Uid::from("u1"));
        let path = volumes.publish(&uid, "v", &files(&[("a", "1"), ("d/b", "2")]), None).await.unwrap();
        assert_eq!(fs::read_to_string(path.join("d/b")).unwrap(), "2");
        let before = fs::read_link(path.join("..data")).unwrap();
        volumes.publish(&uid, "v", &files(&[("a", "1"), ("d/b", "2")]), None).await.unwrap();
        assert_eq!(fs::read_link(path.join("..data")).unwrap(), before, "the same again changes nothing");
        volumes.publish(&uid, "v", &files(&[("a", "3"), ("c", "4")]), None).await.unwrap();
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        assert_eq!((read("a"), read("c"), read("d/b")), (Some("3".into()), Some("4".into()), None));
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["..2", "..data", "a", "c"]);
        assert_eq!(volumes.pods().await.unwrap(), std::slice::from_ref(&uid));
        volumes.remove(&uid).await.unwrap();
        volumes.remove(&uid).await.unwrap();
        assert!(volumes.pods().await.unwrap().is_empty());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_else_finds_a_way_to_the_files_of_a_pod() {
        use std::os::unix::fs::PermissionsExt;
        let dir = Dir::new();
        let volumes = HostVolumes::new(dir.0.join("root"));
        let path =
            volumes.publish(&Uid::from("u1"), "secret", &files(&[("password", "x")]), None).await.unwrap();
        let pods = path.ancestors().find(|path| path.ends_with("pods")).unwrap();
        let mode = fs::metadata(pods).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0o011, "others may pass, and not see what is there");
    }

    #[tokio::test]
    async fn volumes_belong_to_their_group() {
        use std::os::unix::fs::MetadataExt;
        let dir = Dir::new();
        let volumes = HostVolumes::new(dir.0.join("root"));
        // One that this process may give files to, whoever runs it.
        let (own, user) = fs::metadata(&dir.0).map(|found| (found.gid(), found.uid())).unwrap();
        let group = if user == 0 { 4242 } else { own };
        let seen =
            |path: &Path| fs::metadata(path).map(|found| (found.gid(), found.mode() & 0o7777)).unwrap();
        let uid = Uid::from("u1");
        let shared = volumes.directory(&uid, "shared", Some(group)).await.unwrap();
        assert_eq!(seen(&shared), (group, 0o2777));
        fs::create_dir(shared.join("made")).unwrap();
        assert_eq!(seen(&shared.join("made")).0, group, "what is made in it belongs to the group too");
        let file = |mode| VolumeFile { contents: ByteString::from("x"), mode };
        let set = FileSet([("secret".to_owned(), file(0o400)), ("d/open".to_owned(), file(0o644))].into());
        let path = volumes.publish(&uid, "files", &set, Some(group)).await.unwrap();
        for (name, mode) in [("", 0o2755), ("secret", 0o440), ("d/open", 0o644)] {
            assert_eq!(seen(&path.join(name)), (group, mode), "{name}");
        }
        assert_eq!(seen(&path.join("d")).0, group);
        let kept = volumes.persistent("kept", None).await.unwrap();
        assert_eq!(seen(&kept), (own, 0o777));
        volumes.persistent("kept", Some(group)).await.unwrap();
        assert_eq!(seen(&kept), (group, 0o2777));
    }

    #[tokio::test]
    async fn no_path_leads_out() {
        let dir = Dir::new();
        let volumes = HostVolumes::new(dir.0.join("root"));
        fs::write(dir.0.join("precious"), "x").unwrap();
        let path = volumes.directory(&Uid::from("u1"), "v", None).await.unwrap();
        std::os::unix::fs::symlink(&dir.0, path.join("out")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", path.join("dangling")).unwrap();
        for bad in ["out", "out/precious", "../../../../precious", "/etc", "a//b", "dangling/x", ""] {
            assert!(volumes.sub_path(&path, bad).await.is_err(), "{bad}");
        }
        let inner = volumes.sub_path(&path, "new/dir").await.unwrap();
        assert!(inner.is_dir() && inner.starts_with(path.canonicalize().unwrap()));
        assert!(volumes.directory(&Uid::from("../u1"), "v", None).await.is_err());
        assert!(volumes.directory(&Uid::from("u1"), "..", None).await.is_err());
        volumes.remove(&Uid::from("u1")).await.unwrap();
        assert!(dir.0.join("precious").exists(), "removal follows no link");
    }

    #[tokio::test]
    async fn host_paths_are_what_they_say() {
        let dir = Dir::new();
        let volumes = HostVolumes::new(dir.0.join("root"));
        let (made, file, untyped) = (dir.0.join("made"), dir.0.join("file"), dir.0.join("un/typed"));
        for (path, type_, fine) in [
            (&made, HostPathType::Directory, false),
            (&made, HostPathType::DirectoryOrCreate, true),
            (&made, HostPathType::Directory, true),
            (&made, HostPathType::File, false),
            (&file, HostPathType::File, false),
            (&file, HostPathType::FileOrCreate, true),
            (&file, HostPathType::FileOrCreate, true),
            (&file, HostPathType::Socket, false),
            (&file, HostPathType::Unset, true),
            (&untyped, HostPathType::Unset, true),
            (&untyped, HostPathType::Directory, true),
        ] {
            assert_eq!(volumes.host_path(path, type_).await.is_ok(), fine, "{path:?} {type_:?}");
        }
        assert!(volumes.host_path(Path::new("relative"), HostPathType::Unset).await.is_err());
        assert!(volumes.host_path(Path::new("/a/../b"), HostPathType::Unset).await.is_err());
    }
}
