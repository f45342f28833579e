//! `slipway-agent config check`: whether the service would accept a configuration, like `nginx -t`.

use super::{Args, Stop};
use crate::config::{self, Config, read_limited};
use crate::logging;
use std::io::Write;
use std::path::PathBuf;
use tracing::Level;

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    match args.verb.as_ref().map(|verb| verb.to_string_lossy()).as_deref() {
        Some("check") => {}
        Some(other) => return Err(Stop::Usage(format!("unknown command \"config {other}\"; only `config check FILE` exists"))),
        None => return Err(Stop::Usage("missing command after `config`; run `slipway-agent config check FILE`".into())),
    }
    let file = args.file.as_ref().map(PathBuf::from).or_else(|| args.config.clone());
    let file = file.unwrap_or_else(|| config::DEFAULT_PATH.into());
    let shown = file.display();
    // That the file cannot be read says nothing about what is in it.
    std::fs::File::open(&file).map_err(|error| Stop::Failed(format!("{shown}: {error}")))?;
    match Config::check(&config::text(read_limited(&file)?, &file)?) {
        Ok(_) => Ok(writeln!(std::io::stdout(), "configuration file {shown} is ok")?),
        Err(mistakes) => {
            for mistake in &mistakes {
                logging::mistake(&file, mistake);
            }
            logging::say(Level::ERROR, &format!("configuration file {shown} is not valid; mistakes: {}", mistakes.len()));
            Err(Stop::Mistaken)
        }
    }
}
