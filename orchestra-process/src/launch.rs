//! From a container's spec and its image to what is executed.
//!
//! Processes have no mount namespace of their own: what a container mounts appears below its own directory,
//! which it knows as `CONTAINER_ROOT`. See the crate's documentation.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use orchestra_core::runtime::{ContainerSpec, Mount, MountSource, RuntimeError};

use crate::error::{failed, unsupported};
use crate::image::{ProcessImage, executable};
use crate::record::{Launch, Limits, SandboxRecord};

/// The variable by which the processes of a container are known: `<instance>/<container>`. Children inherit it.
pub(crate) const MARKER: &str = "ORCHESTRA_CONTAINER";

/// Set beside the marker in what `exec` runs: such a process is never a container's main one.
pub(crate) const EXEC_MARKER: &str = "ORCHESTRA_EXEC";

/// The container's own directory, under which its mounts are. `$(CONTAINER_ROOT)` stands for it in arguments
/// and variables.
const ROOT: &str = "CONTAINER_ROOT";

/// Where the cluster's name server is, as `127.0.0.1:5353`: a process has the host's `/etc/resolv.conf`, which can't
/// name it. And the domains that short names are looked up in, separated by spaces.
const DNS: &str = "ORCHESTRA_DNS";
const DNS_SEARCH: &str = "ORCHESTRA_DNS_SEARCH";

/// The file to which a program writes what it has to say when it ends.
pub(crate) const TERMINATION_LOG: &str = "TERMINATION_LOG";

/// Its name in the container's own directory.
pub(crate) const TERMINATION_FILE: &str = "termination-log";

/// Where programs are looked up where neither image nor container nor the runtime's own environment say it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Of the runtime's own environment only these are handed on.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// The part of the environment that all containers of a runtime share.
pub(crate) fn inherited_env() -> Vec<(String, String)> {
    let mut env: Vec<_> =
        INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    env
}

/// All that goes into a [`Launch`] beside the spec.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) sandbox: &'a SandboxRecord,
    pub(crate) inherited: &'a [(String, String)],
    /// The container's own directory.
    pub(crate) dir: &'a Path,
}

/// What to execute for `spec`. Touches nothing but, where it must exist, the working directory.
pub(crate) fn resolve(
    context: &Context<'_>,
    spec: &ContainerSpec,
    image: &ProcessImage,
) -> Result<Launch, RuntimeError> {
    let id = context.id;
    let expand = |text: &str| text.replace("$(CONTAINER_ROOT)", &context.dir.to_string_lossy());
    let mut env = environment(context, image, spec);
    for (_, value) in &mut env {
        *value = expand(value);
    }
    env.push((MARKER.to_owned(), format!("{}/{id}", context.instance)));
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(unsupported(
                id,
                format!("`{name}` can't be the name of a variable, or its value holds a NUL byte"),
            ));
        }
    }
    let mut words = spec.command.iter().map(|word| expand(word));
    let program = words.next().map_or_else(|| image.program.clone(), PathBuf::from);
    let mut args: Vec<String> = words.collect();
    if !spec.args.is_empty() {
        args.extend(spec.args.iter().map(|arg| expand(arg)));
    } else if spec.command.is_empty() {
        args.extend(image.args.iter().map(|arg| expand(arg)));
    }
    if program.as_os_str().is_empty() || args.iter().any(|arg| arg.contains('\0')) {
        return Err(unsupported(id, "the program's name is empty, or an argument holds a NUL byte"));
    }
    let cwd = match spec.working_dir.as_ref().or(image.working_dir.as_ref()) {
        None => context.dir.to_owned(),
        Some(dir) => working_dir(context, spec, dir)?,
    };
    let program = find_program(&translate(context.dir, &spec.mounts, &program), &env, &cwd);
    Ok(Launch {
        program,
        args,
        env,
        cwd,
        stdin: spec.stdin,
        user: spec.run_as,
        groups: if may_give_groups() { spec.supplemental_groups.clone() } else { Vec::new() },
        stop_signal: image.stop_signal,
        limits: Limits::from(&spec.limits),
    })
}

/// Whether this process may start others as this user: as its own, or any where it is root.
fn may_run_as(user: u32) -> bool {
    let own = rustix::process::geteuid();
    own.is_root() || own.as_raw() == user
}

/// Refuses what no try would bring about.
pub(crate) fn check(id: &str, spec: &ContainerSpec, image: &ProcessImage) -> Result<(), RuntimeError> {
    if let Some((user, _)) = spec.run_as.filter(|(user, _)| !may_run_as(*user)) {
        let why = format!("only root can run a program as user {user}: leave `runAsUser` out");
        return Err(unsupported(id, why));
    }
    if spec.tty {
        return Err(unsupported(
            id,
            "a process has no terminal of its own; leave `tty` out, or use exec with a terminal",
        ));
    }
    match image.unknown_signal() {
        Some(why) => Err(unsupported(id, why)),
        None => Ok(()),
    }
}

/// Whether this process may put others in groups: root may.
pub(crate) fn may_give_groups() -> bool {
    rustix::process::geteuid().is_root()
}

/// Later entries win: the runtime's own variables, then the image's, then the container's.
fn environment(context: &Context<'_>, image: &ProcessImage, spec: &ContainerSpec) -> Vec<(String, String)> {
    let sandbox = context.sandbox;
    let hostname = if sandbox.hostname.is_empty() { sandbox.pod.as_ref() } else { &sandbox.hostname };
    let mut env = context.inherited.to_vec();
    for (name, value) in [
        ("HOSTNAME", hostname),
        ("POD_IP", &sandbox.ip.to_string()),
        ("POD_NAME", &sandbox.pod),
        ("POD_NAMESPACE", &sandbox.namespace),
        ("POD_UID", &sandbox.uid),
        (ROOT, &context.dir.to_string_lossy()),
        (TERMINATION_LOG, &context.dir.join(TERMINATION_FILE).to_string_lossy()),
    ] {
        env.push((name.to_owned(), value.to_owned()));
    }
    if let Some(server) = sandbox.dns_servers.first() {
        env.push((DNS.to_owned(), server.to_string()));
        env.push((DNS_SEARCH.to_owned(), sandbox.dns_search.join(" ")));
    }
    env.extend(image.env.iter().cloned());
    env.extend(spec.env.iter().cloned());
    env
}

/// Where a path of the container is on the host: below the container's directory where a mount covers it,
/// else where it says.
fn translate(root: &Path, mounts: &[Mount], path: &Path) -> PathBuf {
    if mounts.iter().any(|mount| path.starts_with(&mount.target)) {
        below(root, path)
    } else {
        path.to_owned()
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A directory that neither a mount nor the host has is made below the container's own.
fn working_dir(context: &Context<'_>, spec: &ContainerSpec, dir: &Path) -> Result<PathBuf, RuntimeError> {
    let on_host = translate(context.dir, &spec.mounts, dir);
    if on_host.is_absolute() && on_host.is_dir() {
        return Ok(on_host);
    }
    plain(context.id, dir)?;
    let own = below(context.dir, dir);
    fs::create_dir_all(&own).map_err(|error| failed(context.id, "create its working directory", error))?;
    Ok(own)
}

/// Refuses paths that lead out of the container's directory.
fn plain(id: &str, path: &Path) -> Result<(), RuntimeError> {
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::Prefix(_))) {
        return Err(unsupported(id, format!("the path `{}` holds `..`", path.display())));
    }
    Ok(())
}

/// Finds a program as `execvp` does: a name without a slash in the container's `PATH`, a relative path from
/// the working directory. One that isn't found is left as it is, and fails at its start.
pub(crate) fn find_program(program: &Path, env: &[(String, String)], cwd: &Path) -> PathBuf {
    if program.components().count() > 1 || program.is_absolute() {
        return cwd.join(program);
    }
    let path = env.iter().rfind(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    let found = path.split(':').map(|dir| cwd.join(dir).join(program)).find(|file| executable(file));
    found.unwrap_or_else(|| program.to_owned())
}

/// Puts the mounts of a container below its directory, as links: of files hard ones where there can be some.
pub(crate) fn mount(id: &str, dir: &Path, mounts: &[Mount]) -> Result<(), RuntimeError> {
    let mut mounts: Vec<&Mount> = mounts.iter().collect();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    for (index, mount) in mounts.iter().enumerate() {
        let target = &mount.target;
        plain(id, target)?;
        if !target.is_absolute() || target.file_name().is_none_or(OsStr::is_empty) {
            return Err(unsupported(
                id,
                format!("the mount target `{}` is no absolute path", target.display()),
            ));
        }
        if let Some(outer) = mounts[..index].iter().find(|outer| target.starts_with(&outer.target)) {
            let (target, outer) = (target.display(), outer.target.display());
            return Err(unsupported(id, format!("the mount at `{target}` lies inside the one at `{outer}`")));
        }
        let link = below(dir, target);
        link_mount(&link, &mount.source).map_err(|error| {
            failed(
                id,
                "mount a volume",
                io::Error::new(error.kind(), format!("{}: {error}", target.display())),
            )
        })?;
    }
    Ok(())
}

fn link_mount(link: &Path, source: &MountSource) -> io::Result<()> {
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent)?;
    }
    match source {
        MountSource::Host(path) => {
            let path = std::path::absolute(path)?;
            // A mounted file stays there when its name goes to another or to none, as with each update of a ConfigMap. So does a
            // second name of it, where it can have one: on the same file system.
            if fs::symlink_metadata(&path)?.is_file() && fs::hard_link(&path, link).is_ok() {
                return Ok(());
            }
            symlink(path, link)
        }
        // Without privileges there is no memory file system to mount: a directory that goes with the container.
        MountSource::Tmpfs { .. } => fs::create_dir(link),
        other => Err(io::Error::other(format!("{other:?} can't be mounted here"))),
    }
}
