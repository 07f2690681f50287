//! What the HTTP/1.1 servers and clients of this workspace share: the connections of a server, with feature `server`, and
//! the address of one, with feature `client`.

#[cfg(feature = "client")]
mod address;
#[cfg(feature = "server")]
mod connections;
#[cfg(feature = "server")]
mod here;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
mod stop;

#[cfg(feature = "client")]
pub use address::{Address, AddressError, retry_after};
#[cfg(feature = "server")]
pub use connections::{Bounds, serve};
#[cfg(feature = "server")]
pub use here::{is_from_here, is_to_here};
#[cfg(feature = "server")]
pub use stop::stop_signal;
