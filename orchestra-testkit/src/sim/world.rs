//! What all parts of one simulation share: the seed's numbers, the trace, and the book of what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::model::{AnyObject, GroupKind, ObjectKey, Revision, Timestamp, Uid};
use orchestra_core::rng::Rng;
use orchestra_core::store::{Listing, MemoryStore, Scope, WatchEvent};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Options;
use super::check::{Check, Found, WatchLog};
use super::event::{Committed, Event, Ground, Request};
use super::process::Actor;
use super::trace::Trace;
use super::view::{Objects, Truth, View};

/// The wall-clock time at which every simulation starts: in January 2027.
const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The first objects are made; nothing goes wrong yet.
    SetUp,
    /// Users act and faults happen.
    Chaos,
    /// Users and faults have stopped.
    Healing,
    /// Nothing may happen any more.
    Quiet,
}

const PHASES: [Phase; 4] = [Phase::SetUp, Phase::Chaos, Phase::Healing, Phase::Quiet];

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number: `S16`.
    pub invariant: &'static str,
    /// When, since the start.
    pub at: Duration,
    /// What is wrong, of which object.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.invariant, self.at.as_secs_f64(), self.what)
    }
}

/// What all parts of one simulation share.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) store: MemoryStore,
    pub(crate) trace: Trace,
    pub(crate) clock: SharedClock,
    /// Decides about interleavings and faults.
    pub(crate) rng: Rng,
    /// Awakes whoever waits for the end when a check failed.
    pub(crate) failed: Notify,
    phase: AtomicU8,
    start: Instant,
    book: Mutex<Book>,
    /// Who watches what, in the order of their coming.
    wakes: Mutex<Vec<(Option<GroupKind>, Weak<Notify>)>>,
}

/// What has happened so far, and who judges it.
struct Book {
    objects: Objects,
    truth: Truth,
    watches: WatchLog,
    told: BTreeMap<Actor, Vec<(Revision, Duration)>>,
    checks: Vec<Box<dyn Check>>,
    violations: Vec<Violation>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("options", &self.options).finish_non_exhaustive()
    }
}

impl World {
    /// A world at its beginning. To be made inside a tokio runtime whose clock is paused.
    pub(crate) fn new(seed: u64, options: &Options) -> Arc<Self> {
        let checks = super::check::all();
        let truth =
            Truth { power: vec![true; options.nodes], agent: vec![false; options.nodes], ..Truth::default() };
        let book = Book {
            objects: Objects::default(),
            truth,
            watches: WatchLog::default(),
            told: BTreeMap::new(),
            checks,
            violations: Vec::new(),
        };
        Arc::new(Self {
            options: options.clone(),
            store: MemoryStore::new(),
            trace: Trace::new(options.whole_trace),
            clock: Arc::new(TokioClock::starting_at(START)),
            rng: Rng::seeded(seed),
            failed: Notify::new(),
            phase: AtomicU8::new(0),
            start: Instant::now(),
            book: Mutex::new(book),
            wakes: Mutex::default(),
        })
    }

    /// The time since the start.
    pub(crate) fn at(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed)).min(PHASES.len() - 1)]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        let index = PHASES.iter().position(|p| *p == phase).unwrap_or(0);
        self.phase.store(u8::try_from(index).unwrap_or(0), Ordering::Relaxed);
        self.note(format_args!("phase {phase:?}"));
    }

    /// Whether a fault of this probability happens now.
    pub(crate) fn strikes(&self, probability: f64) -> bool {
        probability > 0.0 && self.phase() == Phase::Chaos && self.rng.chance(probability)
    }

    /// Whether a mutant that shows itself with this probability does so now.
    pub(crate) fn mutates(&self, mutant: super::Mutant, probability: f64) -> bool {
        self.options.mutant == Some(mutant) && self.phase() == Phase::Chaos && self.rng.chance(probability)
    }

    /// A time from zero up to `most`, in whole milliseconds.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        Duration::from_millis(
            self.rng.below(u64::try_from(most.as_millis()).unwrap_or(u64::MAX).saturating_add(1)),
        )
    }

    /// What every call across a border does: lets others go first, and sometimes takes a while.
    pub(crate) async fn seam(&self) {
        for _ in 0..self.rng.below(4) {
            tokio::task::yield_now().await;
        }
        if self.rng.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(1 + self.rng.below(4))).await;
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        self.trace.note(self.at(), what);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is true now.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&View<'_>) -> R) -> R {
        let book = self.book();
        look(&self.view(&book.objects, &book.truth, &book.told))
    }

    fn view<'a>(
        &'a self,
        objects: &'a Objects,
        truth: &'a Truth,
        told: &'a BTreeMap<Actor, Vec<(Revision, Duration)>>,
    ) -> View<'a> {
        let calm = self.options.is_calm();
        View { options: &self.options, objects, truth, at: self.at(), now: self.clock.now(), calm, told }
    }

    /// Tells the checks of an event, after it was applied to what is true.
    fn tell(&self, book: &mut Book, event: &Event<'_>) {
        let Book { objects, truth, told, checks, violations, .. } = book;
        let view = self.view(objects, truth, told);
        for check in checks {
            let mut found = Found::default();
            check.on(event, &view, &mut found);
            for (invariant, what) in found.0 {
                self.trace.note(view.at, format_args!("VIOLATION {invariant}: {what}"));
                violations.push(Violation { invariant, at: view.at, what });
                self.failed.notify_one();
            }
        }
    }

    /// A commit happened, just now.
    pub(crate) fn committed(&self, seen: &Arc<Committed>) {
        let mut book = self.book();
        let mut found = Found::default();
        book.watches.committed(seen, &mut found);
        // Judged against what was true before it, where a check asks for that: by the changes' own `previous`.
        book.objects.apply(seen);
        self.report(&mut book, found);
        self.tell(&mut book, &Event::Commit(seen));
        drop(book);
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        wakes.retain(|(kind, wake)| {
            let Some(wake) = wake.upgrade() else { return false };
            if kind.as_ref().is_none_or(|kind| seen.changes.iter().any(|change| change.key.kind == *kind)) {
                wake.notify_one();
            }
            true
        });
    }

    /// What wakes a watch of `scope` after each commit.
    pub(crate) fn wakes(&self, scope: &Scope) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        wakes.push((scope.kind.clone(), Arc::downgrade(&wake)));
        wake
    }

    fn report(&self, book: &mut Book, found: Found) {
        for (invariant, what) in found.0 {
            self.note(format_args!("VIOLATION {invariant}: {what}"));
            book.violations.push(Violation { invariant, at: self.at(), what });
            self.failed.notify_one();
        }
    }

    /// A check outside of the book failed.
    pub(crate) fn fail(&self, invariant: &'static str, what: String) {
        let mut found = Found::default();
        found.add(invariant, what);
        self.report(&mut self.book(), found);
    }

    /// A list was answered, as of now.
    pub(crate) fn listed(&self, actor: Actor, scope: &Scope, listing: &Listing) {
        let mut book = self.book();
        let mut found = Found::default();
        let book_ = &mut *book;
        book_.watches.listed(scope, listing, &book_.objects, &mut found);
        remember(&mut book_.told, actor, scope, listing.revision, self.at());
        self.report(&mut book, found);
    }

    /// A watch was begun. Returns its number.
    pub(crate) fn watching(&self, scope: &Scope, after: Revision) -> u64 {
        self.book().watches.begin(scope, after)
    }

    /// A watch delivered an event.
    pub(crate) fn delivered(&self, actor: Actor, watch: u64, scope: &Scope, event: &WatchEvent) {
        let mut book = self.book();
        let mut found = Found::default();
        book.watches.delivered(watch, event, &mut found);
        remember(&mut book.told, actor, scope, event.revision, self.at());
        self.report(&mut book, found);
    }

    /// Something happened in a runtime.
    pub(crate) fn ground(&self, host: usize, pod: &Uid, what: &Ground) {
        self.note(format_args!("node-{host} {pod} {what:?}"));
        let mut book = self.book();
        // A check must see what ran just before.
        self.tell(&mut book, &Event::Ground { host, pod, what });
        let at = self.at();
        book.truth.apply(at, host, pod, what);
    }

    /// An agent called its runtime, to change something.
    pub(crate) fn called(&self, host: usize, call: &'static str, subject: &str) {
        self.note(format_args!("node-{host} calls {call} {subject}"));
        let mut book = self.book();
        self.tell(&mut book, &Event::Called { host, call });
    }

    /// A process of a pod hangs.
    pub(crate) fn hung(&self, host: usize, pod: &Uid) {
        self.note(format_args!("node-{host} {pod} hangs"));
        let mut book = self.book();
        self.tell(&mut book, &Event::Hung { pod });
    }

    /// Something happened to a request.
    pub(crate) fn request(&self, what: &Request) {
        let mut book = self.book();
        self.tell(&mut book, &Event::Request(what));
    }

    /// An agent came up or died.
    pub(crate) fn agent(&self, host: usize, up: bool) {
        self.note(format_args!("node-{host} agent {}", if up { "starts" } else { "dies" }));
        let mut book = self.book();
        book.truth.agent[host] = up;
        self.tell(&mut book, &Event::Agent { host, up });
    }

    /// A host got or lost its power.
    pub(crate) fn power(&self, host: usize, up: bool) {
        self.note(format_args!("node-{host} power {}", if up { "on" } else { "off" }));
        let mut book = self.book();
        book.truth.power[host] = up;
        self.tell(&mut book, &Event::Power { host, up });
    }

    /// Something that concerns everything.
    pub(crate) fn milestone(&self, event: &Event<'_>) {
        self.note(format_args!("{event:?}"));
        let mut book = self.book();
        self.tell(&mut book, event);
    }

    /// The invariants that did not hold so far.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.book().violations.clone()
    }

    /// Any object, by its key.
    pub(crate) fn object(&self, key: &ObjectKey) -> Option<AnyObject> {
        self.book().objects.get(key).cloned()
    }
}

/// Notes up to where an actor has been told of pods.
fn remember(
    told: &mut BTreeMap<Actor, Vec<(Revision, Duration)>>,
    actor: Actor,
    scope: &Scope,
    revision: Revision,
    at: Duration,
) {
    if matches!(actor, Actor::Node(_)) && scope.kind.as_ref().is_some_and(|kind| kind.kind == "Pod") {
        told.entry(actor).or_default().push((revision, at));
    }
}
