//! The command line, one module per subject: arguments, the call into the library, the output.

pub(crate) mod bundle;
pub(crate) mod channel;
pub(crate) mod fleet;
pub(crate) mod image;
pub(crate) mod key;
pub(crate) mod mirror;
pub(crate) mod policy;
pub(crate) mod provenance;
pub(crate) mod release;
pub(crate) mod repository;
pub(crate) mod retire;
pub(crate) mod sign;
pub(crate) mod signing;
