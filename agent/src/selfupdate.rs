//! Updates of the agent itself.
//!
//! The agent as its own component: how a release becomes current ([`activate`]), and who restores the committed one when
//! the new one does not work ([`restore`]).

pub mod activate;
pub mod restore;
