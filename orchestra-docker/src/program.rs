//! An image of the program that runs: how an application runs its own services as containers.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use orchestra_core::runtime::RuntimeError;

use crate::files::ImageFiles;

/// A program is read from here also when its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";
const OWN_LIBRARIES: &str = "/proc/self/maps";

impl ImageFiles {
    /// Adds the program that calls this, at a path relative to the image's root, and the shared libraries it has loaded:
    /// each where it is on this host, so that its loader finds them. A statically linked program has none.
    ///
    /// # Errors
    /// Where the system does not say them (Linux does), or one can't be read.
    pub fn this_program(&mut self, path: impl AsRef<Path>) -> Result<(), RuntimeError> {
        self.file(path, 0o755, &read(OWN_PROGRAM)?)?;
        let maps = read(OWN_LIBRARIES)?;
        for library in libraries(&String::from_utf8_lossy(&maps)) {
            let inside = library.trim_start_matches('/');
            self.file(inside, 0o755, &read(library)?)?;
            for link in loader_links(library) {
                self.link(link, library)?;
            }
        }
        Ok(())
    }
}

fn read(path: &str) -> Result<Vec<u8>, RuntimeError> {
    fs::read(path).map_err(|error: io::Error| RuntimeError::Failed {
        subject: path.to_owned(),
        operation: "read it for an image",
        transient: false,
        source: Box::new(error),
    })
}

/// The shared libraries among what a process has mapped.
fn libraries(maps: &str) -> BTreeSet<&str> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let is_library = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.ends_with(".so") || name.contains(".so.")
    };
    paths.filter(is_library).collect()
}

/// Where programs ask for their loader, which is in another directory: `/lib64` or `/lib`, links to it on a host.
fn loader_links(library: &str) -> Vec<PathBuf> {
    let name = library.rsplit('/').next().unwrap_or_default();
    let dirs = ["lib", "lib64"].map(|dir| PathBuf::from(dir).join(name));
    let elsewhere = |link: &PathBuf| Path::new("/").join(link) != Path::new(library);
    if name.starts_with("ld-") { dirs.into_iter().filter(elsewhere).collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_is_mapped_and_named_so() {
        let maps = "5500-5600 r-xp 00000000 08:01 12  /opt/some.socket/web\n\
                    7f00-7f10 r-xp 00001000 08:01 13  /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f10-7f20 r--p 00001000 08:01 13  /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f20-7f30 r-xp 00001000 08:01 14  /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n\
                    7f30-7f40 rw-p 00000000 00:00 0  [stack]\n";
        let found: Vec<_> = libraries(maps).into_iter().collect();
        let lib = "/usr/lib/x86_64-linux-gnu";
        assert_eq!(found, [format!("{lib}/ld-linux-x86-64.so.2"), format!("{lib}/libc.so.6")]);
        assert_eq!(loader_links(found[0]).len(), 2);
        assert_eq!(loader_links("/lib/ld-musl-x86_64.so.1"), [PathBuf::from("lib64/ld-musl-x86_64.so.1")]);
        assert!(loader_links(found[1]).is_empty());
    }
}
