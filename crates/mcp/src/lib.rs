//! The MCP gate: it stands between an agent's client and a server of tools, and every call of a tool is an action that the policy
//! allows, refuses or has people decide (`docs/mcp.md`).
//!
//! [`Proxy`] is one connection; [`stdio::serve`] runs one between this process's standard streams and a server that it starts.
//! Both revisions of the protocol that are in use pass, 2025-11-25 and 2026-07-28.

mod announcing;
mod asking;
mod calls;
mod desk;
pub mod http;
pub mod limits;
pub mod lines;
mod listing;
pub mod message;
mod outcome;
mod passing;
mod policy;
mod pool;
mod proxy;
mod reply;
mod shared;
pub mod stdio;
mod tools;
mod waiting;
mod watch;
mod writer;

pub use desk::{Call, CallDigest, Desk, Inputs, NotAsked, Settings};
pub use listing::tools_of;
pub use proxy::Proxy;
pub use reply::{EXECUTION, IDEMPOTENCY_KEY, RECEIPT, error};
pub use shared::{OpenDesk, Shared, Times};
pub use tools::Tool;
