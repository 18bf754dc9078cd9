//! Kinds of an application's own, made with what the facade has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use orchestra::client::{ApplyOutcome, ClientError, ObjectEvent};
use orchestra::model::{Extra, FieldErrors, ObjectMeta, OwnerReference, Rules, TypeMeta, object};
use orchestra::prelude::*;
use serde::{Deserialize, Serialize};

/// Copies of a database, made every now and then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Backup {
    #[serde(flatten)]
    type_meta: TypeMeta<Self>,
    metadata: ObjectMeta,
    spec: BackupSpec,
    status: BackupStatus,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BackupSpec {
    database: String,
    keep: u32,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BackupStatus {
    copies: u32,
}

object!(Backup, "example.com", "v1", "backups", namespaced: true, desired: [spec, extra], status: status);

impl Rules for Backup {
    fn set_defaults(&mut self) {
        if self.spec.keep == 0 {
            self.spec.keep = 7;
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            errors.at("database", |errors| errors.require(!self.spec.database.is_empty(), "is required"));
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let same = self.spec.database == old.spec.database;
        errors.at("spec", |errors| errors.at("database", |errors| errors.require(same, "can't be changed")));
    }
}

/// A kind of the whole cluster, whose desired state is not in a `spec`, and which has neither rules nor status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Plan {
    #[serde(flatten)]
    type_meta: TypeMeta<Self>,
    metadata: ObjectMeta,
    price: u32,
}

object!(Plan, "example.com", "v1", "plans", namespaced: false, desired: [price]);
impl Rules for Plan {}

const NIGHTLY: &str = "
apiVersion: example.com/v1
kind: Backup
metadata: {name: nightly, labels: {tier: gold}}
spec: {database: orders, compression: zstd}
";

async fn cluster() -> Cluster {
    Cluster::builder().kind::<Backup>().kind::<Plan>().start().await.unwrap()
}

#[tokio::test]
async fn a_manifest_is_read_completed_listed_and_given_back() {
    let cluster = cluster().await;
    let applied = cluster.apply_yaml(NIGHTLY).await.unwrap();
    assert_eq!(applied[0].outcome, ApplyOutcome::Created);
    let warnings: Vec<_> = applied[0].warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warnings, ["spec.compression"], "kept, and not acted on");
    let backup = cluster.get::<Backup>("nightly").await.unwrap();
    assert_eq!((backup.spec.database.as_str(), backup.spec.keep), ("orders", 7));
    assert_eq!(backup.to_value()["spec"]["compression"], "zstd");
    assert_eq!(backup.to_value()["apiVersion"], "example.com/v1");
    let note = |b: &mut Backup| _ = b.extra.0.insert("note".into(), "kept".into());
    let noted = cluster.modify::<Backup>("nightly", note).await.unwrap();
    assert_eq!((noted.metadata.generation, noted.to_value()["note"].as_str()), (2, Some("kept")));
    cluster.create(Plan { metadata: ObjectMeta::named("small"), price: 5, ..Plan::default() }).await.unwrap();
    assert_eq!(cluster.list::<Plan>(&ListOptions::default()).await.unwrap().items[0].price, 5);
    let elsewhere = cluster.namespace("other").list::<Backup>(&ListOptions::default()).await.unwrap();
    assert!(elsewhere.items.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn what_breaks_its_rules_is_refused_with_the_path_to_it() {
    let cluster = cluster().await;
    let refused = |result: Result<(), ClientError>, text: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    let empty = Backup { metadata: ObjectMeta::named("empty"), ..Backup::default() };
    refused(cluster.create(empty).await.map(drop), "spec.database: is required");
    let many = NIGHTLY.replace("compression: zstd", "keep: many");
    refused(cluster.apply_yaml(&many).await.map(drop), "spec.keep");
    assert!(cluster.list::<Backup>(&ListOptions::default()).await.unwrap().items.is_empty());
    cluster.apply_yaml(NIGHTLY).await.unwrap();
    let other = cluster.modify::<Backup>("nightly", |b| b.spec.database = "users".to_owned()).await;
    refused(other.map(drop), "spec.database: can't be changed");
    cluster.stop().await;
}

#[tokio::test]
async fn a_watch_follows_it_and_the_status_is_apart() {
    let cluster = cluster().await;
    let list = cluster.list::<Backup>(&ListOptions::default()).await.unwrap();
    let mut watch = cluster.watch::<Backup>(&ListOptions::default(), list.revision).await.unwrap();
    cluster.apply_yaml(NIGHTLY).await.unwrap();
    cluster.modify::<Backup>("nightly", |b| b.spec.keep = 9).await.unwrap();
    // Each write changes its part alone.
    let both = |b: &mut Backup| (b.status.copies, b.spec.keep) = (3, 1);
    cluster.modify_status::<Backup>("nightly", both).await.unwrap();
    cluster.delete::<Backup>("nightly", &DeleteOptions::default()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let event = watch.next().await.unwrap().unwrap();
        let what = match &event {
            ObjectEvent::Added(_) => "added",
            ObjectEvent::Modified(_) => "modified",
            ObjectEvent::Deleted(_) => "deleted",
        };
        let object = event.object();
        seen.push((what, object.spec.keep, object.status.copies, object.metadata.generation));
    }
    assert_eq!(
        seen,
        [("added", 7, 0, 1), ("modified", 9, 0, 2), ("modified", 9, 3, 2), ("deleted", 9, 3, 2)]
    );
    cluster.stop().await;
}

#[tokio::test]
async fn what_it_owns_goes_with_it() {
    let cluster = cluster().await;
    cluster.apply_yaml(NIGHTLY).await.unwrap();
    let owner = cluster.get::<Backup>("nightly").await.unwrap();
    let mut owned = ConfigMap::new("settings");
    owned.metadata.owner_references.push(OwnerReference::controller_of(&*owner));
    cluster.create(owned).await.unwrap();
    cluster.delete::<Backup>("nightly", &DeleteOptions::default()).await.unwrap();
    let gone = cluster.wait::<ConfigMap>("settings", |map| map.is_none());
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("it is collected").unwrap();
    cluster.stop().await;
}

/// A directory of this test's own, removed at its end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn it_is_there_again_after_a_restart() {
    let dir = Dir(std::env::temp_dir().join(format!("orchestra-own-kinds-{}", std::process::id())));
    let first = Cluster::builder().kind::<Backup>().data_dir(&dir.0).start().await.unwrap();
    first.apply_yaml(NIGHTLY).await.unwrap();
    let before = first.get::<Backup>("nightly").await.unwrap();
    first.stop().await;
    let second = Cluster::builder().kind::<Backup>().data_dir(&dir.0).start().await.unwrap();
    assert_eq!(second.get::<Backup>("nightly").await.unwrap(), before);
    second.stop().await;
}
