//! Images: programs by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use orchestra_core::runtime::{ImageInfo, ImageSpec, RuntimeError};
use rustix::process::Signal;

/// The signal that asks a program to end where its image says nothing else: SIGTERM.
pub(crate) const DEFAULT_STOP_SIGNAL: i32 = 15;

/// What runs where a pod names an image: a program, its arguments and its environment.
#[derive(Clone, PartialEq, Eq)]
pub struct ProcessImage {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) working_dir: Option<PathBuf>,
    pub(crate) stop_signal: i32,
}

impl ProcessImage {
    /// The program at `program`, without arguments. A path without a slash is looked up in `PATH`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            stop_signal: DEFAULT_STOP_SIGNAL,
        }
    }

    /// Adds an argument. A container that gives arguments replaces all of them.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment. A container's own variables win over it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory; the container's own directory by default.
    #[must_use]
    pub fn working_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(dir.into());
        self
    }

    /// Sets the signal, by number, that asks the program to end; SIGTERM by default. One of those that have names: real-time
    /// signals, and numbers that are no signals, are refused where the image is used.
    #[must_use]
    pub fn stop_signal(mut self, signal: i32) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Why its stop signal can't be sent, where it can't.
    pub(crate) fn unknown_signal(&self) -> Option<String> {
        let number = self.stop_signal;
        let known = Signal::from_named_raw(number).is_some();
        (!known).then(|| {
            format!("its image's stop signal {number} has no name: use 15, SIGTERM, or one of 1 to 31")
        })
    }
}

/// Leaves out the values of the environment: they may be secrets.
impl fmt::Debug for ProcessImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessImage")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The images a runtime knows. A registered one is present until it is removed, and again once it is pulled.
#[derive(Debug, Default)]
pub(crate) struct Images(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    registered: BTreeMap<String, ProcessImage>,
    absent: BTreeSet<String>,
}

impl Images {
    pub(crate) fn register(&self, name: String, image: ProcessImage) {
        self.with(|state| {
            state.absent.remove(&name);
            state.registered.insert(name, image);
        });
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The image of that name, whether it counts as present or not.
    fn known(&self, spec: &ImageSpec) -> Result<ProcessImage, RuntimeError> {
        if spec.name.trim().is_empty() || spec.name.contains('\0') {
            return Err(RuntimeError::InvalidImage {
                image: spec.name.clone(),
                why: "it is empty or holds a NUL byte".to_owned(),
            });
        }
        if let Some(image) = self.with(|state| state.registered.get(&spec.name).cloned()) {
            return Ok(image);
        }
        let path = Path::new(&spec.name);
        if is_path(path) && executable(path) {
            return Ok(ProcessImage::new(path));
        }
        let why = if is_path(path) {
            "there is no executable file at this path".to_owned()
        } else {
            "it is neither in the image map nor a path; register it with `ProcessRuntime::builder(..).image(name, ..)`"
                .to_owned()
        };
        Err(RuntimeError::ImageNotFound { image: spec.name.clone(), why })
    }

    /// Makes an image present.
    pub(crate) fn pull(&self, spec: &ImageSpec) -> Result<ImageInfo, RuntimeError> {
        let image = self.known(spec)?;
        self.with(|state| state.absent.remove(&spec.name));
        Ok(info(spec, &image))
    }

    /// The image, where it is present.
    pub(crate) fn present(
        &self,
        spec: &ImageSpec,
    ) -> Result<Option<(ProcessImage, ImageInfo)>, RuntimeError> {
        if self.with(|state| state.absent.contains(&spec.name)) {
            return Ok(None);
        }
        match self.known(spec) {
            Ok(image) => {
                let info = info(spec, &image);
                Ok(Some((image, info)))
            }
            Err(RuntimeError::ImageNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn list(&self) -> Vec<ImageInfo> {
        let registered = self.with(|state| {
            let present = state.registered.iter().filter(|(name, _)| !state.absent.contains(*name));
            present.map(|(name, image)| (name.clone(), image.clone())).collect::<Vec<_>>()
        });
        registered.into_iter().map(|(name, image)| info(&ImageSpec::from(name), &image)).collect()
    }

    pub(crate) fn remove(&self, spec: &ImageSpec) {
        self.with(|state| {
            if state.registered.contains_key(&spec.name) {
                state.absent.insert(spec.name.clone());
            }
        });
    }
}

/// Whether an image's name is meant as a path: absolute, or relative with a leading `./` or `../`.
fn is_path(path: &Path) -> bool {
    path.is_absolute() || path.starts_with(".") || path.starts_with("..")
}

/// Whether a program can be executed, as far as its mode says.
pub(crate) fn executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The identity of an image is its program's path, length and time of change.
fn info(spec: &ImageSpec, image: &ProcessImage) -> ImageInfo {
    let program = image.program.display();
    let mut info = match std::fs::metadata(&image.program) {
        Ok(meta) => {
            let id = format!("{program}@{}-{}.{}", meta.len(), meta.mtime(), meta.mtime_nsec());
            ImageInfo::new(id, spec.clone(), meta.len())
        }
        Err(_) => ImageInfo::new(program.to_string(), spec.clone(), 0),
    };
    // Its processes run as we do.
    info.user = Some(rustix::process::geteuid().as_raw());
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_the_map_and_then_as_a_path() {
        let images = Images::default();
        images.register("shop/web:1".to_owned(), ProcessImage::new("/bin/sh").arg("-c"));
        assert_eq!(images.pull(&"shop/web:1".into()).unwrap().names, vec![ImageSpec::from("shop/web:1")]);
        assert!(images.pull(&"/bin/sh".into()).unwrap().size > 0);
        for missing in ["shop/web:2", "/bin/no-such-program", "sh", "/"] {
            assert!(
                matches!(images.pull(&missing.into()), Err(RuntimeError::ImageNotFound { .. })),
                "{missing}"
            );
        }
        assert!(matches!(images.pull(&"".into()), Err(RuntimeError::InvalidImage { .. })));
    }

    #[test]
    fn a_removed_image_comes_back_with_a_pull() {
        let images = Images::default();
        images.register("web".to_owned(), ProcessImage::new("/bin/sh"));
        images.remove(&"web".into());
        assert!(images.present(&"web".into()).unwrap().is_none() && images.list().is_empty());
        images.pull(&"web".into()).unwrap();
        assert_eq!(images.list().len(), 1);
    }

    #[test]
    fn debug_shows_no_value_of_the_environment() {
        let text = format!("{:?}", ProcessImage::new("/bin/sh").env("TOKEN", "s3cret"));
        assert!(text.contains("TOKEN") && !text.contains("s3cret"));
    }
}
