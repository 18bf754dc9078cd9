//! The data plane of a cluster: what it does follows from Services and EndpointSlices.

#[cfg(feature = "tls")]
mod certificates;
mod data_plane;
mod either;
mod endpoints;
mod gate;
mod gateway;
mod left;
mod listeners;
mod listings;
mod options;
mod port;
mod served;
mod status;
mod table;

pub use self::data_plane::DataPlane;
pub use self::gateway::GatewayOptions;
pub use self::listeners::ListenerStatus;
pub use self::options::{BALANCER_ANNOTATION, DataPlaneOptions};
pub use self::port::PortKey;
pub use self::served::Listener;
pub use self::table::ServiceTable;
