//! Claims: which volume they have.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::used;
use crate::client::{Client, ClientError, ListOptions};
use crate::engine::{Cache, Index, Next, ReconcileError, Reconciler, Recorder};
use crate::model::{
    ClaimPhase, EventType, ObjectKey, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimStatus, Pod, StorageClass,
};

/// How soon a claim is looked at again that only the store knows a user of: by then the cache does, too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Brings each claim to its volume.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(super) volumes: Arc<Cache<PersistentVolume>>,
    pub(super) classes: Arc<Cache<StorageClass>>,
    /// The pods that use a claim.
    pub(super) users: Index<Pod, ObjectKey>,
    pub(super) recorder: Recorder,
}

/// What is to be done about a claim without a volume.
#[derive(Debug, PartialEq)]
enum Search {
    /// It gets this class.
    Class(String),
    /// It gets this volume.
    Take(Arc<PersistentVolume>),
    /// It waits, for this reason: one CamelCase word, and a text for people.
    Wait(&'static str, String),
}

#[async_trait]
impl Reconciler for Claims {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Next::OnChange) };
        let client = client.namespace(Arc::clone(&key.namespace));
        if claim.metadata.is_deleting() {
            return self.let_go(&claim, &client).await;
        }
        if !claim.metadata.is_held_by(PersistentVolumeClaim::FINALIZER) {
            let mut held = (*claim).clone();
            held.metadata.finalizers.push(PersistentVolumeClaim::FINALIZER.to_owned());
            client.update(held).await?;
            return Ok(Next::OnChange);
        }
        if claim.spec.volume_name.is_empty() {
            return self.search(&claim, &client).await;
        }
        let name = &claim.spec.volume_name;
        let volume = self.volumes.get(&ObjectKey::new::<PersistentVolume>("", name.as_str()));
        let had = matches!(claim.status.phase, Some(ClaimPhase::Bound | ClaimPhase::Lost));
        match volume {
            Some(volume) if is_taken_by(&volume, &claim) => report(&claim, &volume, &client).await?,
            Some(volume) if volume.suits(&claim) => bind(&claim, &volume, &client).await?,
            // It may be bound by a commit that this cache has not seen yet.
            None if !had => report_phase(&claim, ClaimPhase::Pending, &client).await?,
            Some(_) if !had => {
                let why = format!(
                    "volume {name}, which it asks for by name, is another claim's or does not suit it"
                );
                self.tell(&claim, &client, EventType::Warning, "FailedBinding", why);
                report_phase(&claim, ClaimPhase::Pending, &client).await?;
            }
            _ => {
                // Only the store may say that the volume is gone.
                let stored = client.find::<PersistentVolume>(name).await?;
                if stored.is_none_or(|stored| !is_taken_by(&stored, &claim)) {
                    let why = format!("volume {name} is gone, and with it what was in it: make a new claim");
                    if claim.status.phase == Some(ClaimPhase::Bound) {
                        self.tell(&claim, &client, EventType::Warning, "ClaimLost", why);
                    }
                    report_phase(&claim, ClaimPhase::Lost, &client).await?;
                }
            }
        }
        Ok(Next::OnChange)
    }
}

impl Claims {
    /// Lets a claim go that is being deleted, once no pod uses it.
    async fn let_go(&self, claim: &PersistentVolumeClaim, client: &Client) -> Result<Next, ReconcileError> {
        let key = ObjectKey::of(claim);
        if !claim.metadata.is_held_by(PersistentVolumeClaim::FINALIZER) || self.users.count(&key) > 0 {
            return Ok(Next::OnChange);
        }
        // Only the store may say that nobody uses it: the cache may not show the newest pod yet, whose data this would be.
        let pods = client.list::<Pod>(&ListOptions::default()).await?;
        if pods.items.iter().any(|pod| used(pod).contains(&key)) {
            return Ok(Next::After(LOOK_AGAIN));
        }
        let mut free = claim.clone();
        free.metadata.finalizers.retain(|name| name != PersistentVolumeClaim::FINALIZER);
        client.update(free).await?;
        Ok(Next::OnChange)
    }

    async fn search(&self, claim: &PersistentVolumeClaim, client: &Client) -> Result<Next, ReconcileError> {
        match self.find(claim) {
            Search::Class(class) => {
                let mut claim = claim.clone();
                claim.spec.storage_class_name = Some(class);
                client.update(claim).await?;
            }
            Search::Take(volume) => bind(claim, &volume, client).await?,
            Search::Wait(reason, why) => {
                if claim.status.phase.is_none() {
                    self.tell(claim, client, EventType::Normal, reason, why);
                }
                report_phase(claim, ClaimPhase::Pending, client).await?;
            }
        }
        Ok(Next::OnChange)
    }

    fn find(&self, claim: &PersistentVolumeClaim) -> Search {
        if claim.spec.storage_class_name.is_none()
            && let Some(class) = self.default_class()
        {
            return Search::Class(class);
        }
        let volumes = self.volumes.list();
        let suiting = || volumes.iter().filter(|volume| volume.suits(claim));
        // One that is kept for it comes first, also where its class waits for a pod.
        if let Some(kept) = suiting().find(|volume| volume.is_of(claim)) {
            return Search::Take(Arc::clone(kept));
        }
        let name = claim.class_name();
        let class = self.classes.get(&ObjectKey::new::<StorageClass>("", name));
        if class.as_ref().is_some_and(|class| class.waits()) {
            let why = "waits for the first pod that uses it";
            return Search::Wait("WaitForFirstConsumer", why.to_owned());
        }
        let smallest = suiting().min_by_key(|volume| (volume.size(), volume.metadata.name.clone()));
        if let Some(volume) = smallest {
            return Search::Take(Arc::clone(volume));
        }
        let of = if name.is_empty() { "without a class".to_owned() } else { format!("of class {name}") };
        Search::Wait(
            "FailedBinding",
            format!(
                "there is no free volume {of} that suits it; make one, or ask for a class that makes them"
            ),
        )
    }

    /// The class of claims that ask for none: of several the newest.
    fn default_class(&self) -> Option<String> {
        let mut classes = self.classes.list();
        classes.retain(|class| class.is_default() && !class.metadata.is_deleting());
        classes.sort_by_key(|class| {
            (std::cmp::Reverse(class.metadata.creation_timestamp), class.metadata.name.clone())
        });
        classes.first().map(|class| class.metadata.name.clone())
    }

    fn tell(
        &self,
        claim: &PersistentVolumeClaim,
        client: &Client,
        kind: EventType,
        reason: &str,
        message: String,
    ) {
        self.recorder.event(&**client.clock(), claim, kind, reason, message);
    }
}

async fn report_phase(
    claim: &PersistentVolumeClaim,
    phase: ClaimPhase,
    client: &Client,
) -> Result<(), ClientError> {
    let status = PersistentVolumeClaimStatus { phase: Some(phase), ..claim.status.clone() };
    set_status(claim, status, client).await
}

/// Writes down that the claim has its volume.
async fn report(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    client: &Client,
) -> Result<(), ClientError> {
    let status = PersistentVolumeClaimStatus {
        phase: Some(ClaimPhase::Bound),
        access_modes: volume.spec.access_modes.clone(),
        capacity: volume.spec.capacity.clone(),
        ..claim.status.clone()
    };
    set_status(claim, status, client).await
}

async fn set_status(
    claim: &PersistentVolumeClaim,
    status: PersistentVolumeClaimStatus,
    client: &Client,
) -> Result<(), ClientError> {
    if status != claim.status {
        client.update_status(PersistentVolumeClaim { status, ..claim.clone() }).await?;
    }
    Ok(())
}

/// Makes a volume a claim's, in one commit. Whoever changed either meanwhile wins.
async fn bind(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    client: &Client,
) -> Result<(), ClientError> {
    let mut volume = volume.clone();
    volume.spec.claim_ref = Some(ObjectReference::to(claim));
    let mut claim = claim.clone();
    volume.metadata.name.clone_into(&mut claim.spec.volume_name);
    client.transaction().update(volume).update(claim).commit().await.map(drop)
}

/// Whether the volume is this claim's.
pub(super) fn is_taken_by(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|of| of.uid == claim.metadata.uid)
}
