//! The agent as a component of its own: how a release of it is made current ([`activate`]), and who puts the committed one back when
//! the new one does not work ([`restore`]).

pub mod activate;
pub mod restore;
