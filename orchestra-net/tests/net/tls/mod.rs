//! TLS on both sides, by clients and servers that are not ours.

mod authority;
mod clients;
mod endpoints;
mod followed;
mod listeners;
