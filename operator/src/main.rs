//! `slipway`, the operator's tool. Reads the command line and the clock; [`cli`] has a module for each subject.

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use slipway_operator::error::{Cause, file};
use slipway_protocol::Refusal;
use std::io::{Write as _, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

mod cli;
mod verify;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, above all for a file that cannot be read or written; 2 wrong usage; 3 refused, with a code such as SLW-V-POLICY-SOURCE on stderr.";

const REFRESH_EXIT_CODES: &str = "Exit codes: 0 done; 4 done, but a role that people sign expires within 30 days (on stderr); 1 failed; 2 wrong usage; \
     3 refused, above all because such a role has expired.";

/// Keys, releases, channels and notices for fleets that run slipway-agent.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys and an empty repository
    Init(cli::repository::Init),
    /// Manage policies: what a component's provenance must say
    #[command(subcommand)]
    Policy(cli::policy::Policy),
    /// Manage Sigstore's trusted root, with which devices verify signatures
    #[command(subcommand)]
    Sigstore(cli::policy::Sigstore),
    /// Add a release; devices install it when a channel points at it
    Release(cli::release::Release),
    /// Take withdrawn releases, and all but the newest, out of the repository; their manifests go to its archive
    Retire(cli::retire::Retire),
    /// Change a repository of an older format, and serve agents of both formats for a time
    Migrate(cli::retire::Migrate),
    /// Point a channel at a release, or halt, resume, withdraw
    Channel(cli::channel::Channel),
    /// Send a notice: devices check for updates now
    Notify(cli::fleet::Notify),
    /// Show the reports of a fleet as they come in
    Watch(cli::fleet::Watch),
    /// Make offline bundles
    #[command(subcommand)]
    Bundle(cli::bundle::Bundle),
    /// Convert provenance of older builders
    #[command(subcommand)]
    Provenance(cli::provenance::Provenance),
    /// Verify an artifact's provenance against a policy, as devices do
    #[command(after_help = EXIT_CODES)]
    Verify(verify::Verify),
    /// Verify a Sigstore bundle: who signed the artifact, and when
    #[command(after_help = EXIT_CODES)]
    VerifyBundle(verify::VerifyBundle),
    /// Verify a container image's attestations against a policy
    #[command(after_help = EXIT_CODES)]
    VerifyImage(cli::image::VerifyImage),
    /// Manage keys and the roles that they sign
    #[command(subcommand)]
    Key(cli::key::Key),
    /// Show and sign the change that waits for signatures, in the repository or in a file
    Sign(cli::sign::Sign),
    /// Publish the change that waits, with the signatures of signed copies
    Publish(cli::sign::Publish),
    /// Drop the change that waits for signatures
    Discard(cli::sign::Discard),
    /// Sign roles again with a later expiry
    Renew(cli::sign::Renew),
    /// Mirror what others publish
    #[command(subcommand)]
    Mirror(cli::mirror::Mirror),
    /// Show roles with expiry and signers, the change that waits, channels and releases
    #[command(after_help = EXIT_CODES)]
    Status(cli::repository::Status),
    /// Sign snapshot and timestamp again; run it daily from a timer
    #[command(after_help = REFRESH_EXIT_CODES)]
    Refresh(cli::repository::Refresh),
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Init(args) => args.run(),
            Self::Policy(args) => args.run(),
            Self::Sigstore(args) => args.run(),
            Self::Release(args) => args.run(),
            Self::Retire(args) => args.run(),
            Self::Migrate(args) => args.run(),
            Self::Channel(args) => args.run(),
            Self::Notify(args) => args.run(),
            Self::Watch(args) => args.run(),
            Self::Bundle(args) => args.run(),
            Self::Provenance(args) => args.run(),
            Self::Verify(args) => args.run(),
            Self::VerifyBundle(args) => args.run(),
            Self::VerifyImage(args) => args.run(),
            Self::Key(args) => args.run(),
            Self::Sign(args) => args.run(),
            Self::Publish(args) => args.run(),
            Self::Discard(args) => args.run(),
            Self::Renew(args) => args.run(),
            Self::Mirror(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Refresh(args) => return args.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            let broken_pipe = error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
            if broken_pipe {
                return ExitCode::SUCCESS;
            }
            // With stderr gone too there is nobody left to tell.
            let (text, code) = match error.downcast_ref::<Refusal>() {
                Some(refusal) => {
                    let failed = Cause::of(refusal) == Some(Cause::File);
                    (refusal.explain().trim_end().to_owned(), if failed { ExitCode::FAILURE } else { ExitCode::from(3) })
                }
                None => (format!("{error:#}"), ExitCode::FAILURE),
            };
            let _unheard = writeln!(stderr(), "slipway: {text}");
            code
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the operator's tool reads the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| file(path, &error).into())
}

/// One line on standard output; a closed pipe is an error that ends the program quietly.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
