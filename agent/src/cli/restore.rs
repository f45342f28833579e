//! `slipway-agent restore`: the command that the restore unit runs; a person may run it, too.

use super::{Args, Stop, runtime};
use crate::process::supervisor::Tools;
use crate::selfupdate::restore::{Outcome, Restorer};
use std::io::Write;
use std::path::Path;

/// Where the agent's state is unless `--state` says otherwise. Not from the configuration: one that was written for a newer agent must
/// not stand in the way of putting the older one back.
const STATE: &str = "/var/lib/slipway";

/// Looks once, or with `--watch` until the update is over.
pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let state = args.state.as_deref().unwrap_or(Path::new(STATE));
    let restorer = Restorer::new(state, &Tools::default());
    let outcome = runtime()?.block_on(async {
        if !args.watch {
            return restorer.once().await;
        }
        let outcome = restorer.watch(|| {
            let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
        });
        outcome.await
    })?;
    let out = &mut std::io::stdout();
    match outcome {
        Outcome::Nothing => writeln!(out, "no update of the agent in progress; nothing to restore")?,
        Outcome::Healthy(armed) => {
            writeln!(out, "{} is on probation and has not failed; {} would be restored", armed.testing, armed.back.slot)?;
        }
        Outcome::Restored(armed) => writeln!(out, "{} failed; restored {}", armed.testing, armed.back.slot)?,
    }
    Ok(())
}
