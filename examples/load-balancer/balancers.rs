//! Which backend gets a request.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use http::HeaderName;
use orchestra::balance::{
    ConsistentHash, Endpoint, LeastRequests, LoadBalancer, Maglev, PeakEwma, RoundRobin, SlowStart,
    ZoneAware, ZoneOptions,
};
use orchestra::net::HashPolicy;
use serde::Deserialize;

type Make = fn() -> Box<dyn LoadBalancer>;

/// The algorithms, by name. One of your own goes here.
const ALGORITHMS: [(&str, Make); 6] = [
    ("peak-ewma", || Box::new(PeakEwma::default())),
    ("least-requests", || Box::new(LeastRequests::new())),
    ("round-robin", || Box::new(RoundRobin::new())),
    ("consistent-hash", || Box::new(ConsistentHash::default())),
    ("maglev", || Box::new(Maglev::default())),
    // The name that `consistent-hash` had before others could be hashed.
    ("client-address", || Box::new(ConsistentHash::default())),
];

/// Those that look at what requests have in common.
const HASHING: [&str; 3] = ["consistent-hash", "maglev", "client-address"];

/// How a backend is chosen.
#[derive(clap::Args)]
pub(crate) struct Choice {
    /// Which backend gets a request.
    #[arg(long, value_name = "NAME", default_value = ALGORITHMS[0].0,
          value_parser = PossibleValuesParser::new(ALGORITHMS.map(|(name, _)| name)))]
    pub(crate) algorithm: String,
    /// What consistent-hash and maglev go by: client-address, header:NAME or cookie:NAME.
    #[arg(long, value_name = "WHAT", default_value = "client-address", value_parser = policy)]
    hash_by: HashPolicy,
    /// Prefers backends of this zone, and goes to others as far as too few of its own are well.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Gives new backends their share little by little, within so many seconds.
    #[arg(long, value_name = "SECONDS")]
    slow_start: Option<u64>,
}

impl Choice {
    /// What picks.
    pub(crate) fn balancer(&self) -> anyhow::Result<Box<dyn LoadBalancer>> {
        let make = ALGORITHMS.iter().find(|(name, _)| *name == self.algorithm);
        let make = make.context("there is no such algorithm")?.1;
        let balancer = match &self.zone {
            Some(zone) => Box::new(ZoneAware::new(zone.as_str(), ZoneOptions::default(), make)),
            None => make(),
        };
        Ok(match self.slow_start {
            Some(seconds) => Box::new(SlowStart::new(balancer, Duration::from_secs(seconds), 0)),
            None => balancer,
        })
    }

    /// What equal requests have in common.
    pub(crate) fn hash_policy(&self) -> Option<HashPolicy> {
        HASHING.contains(&self.algorithm.as_str()).then(|| self.hash_by.clone())
    }

    /// The same for connections, of which nothing else is known.
    pub(crate) fn by_client_address(&self) -> anyhow::Result<bool> {
        match self.hash_policy() {
            None => Ok(false),
            Some(HashPolicy::ClientAddress) => Ok(true),
            Some(_) => {
                anyhow::bail!("--hash-by: with --tcp and --udp there are no headers, only client-address")
            }
        }
    }
}

fn policy(text: &str) -> anyhow::Result<HashPolicy> {
    match text.split_once(':') {
        None if text == "client-address" => Ok(HashPolicy::ClientAddress),
        Some(("header", name)) => {
            Ok(HashPolicy::Header(HeaderName::from_str(name).context("that is no header's name")?))
        }
        Some(("cookie", name)) if !name.is_empty() => Ok(HashPolicy::Cookie(name.to_owned())),
        _ => anyhow::bail!("say client-address, header:NAME or cookie:NAME"),
    }
}

/// A backend: where it is, and in which zone that is.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Backend {
    address: SocketAddr,
    zone: String,
}

impl Backend {
    /// One in no zone.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, zone: String::new() }
    }

    /// Backends are no pods: an address is all there is to know one by.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.address.to_string(), self.address).zone(self.zone.as_str())
    }
}

impl FromStr for Backend {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, zone) = text.split_once('@').unwrap_or((text, ""));
        Ok(Self { address: address.parse()?, zone: zone.to_owned() })
    }
}

impl TryFrom<String> for Backend {
    type Error = std::net::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
