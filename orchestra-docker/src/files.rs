//! What an image is made of: files of this program's choice, and what its containers run.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use orchestra_core::runtime::RuntimeError;

/// The two blocks of zeros that an archive ends with.
const ARCHIVE_END: [u8; 1024] = [0; 1024];

/// How many bytes the files of an image may have, heads included: they are held in memory, and sent to the engine from there.
const LIMIT: usize = 1 << 30;

/// What an archive is written to.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            let why = format!("the files of an image may have {} bytes in all", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files of an image, in memory, and what its containers run unless they say otherwise:
/// [`DockerRuntime::import_image`] makes an image of them. They may have 1 GiB in all.
///
/// [`DockerRuntime::import_image`]: crate::DockerRuntime::import_image
pub struct ImageFiles {
    archive: tar::Builder<Bounded>,
    entrypoint: Vec<String>,
    env: BTreeMap<String, String>,
}

impl fmt::Debug for ImageFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageFiles")
            .field("bytes", &self.archive.get_ref().bytes.len())
            .field("entrypoint", &self.entrypoint)
            .finish_non_exhaustive()
    }
}

impl Default for ImageFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageFiles {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::within(LIMIT)
    }

    fn within(limit: usize) -> Self {
        let mut archive = tar::Builder::new(Bounded { bytes: Vec::new(), limit });
        archive.follow_symlinks(false);
        Self { archive, entrypoint: Vec::new(), env: BTreeMap::new() }
    }

    /// Sets the program of containers that name none, and its first arguments.
    pub fn entrypoint<S: Into<String>>(&mut self, words: impl IntoIterator<Item = S>) {
        self.entrypoint = words.into_iter().map(Into::into).collect();
    }

    /// Sets a variable of the containers' environment.
    ///
    /// # Errors
    /// Where the name has other characters than letters, digits and `_`, or the value has a control character: the
    /// engine can't be told.
    pub fn env(&mut self, name: &str, value: &str) -> Result<(), RuntimeError> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) || value.chars().any(char::is_control) {
            return Err(RuntimeError::Unsupported {
                subject: format!("the variable {name:?} of an image"),
                why: "its name is not of letters, digits and _, or its value has a control character"
                    .to_owned(),
            });
        }
        self.env.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Adds a file of root's with this content, at a path relative to the image's root. `mode` is that of `chmod`.
    ///
    /// # Errors
    /// Where the path is absolute, or leads out of the image, or it is too much.
    pub fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: &[u8]) -> Result<(), RuntimeError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        added(path.as_ref(), self.archive.append_data(&mut header, path.as_ref(), content))
    }

    /// Adds a symbolic link to `target`.
    ///
    /// # Errors
    /// Where the path is absolute, or leads out of the image.
    pub fn link(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), RuntimeError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        added(path.as_ref(), self.archive.append_link(&mut header, path.as_ref(), target.as_ref()))
    }

    /// Adds everything in a directory of this host at the image's root; links stay links.
    ///
    /// # Errors
    /// Where it can't be read, or is too much.
    pub fn directory(&mut self, dir: impl AsRef<Path>) -> Result<(), RuntimeError> {
        added(dir.as_ref(), self.archive.append_dir_all("", dir.as_ref()))
    }

    /// The archive as the engine reads it.
    pub(crate) fn archive(&self) -> Vec<u8> {
        [self.archive.get_ref().bytes.as_slice(), &ARCHIVE_END].concat()
    }

    /// What a Dockerfile would say beside the files.
    pub(crate) fn instructions(&self) -> Vec<String> {
        let mut instructions: Vec<_> =
            self.env.iter().map(|(name, value)| format!("ENV {name}=\"{}\"", quoted(value))).collect();
        if !self.entrypoint.is_empty() {
            instructions.push(format!("ENTRYPOINT {}", serde_json::json!(self.entrypoint)));
        }
        instructions
    }
}

/// A value as it stands between quotes in a Dockerfile.
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

fn added(path: &Path, result: io::Result<()>) -> Result<(), RuntimeError> {
    result.map_err(|error| RuntimeError::Failed {
        subject: path.display().to_string(),
        operation: "add it to an image",
        transient: false,
        source: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_inside_their_image() {
        let mut files = ImageFiles::new();
        assert!(files.file("../etc/passwd", 0o644, b"").is_err());
        files.file("etc/passwd", 0o644, b"").unwrap();
    }

    #[test]
    fn too_much_is_refused() {
        let mut files = ImageFiles::within(4096);
        files.file("a", 0o644, &[0; 2048]).unwrap();
        let error = files.file("b", 0o644, &[0; 2048]).unwrap_err();
        assert!(format!("{error:?}").contains("may have 4096 bytes"), "{error:?}");
    }

    #[test]
    fn what_is_said_of_an_image_is_one_instruction_each() {
        let mut files = ImageFiles::new();
        files.entrypoint(["/web", "a\nUSER b", "\"c\""]);
        files.env("VERSION", r#"$HOME "x" \"#).unwrap();
        assert!(files.env("A B", "").is_err() && files.env("A", "1\nUSER b").is_err());
        assert_eq!(
            files.instructions(),
            [r#"ENV VERSION="\$HOME \"x\" \\""#, r#"ENTRYPOINT ["/web","a\nUSER b","\"c\""]"#]
        );
    }

    #[test]
    fn an_archive_can_be_taken_more_than_once() {
        let mut files = ImageFiles::new();
        files.file("a", 0o644, b"text").unwrap();
        let (first, second) = (files.archive(), files.archive());
        assert_eq!(first, second);
        let mut archive = tar::Archive::new(first.as_slice());
        assert_eq!(archive.entries().unwrap().count(), 1);
    }
}
