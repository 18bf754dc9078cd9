//! A runtime that fails, lies by silence, and forgets to tell.

use std::time::Duration;

use orchestra_core::model::{Pod, Probe};
use orchestra_testkit::sim_runtime::{SimFault, SimFaults, SimOp, SimWhat};

use crate::rig::{Rig, web};

#[tokio::test(start_paused = true)]
async fn a_lost_answer_doubles_nothing() {
    for op in [SimOp::Pull, SimOp::RunSandbox, SimOp::Create, SimOp::Start] {
        for fault in [SimFault::After, SimFault::Before, SimFault::Hang] {
            // A pull that does not end is waited for longer than a test is patient.
            if (op, fault) == (SimOp::Pull, SimFault::Hang) {
                continue;
            }
            let rig = Rig::new().await;
            rig.runtime.fail_next(op, fault);
            rig.runtime.fail_next(op, fault);
            let uid = rig.create("web", web()).await;
            rig.ready("web").await;
            assert_eq!(rig.runtime.live().len(), 1, "{op:?} {fault:?}");
            assert_eq!(rig.runtime.sandboxes(), 1, "{op:?} {fault:?}");
            assert_eq!(rig.times(&uid, |r| r.what == SimWhat::Started).len(), 1, "{op:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_answer_is_lost_still_ends_everything() {
    for op in [SimOp::Stop, SimOp::StopSandbox, SimOp::RemoveSandbox] {
        for fault in [SimFault::After, SimFault::Before, SimFault::Hang] {
            let rig = Rig::new().await;
            rig.create("web", web()).await;
            rig.ready("web").await;
            rig.runtime.fail_next(op, fault);
            rig.delete("web").await;
            rig.gone("web").await;
            assert_eq!(rig.runtime.sandboxes(), 0, "{op:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_in_the_middle_of_a_start_leaves_nothing() {
    for op in [SimOp::Pull, SimOp::RunSandbox, SimOp::Create, SimOp::Start] {
        let rig = Rig::new().await;
        rig.runtime.set_latency(op, Duration::from_secs(10), Duration::from_secs(10));
        rig.create("web", web()).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.delete("web").await;
        rig.gone("web").await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(rig.runtime.sandboxes(), 0, "{op:?}");
        assert!(rig.runtime.live().is_empty(), "{op:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_nobody_told_of_is_found_within_the_resync() {
    let rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    let mut faults = SimFaults::none();
    faults.lose_event = 1.0;
    rig.runtime.set_faults(faults);
    let killed = rig.client.clock().now();
    rig.runtime.kill(&uid, "web");
    rig.wait("web", "restarted", |p| p.status.container_statuses[0].restart_count == 1).await;
    let started = *rig.times(&uid, |r| r.what == SimWhat::Started).last().unwrap();
    assert!(started.since(killed) <= Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_changes_nothing() {
    let rig = Rig::new().await;
    rig.create("web", web()).await;
    rig.ready("web").await;
    let live = rig.runtime.live();
    rig.runtime.set_available(false);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(rig.pod("web").await.is_ready(), "no answer is not an empty answer");
    rig.create("late", web()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.runtime.set_available(true);
    rig.ready("late").await;
    assert_eq!(rig.runtime.live().len(), 2);
    assert!(rig.runtime.live().contains(&live[0]));
}

/// How many histories of faults are tried: some seconds' worth. The simulator tries many more.
const SEEDS: u64 = 8;

/// Everything goes wrong at random, then nothing does: no container was ever doubled, and all is as it should be.
#[tokio::test(start_paused = true)]
async fn chaos_and_then_peace() {
    for seed in 0..SEEDS {
        let mut rig = Rig::without_agent().await;
        rig.runtime = orchestra_testkit::sim_runtime::SimRuntime::with_clock(
            orchestra_core::rng::Rng::seeded(seed),
            std::sync::Arc::clone(rig.client.clock()),
            std::net::Ipv4Addr::new(10, 0, 0, 1),
        );
        rig.runtime.any_image(orchestra_testkit::sim_runtime::SimProgram::service());
        rig.start_agent().await;
        rig.runtime.set_faults(SimFaults::all(0.15));
        let probe = Probe::tcp(80).period(10);
        let mut spec = web().grace_period(3);
        spec.containers[0].readiness_probe = Some(probe);
        for round in 0..4 {
            for i in 0..5 {
                rig.create(&format!("web-{round}-{i}"), spec.clone()).await;
            }
            tokio::time::sleep(Duration::from_secs(7)).await;
            no_doubles(&rig, seed);
            if round % 2 == 1 {
                rig.kill_agent().await;
                rig.runtime.reboot();
                rig.start_agent().await;
            }
            for i in 0..2 {
                rig.delete(&format!("web-{round}-{i}")).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        no_doubles(&rig, seed);
        rig.runtime.heal();
        for round in 0..4 {
            for i in 0..5 {
                let name = format!("web-{round}-{i}");
                if i < 2 { rig.gone(&name).await } else { drop(rig.ready(&name).await) }
            }
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(rig.runtime.live().len(), 12, "seed {seed}");
        assert_eq!(rig.runtime.sandboxes(), 12, "seed {seed}");
        // And then there is peace: nothing is written, nothing is done.
        let (records, pods) =
            (rig.runtime.records().len(), rig.client.list::<Pod>(&Default::default()).await.unwrap());
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(rig.runtime.records().len(), records, "seed {seed}");
        let later = rig.client.list::<Pod>(&Default::default()).await.unwrap();
        assert_eq!(later.items, pods.items, "seed {seed}");
    }
}

fn no_doubles(rig: &Rig, seed: u64) {
    let live = rig.runtime.live();
    let mut names: Vec<_> = live.iter().map(|c| (&c.pod, &c.container)).collect();
    names.dedup();
    assert_eq!(names.len(), live.len(), "seed {seed}: {live:?}");
}
