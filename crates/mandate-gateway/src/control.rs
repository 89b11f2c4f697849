//! The gateway's end of the control stream: `docs/control-stream.md` is the specification.

mod ack;
mod client;
mod draft;
mod lines;
mod session;
mod ship;

pub(crate) use client::{Client, ControlError, form};
pub use client::{ControlIo, ControlSocket, UnixControl};
pub(crate) use session::{Control, ControlParts};
pub(crate) use ship::ship;
