use std::collections::BTreeSet;
use std::time::Duration;

use super::situation::UNDONE;
use super::template::without_hash;
use super::*;
use crate::client::DeleteOptions;
use crate::controller::testing::{World, service, web};
use crate::controller::workload::is_held_back;
use crate::model::{ConditionStatus, IntOrPercent, ObjectMeta, Revision, StrategyType};
use crate::rollout::{BlueGreen, RollingUpdate, RolloutView};

fn progressing(deployment: &Deployment) -> &Condition {
    Condition::find(&deployment.status.conditions, "Progressing").unwrap()
}

async fn set_image(world: &World, image: &str) {
    world.client.modify::<Deployment>("web", |d| d.main_container().image = image.to_owned()).await.unwrap();
}

async fn annotate(world: &World, key: &str, value: &str) {
    let annotate = |d: &mut Deployment| drop(d.metadata.annotations.insert(key.to_owned(), value.to_owned()));
    world.client.modify("web", annotate).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rolls_out_within_its_bounds_also_with_a_new_version_in_the_middle() {
    for (seed, replicas, surge, unavailable) in [
        (1, 10, "25%", "25%"),
        (2, 7, "0", "1"),
        (3, 5, "1", "0"),
        (4, 1, "25%", "25%"),
        (5, 12, "100%", "50%"),
    ] {
        let world = World::start(seed).await;
        let mut deployment = web("v1", replicas);
        let mut rolling = deployment.spec.strategy.rolling();
        rolling.max_surge = surge.parse::<IntOrPercent>().unwrap();
        rolling.max_unavailable = unavailable.parse::<IntOrPercent>().unwrap();
        deployment.spec.strategy.rolling_update = Some(rolling);
        world.client.create(service()).await.unwrap();
        world.client.create(deployment).await.unwrap();
        world.rolled_out("web").await;
        let begin = world.revision().await;
        set_image(&world, "v2").await;
        world
            .wait::<Deployment>("web", |d| d.status.updated_replicas > 0 && d.status.observed_generation == 2)
            .await;
        set_image(&world, "v3").await;
        let deployment = world.rolled_out("web").await;
        assert_eq!(progressing(&deployment).reason, "NewReplicaSetAvailable");
        assert!(Condition::find(&deployment.status.conditions, "Available").unwrap().is_true());
        assert_eq!(deployment.metadata.annotations.value(REVISION), Some("3"));
        assert_eq!(world.images().await, [("v3".to_owned(), replicas as usize)].into());
        world.replay(begin, crate::controller::testing::State::check_bounds).await;
        world.quiet().await;
        let settled = world.client.get::<Deployment>("web").await.unwrap();
        assert_eq!(settled.status.terminating_replicas, Some(0));
        let before = world.revision().await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(world.revision().await, before, "nothing is written when nothing is left to do");
        world.tasks.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_crashes_stops_by_itself_fails_and_is_undone() {
    let world = World::start(7).await;
    let deployment = web("v1", 6).annotation(ROLLBACK_ON_FAILURE, "true").progress_deadline(120);
    world.client.create(service()).await.unwrap();
    world.client.create(deployment).await.unwrap();
    world.rolled_out("web").await;
    let begin = world.revision().await;
    set_image(&world, "crash").await;
    let started = tokio::time::Instant::now();
    let failed = world
        .wait::<Deployment>("web", |d| Condition::find(&d.status.conditions, ROLLED_BACK).is_some())
        .await;
    let condition = Condition::find(&failed.status.conditions, ROLLED_BACK).unwrap();
    assert_eq!(condition.reason, "ProgressDeadlineExceeded");
    assert!(condition.message.starts_with("revision 2 failed: "), "{}", condition.message);
    let took = started.elapsed().as_secs();
    assert!((120..=130).contains(&took), "failed after {took} s");
    let back = world.wait::<Deployment>("web", |d| d.main().image == "v1" && is_rolled_out(d)).await;
    assert_eq!(back.metadata.annotations.value(REVISION), Some("3"));
    assert!(back.metadata.annotations.contains_key(UNDONE));
    assert_eq!(world.images().await, [("v1".to_owned(), 6)].into());
    world.replay(begin, crate::controller::testing::State::check_bounds).await;
    // A good version after that: the mark goes.
    set_image(&world, "v3").await;
    let good = world.rolled_out("web").await;
    assert!(Condition::find(&good.status.conditions, ROLLED_BACK).is_none());
    assert!(!good.metadata.annotations.contains_key(UNDONE), "and the note of what it was set back to");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_ready_only_until_it_crashes_fails_at_the_deadline() {
    let world = World::start(19).await;
    world.client.create(web("v1", 4).progress_deadline(120)).await.unwrap();
    world.rolled_out("web").await;
    set_image(&world, "flap").await;
    let failed = |d: &Deployment| progressing(d).reason == "ProgressDeadlineExceeded";
    world.wait::<Deployment>("web", failed).await;
    assert_eq!(world.images().await.get("v1"), Some(&3), "maxUnavailable is one");
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_fails_earlier_where_crashes_are_counted() {
    let world = World::start(8).await;
    world.client.create(web("v1", 3).annotation(crate::rollout::FAIL_AFTER_RESTARTS, "2")).await.unwrap();
    world.rolled_out("web").await;
    set_image(&world, "crash").await;
    let started = tokio::time::Instant::now();
    let failed = world.wait::<Deployment>("web", |d| progressing(d).reason == "CrashLoop").await;
    assert_eq!(progressing(&failed).status, ConditionStatus::False);
    assert!(started.elapsed() < Duration::from_secs(40));
    // Nobody asked for undoing it: the corrected version goes through.
    assert_eq!(failed.main().image, "crash");
    set_image(&world, "v3").await;
    world.rolled_out("web").await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn goes_back_to_any_revision_that_is_kept() {
    let world = World::start(9).await;
    let mut deployment = web("v1", 2);
    deployment.spec.revision_history_limit = 12;
    world.client.create(deployment).await.unwrap();
    world.rolled_out("web").await;
    for version in 2..=14 {
        set_image(&world, &format!("v{version}")).await;
        world.rolled_out("web").await;
    }
    world.quiet().await;
    assert_eq!(world.sets().await.len(), 13, "the one that runs and twelve old ones");
    let refused = world.client.undo_rollout("web", 1).await.unwrap_err().to_string();
    let expected = "Deployment.apps default/web was refused: there is no revision 1; those kept are \
                    2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14";
    assert_eq!(refused, expected);
    for (to, image, revision) in [(9, "v9", "15"), (0, "v14", "16"), (10, "v10", "17"), (12, "v12", "18")] {
        let wanted = world.sets().await;
        let wanted = wanted
            .iter()
            .find(|s| to > 0 && undo::revision_of(s) == to)
            .map(|s| without_hash(&s.spec.template));
        world.client.undo_rollout("web", to).await.unwrap();
        let back = world.rolled_out("web").await;
        assert_eq!(back.main().image, image);
        assert!(wanted.is_none_or(|wanted| wanted == back.spec.template), "S27");
        assert_eq!(back.metadata.annotations.value(REVISION), Some(revision));
        assert_eq!(world.images().await, [(image.to_owned(), 2)].into());
    }
    annotate(&world, UNDO_TO, "11").await;
    let back = world.wait::<Deployment>("web", |d| d.main().image == "v11" && is_rolled_out(d)).await;
    assert!(!back.metadata.annotations.contains_key(UNDO_TO));
    annotate(&world, UNDO_TO, "99").await;
    world.wait::<Deployment>("web", |d| !d.metadata.annotations.contains_key(UNDO_TO)).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_versions_but_not_scaling() {
    let world = World::start(10).await;
    world.client.create(web("v1", 3)).await.unwrap();
    world.rolled_out("web").await;
    world.client.modify::<Deployment>("web", |d| d.spec.paused = true).await.unwrap();
    set_image(&world, "v2").await;
    world.client.scale::<Deployment>("web", 5).await.unwrap();
    let paused = world.wait::<Deployment>("web", |d| d.status.available_replicas == 5).await;
    assert_eq!(
        (progressing(&paused).reason.as_str(), progressing(&paused).status),
        ("DeploymentPaused", ConditionStatus::Unknown)
    );
    assert_eq!(world.images().await, [("v1".to_owned(), 5)].into());
    world.quiet().await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    world.client.modify::<Deployment>("web", |d| d.spec.paused = false).await.unwrap();
    world.wait::<Deployment>("web", |d| d.status.updated_replicas > 0).await;
    let done = world.rolled_out("web").await;
    assert_ne!(progressing(&done).reason, "ProgressDeadlineExceeded", "the deadline runs anew");
    assert_eq!(world.images().await, [("v2".to_owned(), 5)].into());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn scaling_keeps_one_version_at_the_desired_size() {
    let world = World::start(11).await;
    world.client.create(service()).await.unwrap();
    world.client.create(web("v1", 2)).await.unwrap();
    world.rolled_out("web").await;
    for replicas in [6, 2, 0, 4] {
        world.client.scale::<Deployment>("web", replicas).await.unwrap();
        let deployment = world.rolled_out("web").await;
        assert_eq!((deployment.status.replicas, world.pods().await.len()), (replicas, replicas as usize));
    }
    assert_eq!(world.sets().await.len(), 1);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_owns_is_left_alone_and_what_nobody_owns_is_taken_up() {
    let world = World::start(12).await;
    world.client.create(web("v1", 2)).await.unwrap();
    world.rolled_out("web").await;
    let set = (*world.sets().await[0]).clone();
    // Another deployment's replica set, with the very same labels and template: same name as owner, another uid.
    let mut foreign = set.clone();
    foreign.metadata.name = "web-foreign".into();
    foreign.metadata.owner_references[0].uid = "another".into();
    foreign.spec.replicas = 0;
    world.client.create(foreign).await.unwrap();
    // One that nobody owns.
    let mut orphan = set.clone();
    orphan.metadata.name = "web-orphan".into();
    orphan.metadata.owner_references.clear();
    orphan.metadata.annotations = Default::default();
    orphan.spec.replicas = 0;
    orphan.spec.template.spec_mut().containers[0].image = "v0".into();
    world.client.create(orphan).await.unwrap();
    let owner = set.metadata.owner_references[0].uid.clone();
    world.wait::<ReplicaSet>("web-orphan", |s| s.metadata.controller().is_some_and(|o| o.uid == owner)).await;
    world.quiet().await;
    let foreign = world.client.get::<ReplicaSet>("web-foreign").await.unwrap();
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    world.quiet().await;
    let after = world.client.get::<ReplicaSet>("web-foreign").await.unwrap();
    assert_eq!(after.metadata.resource_version, foreign.metadata.resource_version, "S25");
    // The other way round: a new owner of the old name does not take over what the deleted one left.
    world.client.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    let again = world.client.create(web("v2", 1)).await.unwrap();
    world.rolled_out("web").await;
    let sets = world.sets().await;
    let owned: Vec<_> =
        sets.iter().filter(|s| s.metadata.controller().unwrap().uid == again.metadata.uid).collect();
    assert_eq!(owned.len(), 1, "a name that is taken gets a number");
    assert_eq!(owned[0].spec.replicas, 1);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn recreate_never_runs_two_versions() {
    let world = World::start(13).await;
    let mut deployment = web("v1", 3);
    deployment.spec.strategy.type_ = StrategyType::Recreate;
    world.client.create(deployment).await.unwrap();
    world.rolled_out("web").await;
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    world
        .replay(Revision::ZERO, |state| {
            let images: BTreeSet<_> =
                state.pods.values().map(|p| p.spec.containers[0].image.clone()).collect();
            assert!(images.len() <= 1, "{images:?} at once");
        })
        .await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn recreate_by_name_may_end_all_pods_as_by_strategy() {
    let world = World::start(22).await;
    world.client.create(service()).await.unwrap();
    world.client.create(web("v1", 3).annotation(ROLLOUT, "recreate")).await.unwrap();
    world.rolled_out("web").await;
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn blue_and_green_never_have_traffic_together() {
    let rollouts = Rollouts::new().with("blue-green", BlueGreen::new().keep_old(Duration::from_secs(60)));
    let world = World::with(14, rollouts).await;
    world.client.create(service()).await.unwrap();
    world.client.create(web("v1", 4).annotation(ROLLOUT, "blue-green").progress_deadline(300)).await.unwrap();
    world.rolled_out("web").await;
    let begin = world.revision().await;
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    assert!(world.pods().await.iter().all(|pod| !is_held_back(pod)));
    // A bad one never gets traffic, and is undone without being asked for.
    set_image(&world, "crash").await;
    world.wait::<Deployment>("web", |d| d.main().image == "v2" && is_rolled_out(d)).await;
    let mut switched = BTreeSet::new();
    world
        .replay(begin, |state| {
            let listed = state.listed();
            let live = state.pods.values().filter(|p| listed.contains(&p.metadata.uid));
            let images: BTreeSet<_> = live.map(|p| p.spec.containers[0].image.clone()).collect();
            assert!(images.len() <= 1, "{images:?} at once at revision {:?}", state.revision);
            switched.extend(images);
            assert!(listed.len() >= 4, "the switch leaves nobody without a pod");
        })
        .await;
    assert_eq!(switched, ["v1".to_owned(), "v2".to_owned()].into());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_rollout_is_told_and_nothing_happens() {
    let world = World::start(15).await;
    world.client.create(web("v1", 2).annotation(ROLLOUT, "wishful")).await.unwrap();
    let told = world.wait::<Deployment>("web", |d| !d.status.conditions.is_empty()).await;
    assert_eq!(progressing(&told).reason, "UnknownRollout");
    assert!(progressing(&told).message.contains("`wishful`"));
    assert!(world.sets().await.is_empty());
    annotate(&world, ROLLOUT, "rolling-update").await;
    world.rolled_out("web").await;
    world.tasks.shutdown().await;
}

/// A rollout that would end all old pods at once.
#[derive(Debug)]
struct Reckless;

impl crate::rollout::Rollout for Reckless {
    fn step(&self, view: &RolloutView<'_>, now: crate::model::Timestamp) -> RolloutStep {
        let step = RolloutStep::judged(view, now).scale(&view.new, view.replicas);
        view.old.iter().fold(step, |step, old| step.scale(old, 0))
    }
}

/// Panics at versions of an image that is called so.
#[derive(Debug)]
struct Panicky;

impl crate::rollout::Rollout for Panicky {
    fn step(&self, view: &RolloutView<'_>, now: crate::model::Timestamp) -> RolloutStep {
        assert!(view.replicas != 13, "thirteen");
        RollingUpdate::new().step(view, now)
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_panics_is_asked_again() {
    let world = World::with(20, Rollouts::new().with("panicky", Panicky)).await;
    // More than there are workers.
    for i in 0..10 {
        let deployment = Deployment { metadata: ObjectMeta::named(format!("bad-{i}")), ..web("v1", 13) };
        world.client.create(deployment.annotation(ROLLOUT, "panicky")).await.unwrap();
    }
    world.client.create(web("v1", 2).annotation(ROLLOUT, "panicky")).await.unwrap();
    world.rolled_out("web").await;
    world.client.scale::<Deployment>("bad-3", 1).await.unwrap();
    world.rolled_out("bad-3").await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_rollout_takes_pods_below_the_floor() {
    let world = World::with(16, Rollouts::new().with("reckless", Reckless)).await;
    world.client.create(service()).await.unwrap();
    world.client.create(web("v1", 5).annotation(ROLLOUT, "reckless")).await.unwrap();
    world.rolled_out("web").await;
    let begin = world.revision().await;
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    world
        .replay(begin, |state| {
            assert!(state.available() >= 4, "{} at {:?}", state.available(), state.revision)
        })
        .await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_control_planes_make_no_pod_twice() {
    let world = World::start(17).await;
    world.run_workloads(Rollouts::new().with("rolling-update", RollingUpdate::new()));
    world.client.create(web("v1", 20)).await.unwrap();
    world.rolled_out("web").await;
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    world.quiet().await;
    let mut made = 0;
    world
        .replay(Revision::ZERO, |state| {
            made = state.pods_made;
            assert!(state.alive().count() <= 25, "S24");
        })
        .await;
    assert_eq!(made, 40);
    assert_eq!(world.sets().await.len(), 2);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pods_lost_after_the_rollout_are_no_failed_rollout() {
    let world = World::start(18).await;
    let deployment = web("v1", 3).annotation(ROLLBACK_ON_FAILURE, "true").progress_deadline(60);
    world.client.create(deployment).await.unwrap();
    world.rolled_out("web").await;
    set_image(&world, "v2").await;
    world.rolled_out("web").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    for pod in world.pods().await {
        let broken = |pod: &mut Pod| {
            let at = world.start;
            pod.set_condition(Condition::new("Ready", false, at).reason("Broken"));
        };
        world.client.modify_status(&pod.metadata.name, broken).await.unwrap();
    }
    let lost = world.wait::<Deployment>("web", |d| d.status.available_replicas == 0).await;
    assert!(!Condition::find(&lost.status.conditions, "Available").unwrap().is_true());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let after = world.client.get::<Deployment>("web").await.unwrap();
    assert_eq!(after.main().image, "v2", "it is not undone for that");
    assert_eq!(progressing(&after).status, ConditionStatus::True);
    world.tasks.shutdown().await;
}

trait Main {
    fn main(&self) -> &crate::model::Container;
}

impl Main for Deployment {
    fn main(&self) -> &crate::model::Container {
        &self.spec.template.spec.containers[0]
    }
}
