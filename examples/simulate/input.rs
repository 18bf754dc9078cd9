//! Reading files of manifests.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use orchestra::model::{
    AnyObjectExt, FieldErrors, Manifest, Resource, Scheme, Uid, parse_manifests, validate_meta,
};

/// All objects of the kind `T` in a file, with their defaults. Other kinds are refused: they would be ignored.
pub(crate) fn read<T: Resource>(file: &Path) -> anyhow::Result<Vec<Arc<T>>> {
    let at = || file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", at()))?;
    let manifests =
        parse_manifests(&text, &Scheme::kubernetes()).with_context(|| format!("cannot read {}", at()))?;
    let mut names = BTreeSet::new();
    let mut objects = Vec::with_capacity(manifests.len());
    for manifest in manifests {
        let (document, line) = (manifest.document, manifest.line);
        let place = || format!("{}: document {document} (line {line})", at());
        let object = object::<T>(manifest).with_context(place)?;
        let meta = object.meta();
        if !names.insert((meta.namespace.clone(), meta.name.clone())) {
            bail!("{}: there is a {} {} before it", place(), T::INFO.kind, meta.name);
        }
        objects.push(object);
    }
    Ok(objects)
}

fn object<T: Resource>(manifest: Manifest) -> anyhow::Result<Arc<T>> {
    let kind = manifest.object.info().kind.clone();
    let Some(mut object) = manifest.object.downcast::<T>() else {
        bail!("is a {kind}, where only {} belong", T::INFO.plural);
    };
    let this = Arc::make_mut(&mut object);
    this.set_defaults();
    let meta = this.meta_mut();
    if T::INFO.namespaced && meta.namespace.is_empty() {
        meta.namespace = "default".to_owned();
    }
    if meta.uid.is_empty() {
        meta.uid = Uid::from(format!("{}/{}", meta.namespace, meta.name));
    }
    let mut errors = FieldErrors::default();
    validate_meta(this.meta(), &T::INFO, &mut errors);
    this.validate(&mut errors);
    if let Err(errors) = errors.into_result() {
        bail!("{} {}: {errors}", T::INFO.kind, this.meta().name);
    }
    Ok(object)
}
