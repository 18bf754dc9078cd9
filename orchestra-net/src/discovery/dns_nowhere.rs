//! Asking no other name servers: what there is without the feature `dns-forward`.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use orchestra_core::engine::Tasks;

use super::DnsOptions;
use crate::error::NetError;

/// Other name servers, of which there are none.
#[derive(Debug)]
pub(super) enum Forwarder {}

/// A question's place among those that may be under way.
pub(super) type Place = std::convert::Infallible;

impl Forwarder {
    #[allow(clippy::unnecessary_wraps, reason = "the other one can fail")]
    pub(super) fn new(
        _options: &DnsOptions,
        _address: SocketAddr,
        _tasks: &Tasks,
        _own: &Tasks,
    ) -> Result<Option<Self>, NetError> {
        Ok(None)
    }

    pub(super) fn admit(&self) -> Result<Place, ResponseCode> {
        match *self {}
    }

    pub(super) async fn ask(&self, _: Name, _: RecordType, _: Place) -> Result<Message, ResponseCode> {
        match *self {}
    }
}
