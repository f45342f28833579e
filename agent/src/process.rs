//! What runs: started and stopped by the [`supervisor`], watched by its [`health`].

pub mod health;
pub mod supervisor;
