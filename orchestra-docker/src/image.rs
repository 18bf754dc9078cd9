//! Images: looking at them, fetching them, and making them of files.

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{ImageInspect, SystemInfo};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions};
use bytes::Bytes;
use futures_util::TryStreamExt;
use orchestra_core::runtime::{ImageInfo, ImageSpec, OnPull, RegistryAuth, RuntimeError};

use crate::core::Core;
use crate::files::ImageFiles;
use crate::{collect, credentials, error, pull};

/// What is noted in images that are made of files: Podman and the containerd image store give them a digest, as those of registries
/// have.
const MADE_HERE: &str = "made of files, by Orchestra";

/// What the driver of an engine whose images containerd keeps says of itself.
const CONTAINERDS: &str = "io.containerd.snapshotter.v1";

/// Repository and tag of a name: `latest` where it has none.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

/// Makes an image of these files, or replaces the one of that name.
pub(crate) async fn import(docker: &Docker, name: &str, files: &ImageFiles) -> Result<(), RuntimeError> {
    let (repository, tag) = split(name);
    // Podman (4.3) looks for the tag in the name only.
    let name_and_tag = format!("{repository}:{tag}");
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(&name_and_tag).message(MADE_HERE);
    let options = options.changes(files.instructions()).build();
    let archive = bollard::body_full(Bytes::from(files.archive()));
    let done = docker.create_image(Some(options), Some(archive), None).try_for_each(|_| async { Ok(()) });
    done.await
        .map_err(|error| invalid(name, &error).unwrap_or_else(|| error::effect(name, "import it", error)))
}

/// The error of a name that is none.
fn invalid(name: &str, error: &bollard::errors::Error) -> Option<RuntimeError> {
    let why = error::message(error);
    let invalid = error::status(error) == Some(400) && why.contains("reference");
    invalid.then(|| RuntimeError::InvalidImage { image: name.to_owned(), why: why.to_owned() })
}

pub(crate) async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, RuntimeError> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if error::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(invalid(name, &error).unwrap_or_else(|| error::read(name, "inspect it", error))),
    }
}

fn info(id: String, names: &[String], size: Option<i64>) -> ImageInfo {
    let size = size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
    let mut info = ImageInfo::new(id, "", size);
    info.names = names.iter().map(|name| ImageSpec::from(name.as_str())).collect();
    info
}

fn inspected(image: ImageInspect) -> ImageInfo {
    let names = image.repo_tags.unwrap_or_default();
    let mut info = info(image.id.unwrap_or_default(), &names, image.size);
    info.user = user(&image.config.and_then(|config| config.user).unwrap_or_default());
    info
}

/// The number of an image's user, of `user` or `user:group`; a name is looked up in the image, but root's is known.
fn user(text: &str) -> Option<u32> {
    match text.split(':').next().unwrap_or_default() {
        "" | "root" => Some(0),
        user => user.parse().ok(),
    }
}

/// The image, which is looked for to be used.
pub(crate) async fn present(core: &Core, name: &str) -> Result<Option<ImageInfo>, RuntimeError> {
    let found = inspect(&core.docker, name).await?.map(inspected);
    if let (Some(image), Some(collector)) = (&found, &core.collector) {
        collector.note(&image.id);
    }
    Ok(found)
}

/// Fetches an image. One that came from no registry (it was built or imported here) is the newest there is.
pub(crate) async fn pull(
    core: &Core,
    name: &str,
    auth: Option<&RegistryAuth>,
    progress: OnPull<'_>,
) -> Result<ImageInfo, RuntimeError> {
    match inspect(&core.docker, name).await? {
        Some(image) if is_of_no_registry(&image) => return Ok(inspected(image)),
        Some(_) => {}
        None => collect::make_room(core).await,
    }
    let own = match (auth, &core.docker_config) {
        (None, Some(file)) => credentials::of(file, name).await?,
        _ => None,
    };
    let credentials = auth.or(own.as_ref()).map(docker_credentials);
    // Without a tag the engine would fetch all tags of the repository.
    let with_tag =
        if name.contains('@') { name.to_owned() } else { format!("{}:{}", split(name).0, split(name).1) };
    let options = CreateImageOptionsBuilder::default().from_image(&with_tag).build();
    let steps = core.docker.create_image(Some(options), None, credentials);
    pull::follow(steps, core.pull_stall, name, progress).await?;
    let missing = || RuntimeError::ImageNotFound {
        image: name.to_owned(),
        why: "it was fetched, and then removed by somebody".to_owned(),
    };
    let image = present(core, name).await?.ok_or_else(missing)?;
    if let Some(collector) = &core.collector {
        collector.fetched(&image.id);
    }
    Ok(image)
}

fn is_of_no_registry(image: &ImageInspect) -> bool {
    let made_here = image.comment.as_deref() == Some(MADE_HERE);
    made_here || image.repo_digests.as_ref().is_none_or(Vec::is_empty)
}

/// Whether containerd keeps the engine's images, which all have digests there.
pub(crate) fn is_containerds(info: &SystemInfo) -> bool {
    info.driver_status.iter().flatten().flatten().any(|text| text == CONTAINERDS)
}

fn docker_credentials(auth: &RegistryAuth) -> DockerCredentials {
    let serveraddress = Some(auth.server.clone());
    // So credential helpers say that what they give is a token.
    if auth.username == "<token>" {
        let identitytoken = Some(auth.password.clone());
        return DockerCredentials { identitytoken, serveraddress, ..DockerCredentials::default() };
    }
    DockerCredentials {
        username: Some(auth.username.clone()),
        password: Some(auth.password.clone()),
        serveraddress,
        ..DockerCredentials::default()
    }
}

pub(crate) fn not_pulled(name: &str, error: bollard::errors::Error) -> RuntimeError {
    if let Some(invalid) = invalid(name, &error) {
        return invalid;
    }
    let why = error::message(&error).to_owned();
    let unknown = ["not found", "manifest unknown", "does not exist"].iter().any(|word| why.contains(word));
    if error::status(&error) == Some(404) || unknown {
        return RuntimeError::ImageNotFound { image: name.to_owned(), why };
    }
    // The registry may answer later.
    let (subject, operation) = (name.to_owned(), "pull it");
    RuntimeError::Failed { subject, operation, transient: true, source: Box::new(error) }
}

pub(crate) async fn list(docker: &Docker) -> Result<Vec<ImageInfo>, RuntimeError> {
    let images = docker.list_images(Some(ListImagesOptionsBuilder::default().build())).await;
    let images = images.map_err(|error| error::read("the engine", "list images", error))?;
    Ok(images.into_iter().map(|image| info(image.id, &image.repo_tags, Some(image.size))).collect())
}

pub(crate) async fn remove(docker: &Docker, name: &str) -> Result<(), RuntimeError> {
    match docker.remove_image(name, None::<RemoveImageOptions>, None).await {
        Ok(_) => Ok(()),
        Err(error) if error::status(&error) == Some(404) => Ok(()),
        Err(error) if error::status(&error) == Some(409) => {
            Err(RuntimeError::InUse { subject: name.to_owned(), what: "the image".to_owned() })
        }
        Err(error) => Err(invalid(name, &error).unwrap_or_else(|| error::effect(name, "remove it", error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_root() {
        for (text, number) in
            [("", Some(0)), ("root", Some(0)), ("0:0", Some(0)), ("1000:100", Some(1000)), ("www", None)]
        {
            assert_eq!(user(text), number, "{text}");
        }
    }

    #[test]
    fn what_was_made_here_is_not_asked_a_registry_for() {
        let image = |comment: &str, digest: &str| ImageInspect {
            comment: Some(comment.to_owned()),
            repo_digests: Some(vec![digest.to_owned()]),
            ..ImageInspect::default()
        };
        assert!(is_of_no_registry(&image(MADE_HERE, "web@sha256:1")));
        assert!(!is_of_no_registry(&image("", "web@sha256:1")));
        assert!(is_of_no_registry(&ImageInspect::default()));
    }

    #[test]
    fn the_containerd_image_store_says_that_it_is_one() {
        let status = |value: &str| SystemInfo {
            driver_status: Some(vec![vec!["driver-type".to_owned(), value.to_owned()]]),
            ..SystemInfo::default()
        };
        assert!(is_containerds(&status(CONTAINERDS)) && !is_containerds(&status("overlay2")));
        assert!(!is_containerds(&SystemInfo::default()));
    }

    #[test]
    fn names_have_a_tag_or_get_one() {
        for (name, parts) in [
            ("web", ("web", "latest")),
            ("web:1", ("web", "1")),
            ("host:5000/web", ("host:5000/web", "latest")),
            ("host:5000/a/web:2", ("host:5000/a/web", "2")),
        ] {
            assert_eq!(split(name), parts);
        }
    }
}
