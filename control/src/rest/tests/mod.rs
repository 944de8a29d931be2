//! The rules of wcs-api sections 1.1-1.4 and 1.9, asked through the router.

pub(crate) mod bench;
mod calls;
mod dtmf;
mod edge;
mod faces;
mod lifecycle;
mod local;
mod meetings;
mod pushes;
mod server;
mod sounds;
mod v1;
