//! Components as processes: the [`supervisor`] starts and stops them, [`health`] checks them.

pub mod health;
pub mod supervisor;
