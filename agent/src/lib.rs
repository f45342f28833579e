//! The device: hears of a release, proves its build, stages it, activates it, watches it, and goes back when anything is wrong.
//!
//! [`machine`] decides, everything else obeys.

pub mod clock;
pub mod durable;
pub mod duration;
pub mod fetch;
pub mod health;
pub mod machine;
pub mod mqtt;
pub mod record;
pub mod slots;
pub mod snapshot;
pub mod store;
pub mod supervisor;
pub mod tls;
pub mod unpack;
pub mod witness;
