//! State that survives a power cut, written through [`durable`] under the names of [`layout`].
//!
//! | to keep | look in |
//! |---|---|
//! | records, reports, download cursors: a database | [`store`] |
//! | what must never be lost or go back | [`witness`] |
//! | the releases themselves | [`slots`], filled by [`unpack`] |
//! | configuration and data of a component | [`snapshot`] |
//!
//! What agents of `formats-1` do not know of records and witness is written beside what they know: `beside`.

mod beside;
pub mod durable;
pub mod hash;
pub mod layout;
pub mod slots;
pub mod snapshot;
pub mod stamp;
pub mod store;
pub mod unpack;
pub mod witness;
