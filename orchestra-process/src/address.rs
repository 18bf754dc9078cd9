//! Addresses for pods, out of 127.0.0.0/8.
//!
//! The whole of 127.0.0.0/8 belongs to the loopback interface without any configuration, so a program can bind
//! to any address of it. A runtime claims *blocks* of addresses by binding an abstract Unix socket named after
//! the block: the kernel refuses a second one in the same network namespace, and frees it when its holder dies.
//! Pods outlive the holder, so whoever claims a block also looks whether anything still listens inside it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses in a block, as bits: 1,024, so that a block holds every pod of an ordinary node.
const BLOCK_BITS: u32 = 10;

/// Blocks start at 127.1.0.0: the low addresses are used by name servers and by hand.
const FIRST_BLOCK: u32 = 1 << (16 - BLOCK_BITS);

/// One past the last block: 127.254.255.255 is the last address in use.
const END_BLOCK: u32 = 255 << (16 - BLOCK_BITS);

/// Blocks one runtime may claim. 64 hold 65,000 pods, more than one kernel runs.
const MAX_BLOCKS: usize = 64;

/// How many blocks are tried before giving up. Each costs two system calls.
const MAX_TRIES: u32 = 2048;

/// Hands out the addresses of pods. Each belongs to one pod at a time, and rests before it is used again.
#[derive(Debug)]
pub(crate) struct Addresses {
    quarantine: Duration,
    /// Where the search for blocks starts: derived from the state directory, so that a restart finds its own.
    start: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<u32, UnixDatagram>,
    used: BTreeSet<Ipv4Addr>,
    resting: BTreeMap<Ipv4Addr, Instant>,
    /// The address after which the next one is looked for.
    cursor: Option<Ipv4Addr>,
}

impl Addresses {
    pub(crate) fn new(seed: &str, quarantine: Duration) -> Self {
        Self { quarantine, start: hash(seed), state: Mutex::default() }
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over an address that a pod of an earlier run still holds. Fails softly: where its block went to
    /// somebody else meanwhile, the pod keeps the address, and nothing else is taken out of that block.
    pub(crate) fn adopt(&self, ip: Ipv4Addr) {
        self.with(|state| {
            state.used.insert(ip);
            let block = block_of(ip);
            if let Entry::Vacant(entry) = state.blocks.entry(block) {
                match bind_block(block) {
                    Ok(claim) => drop(entry.insert(claim)),
                    Err(error) => {
                        tracing::warn!(%ip, %error, "another runtime has taken the block of this address")
                    }
                }
            }
        });
    }

    /// Lets an address rest for what is left of its quarantine.
    pub(crate) fn rest(&self, ip: Ipv4Addr, left: Duration) {
        self.with(|state| state.resting.insert(ip, Instant::now() + left.min(self.quarantine)));
    }

    pub(crate) fn quarantine(&self) -> Duration {
        self.quarantine
    }

    /// An address that no pod has, and that none had for the time of the quarantine.
    pub(crate) fn allocate(&self) -> io::Result<Ipv4Addr> {
        self.with(|state| {
            let now = Instant::now();
            if let Some(ip) = state.free(now) {
                return Ok(state.take(ip));
            }
            let (block, claim) = self.claim(state)?;
            state.blocks.insert(block, claim);
            state.cursor = Some(Ipv4Addr::from(base(block)));
            let ip = state.free(now).ok_or_else(|| io::Error::other("a new block has no free address"))?;
            Ok(state.take(ip))
        })
    }

    /// Gives an address back. It rests before the next pod gets it.
    pub(crate) fn release(&self, ip: Ipv4Addr) {
        self.with(|state| {
            if state.used.remove(&ip) && !self.quarantine.is_zero() {
                state.resting.insert(ip, Instant::now() + self.quarantine);
            }
        });
    }

    fn claim(&self, state: &State) -> io::Result<(u32, UnixDatagram)> {
        if state.blocks.len() >= MAX_BLOCKS {
            return Err(io::Error::other(format!(
                "all addresses of {MAX_BLOCKS} blocks are in use or resting; stop pods or shorten the quarantine"
            )));
        }
        let count = END_BLOCK - FIRST_BLOCK;
        let mut listening = None;
        for offset in 0..MAX_TRIES.min(count) {
            let block = FIRST_BLOCK + (self.start.wrapping_add(offset)) % count;
            if state.blocks.contains_key(&block) {
                continue;
            }
            let Ok(claim) = bind_block(block) else { continue };
            let listening = match &listening {
                Some(blocks) => blocks,
                None => listening.insert(listening_blocks()?),
            };
            if !listening.contains(&block) {
                return Ok((block, claim));
            }
        }
        Err(io::Error::other(format!(
            "the {MAX_TRIES} blocks of 127.0.0.0/8 that were tried are all claimed"
        )))
    }
}

impl State {
    fn take(&mut self, ip: Ipv4Addr) -> Ipv4Addr {
        self.resting.remove(&ip);
        self.used.insert(ip);
        self.cursor = Some(ip);
        ip
    }

    /// The first free address after the cursor, going round: the one that rested longest comes last.
    fn free(&self, now: Instant) -> Option<Ipv4Addr> {
        let size = 1 << BLOCK_BITS;
        // Behind the cursor in its own block, then the other blocks in order, then its own from the start.
        let (at, own) = match self.cursor.map(|ip| (u32::from(ip), block_of(ip))) {
            Some((at, own)) if self.blocks.contains_key(&own) => (at, own),
            _ => {
                let first = *self.blocks.first_key_value()?.0;
                (base(first), first)
            }
        };
        let others = self.blocks.range(own + 1..).chain(self.blocks.range(..own));
        let others = others.flat_map(|(block, _)| base(*block) + 1..base(*block) + size - 1);
        let rest = at + 1..base(own) + size - 1;
        let start = base(own) + 1..=at;
        let mut all = rest.chain(others).chain(start).map(Ipv4Addr::from);
        all.find(|ip| !self.used.contains(ip) && self.resting.get(ip).is_none_or(|until| *until <= now))
    }
}

fn base(block: u32) -> u32 {
    (127 << 24) | (block << BLOCK_BITS)
}

fn block_of(ip: Ipv4Addr) -> u32 {
    (u32::from(ip) & 0x00ff_ffff) >> BLOCK_BITS
}

fn bind_block(block: u32) -> io::Result<UnixDatagram> {
    let name = format!("orchestra-process/{}/{}", Ipv4Addr::from(base(block)), 32 - BLOCK_BITS);
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// The blocks in which some socket is bound.
fn listening_blocks() -> io::Result<BTreeSet<u32>> {
    let mut blocks = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/udp"] {
        for line in fs::read_to_string(table)?.lines().skip(1) {
            if let Some(ip) = local_address(line).filter(Ipv4Addr::is_loopback) {
                blocks.insert(block_of(ip));
            }
        }
    }
    Ok(blocks)
}

/// The local address of a line of `/proc/net/tcp`: the second field, as `0100007F:1F90` in the host's order.
fn local_address(line: &str) -> Option<Ipv4Addr> {
    let field = line.split_ascii_whitespace().nth(1)?;
    let number = u32::from_str_radix(field.split_once(':')?.0, 16).ok()?;
    Some(Ipv4Addr::from(number.to_ne_bytes()))
}

/// FNV-1a: spreads state directories over the blocks, and stays the same between runs.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(name: &str) -> String {
        format!("{name}-{}", std::process::id())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_rests_before_it_is_used_again() {
        let addresses = Addresses::new(&seed("rest"), Duration::from_secs(60));
        let first = addresses.allocate().unwrap();
        addresses.release(first);
        let all = (1 << BLOCK_BITS) - 3;
        for _ in 0..all {
            assert_ne!(addresses.allocate().unwrap(), first, "given again while it rests");
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(addresses.allocate().unwrap(), first);
    }

    #[test]
    fn two_runtimes_never_share_an_address() {
        // The same seed: both want the same block.
        let (a, b) =
            (Addresses::new(&seed("two"), Duration::ZERO), Addresses::new(&seed("two"), Duration::ZERO));
        let of_a: BTreeSet<_> = (0..1500).map(|_| a.allocate().unwrap()).collect();
        let of_b: BTreeSet<_> = (0..1500).map(|_| b.allocate().unwrap()).collect();
        assert_eq!((of_a.len(), of_b.len()), (1500, 1500));
        assert!(of_a.is_disjoint(&of_b));
        assert!(of_a.iter().chain(&of_b).all(|ip| ip.is_loopback() && ip.octets()[1] > 0));
    }

    #[test]
    fn a_block_in_which_something_listens_is_left_alone() {
        let first = Addresses::new(&seed("listen"), Duration::ZERO);
        let ip = first.allocate().unwrap();
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        drop(first);
        let second = Addresses::new(&seed("listen"), Duration::ZERO);
        assert_ne!(block_of(second.allocate().unwrap()), block_of(ip));
        drop(listener);
    }

    #[test]
    fn an_adopted_address_is_not_given_to_another_pod() {
        let first = Addresses::new(&seed("adopt"), Duration::ZERO);
        let ip = first.allocate().unwrap();
        drop(first);
        let second = Addresses::new(&seed("adopt"), Duration::ZERO);
        second.adopt(ip);
        assert!((0..1021).all(|_| second.allocate().unwrap() != ip));
    }

    #[test]
    fn local_addresses_are_read_from_the_kernels_tables() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000";
        assert_eq!(local_address(line), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(local_address("nonsense"), None);
    }
}
