//! The certificates that a cluster's Ingresses name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orchestra_core::engine::Cache;
use orchestra_core::model::{Ingress, ObjectKey, Revision, Secret};
use tokio::sync::Notify;

use super::data_plane::DataPlane;
use super::gateway::{GatewayOptions, told};
use crate::tls::{Identity, ServerTls, TlsError};

/// The type of a Secret that holds a certificate, and its entries.
const TYPE: &str = "kubernetes.io/tls";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

impl DataPlane {
    /// Has `tls` show, beside its own certificates, those that the cluster's Ingresses name in `tls`: for the hosts that they say
    /// there, or, where they say none, those that the certificate is for. They are in Secrets of the Ingress's namespace, of the
    /// type `kubernetes.io/tls`, and a change of one counts from the next handshake on. For a host that `tls` has a certificate of
    /// its own for, that one counts; of two Ingresses for one host, the one that was created first.
    ///
    /// What can't be shown is told as a warning, once. Of HTTP routes there are none to follow: their certificates are a matter of the
    /// gateway.
    pub fn follow_tls(&self, tls: &ServerTls, options: GatewayOptions) {
        let changed = Arc::new(Notify::new());
        let (ingresses, secrets) = (self.caches.of::<Ingress>(), self.caches.of::<Secret>());
        let tell = Arc::clone(&changed);
        ingresses.on_change(move |_change| tell.notify_one());
        let tell = Arc::clone(&changed);
        secrets.on_change(move |change| {
            if [change.old, change.new].into_iter().flatten().any(|secret| secret.type_ == TYPE) {
                tell.notify_one();
            }
        });
        let (parsed, refused) = (BTreeMap::new(), BTreeSet::new());
        let follower = Follower { tls: tls.clone(), options, ingresses, secrets, parsed, refused };
        self.tasks.spawn("gateway-certificates", follower.follow(changed));
    }
}

struct Follower {
    tls: ServerTls,
    options: GatewayOptions,
    ingresses: Arc<Cache<Ingress>>,
    secrets: Arc<Cache<Secret>>,
    /// What is in the Secrets that are named, so that a change of one has only that one read.
    parsed: BTreeMap<ObjectKey, (Revision, Result<Identity, String>)>,
    /// What was told already.
    refused: BTreeSet<String>,
}

impl Follower {
    async fn follow(mut self, changed: Arc<Notify>) {
        self.ingresses.synced().await;
        self.secrets.synced().await;
        loop {
            self.renew();
            changed.notified().await;
        }
    }

    fn renew(&mut self) {
        let mut ingresses = self.ingresses.list();
        ingresses.retain(|ingress| self.options.has_ingress(ingress));
        ingresses.sort_by_cached_key(|ingress| {
            let meta = &ingress.metadata;
            (meta.creation_timestamp, meta.namespace.clone(), meta.name.clone())
        });
        let (mut identities, mut refused, mut named) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for ingress in &ingresses {
            let meta = &ingress.metadata;
            // Without a Secret it is for the listener's own certificates.
            for entry in ingress.spec.tls.iter().filter(|entry| !entry.secret_name.is_empty()) {
                let key = ObjectKey::new::<Secret>(meta.namespace.as_str(), entry.secret_name.as_str());
                match self.identity(&key) {
                    Ok(identity) => identities.push(identity.for_hosts(&entry.hosts)),
                    Err(why) => drop(refused.insert(format!(
                        "Ingress {}/{}: Secret {}: {why}",
                        meta.namespace, meta.name, entry.secret_name
                    ))),
                }
                named.insert(key);
            }
        }
        self.parsed.retain(|key, _| named.contains(key));
        for error in refused.difference(&self.refused) {
            tracing::warn!(%error, "leaves out a certificate");
        }
        self.refused = refused;
        tracing::debug!(certificates = identities.len(), "shows the certificates of the cluster's Ingresses");
        self.tls.follow(identities);
    }

    fn identity(&mut self, key: &ObjectKey) -> Result<Identity, String> {
        let Some(secret) = self.secrets.get(key) else {
            self.parsed.remove(key);
            return Err("there is none".to_owned());
        };
        let revision = secret.metadata.resource_version;
        match self.parsed.get(key) {
            Some((known, result)) if *known == revision => result.clone(),
            _ => {
                let result = read(&secret).and_then(|found| found.map_err(|error| told(&error)));
                self.parsed.insert(key.clone(), (revision, result.clone()));
                result
            }
        }
    }
}

fn read(secret: &Secret) -> Result<Result<Identity, TlsError>, String> {
    if secret.type_ != TYPE {
        return Err(format!("its type is {:?}, not {TYPE:?}", secret.type_));
    }
    let entry = |name: &str| secret.data.get(name).ok_or(format!("it has no entry {name}"));
    Ok(Identity::from_pem(entry(CHAIN)?.as_bytes(), entry(KEY)?.as_bytes()))
}
