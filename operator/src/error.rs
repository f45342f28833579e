//! The table of the operator's checks.

use slipway_protocol::refusal::{Actor, Class, Refusal};
use std::path::Path;

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $class:ident, $actor:ident, $check:literal, $advice:literal;)*) => {
        $($(#[$doc])* pub const $name: Refusal = Refusal::of($code, Class::$class, Actor::$actor, $check, $advice);)*
    };
}

checks! {
    /// An artifact that cannot be released as described.
    ARTIFACT = "SLW-O-ARTIFACT", Configuration, Operator, "an artifact to release",
        "write PLATFORM=FILE[,member=PATH][,name=NAME], with PLATFORM one of linux/amd64, linux/arm64, linux/arm, any";
    /// The broker did not do its part.
    BROKER = "SLW-O-BROKER", Network, Network, "the MQTT broker",
        "check address, port, certificates and access rules of the broker";
    /// Somebody else works on this repository.
    BUSY = "SLW-O-BUSY", System, Operator, "one `slipway` at a time on a repository",
        "wait for the other one to end";
    /// A channel that contradicts itself.
    CHANNEL = "SLW-O-CHANNEL", Configuration, Operator, "a channel must make sense",
        "see `slipway channel --help`";
    /// There already is something.
    EXISTS = "SLW-O-EXISTS", Configuration, Operator, "nothing is overwritten",
        "choose another place, or remove what is there yourself";
    /// Reading or writing failed.
    FILE = "SLW-O-FILE", System, Operator, "reading or writing a file",
        "check that it exists, that you may access it, and that the disk is not full";
    /// A key is unusable, missing, or readable by others.
    KEY = "SLW-O-KEY", Configuration, Operator, "the keys that must sign",
        "put the role's key file into the repository's `keys` folder, mode 0600, and try again";
    /// No policy, so nothing to verify provenance with.
    NO_POLICY = "SLW-O-NO-POLICY", Configuration, Operator, "a policy for the component",
        "devices refuse a release without one: `slipway policy add` first, or give --unsafe-skip-verify";
    /// Not a usable repository.
    REPOSITORY = "SLW-O-REPOSITORY", Configuration, Operator, "a repository made by `slipway init`",
        "check the path; restore the folder from a backup if it is damaged";
    /// That version exists with other content.
    RELEASED = "SLW-O-RELEASED", Configuration, Operator, "a version is released once",
        "devices and floors know versions, not builds: release under a new version";
    /// That release is not in the repository.
    NO_RELEASE = "SLW-O-NO-RELEASE", Configuration, Operator, "a channel points at a release of this repository",
        "`slipway release` it first, or correct the version";
    /// A repository time that cannot be computed.
    TIME = "SLW-O-TIME", Configuration, Operator, "an expiry within the calendar", "choose fewer days";
}

/// A file error with its path.
pub(crate) fn file(path: &Path, error: &std::io::Error) -> Refusal {
    FILE.with(format_args!("{}: {error}", path.display()), "a readable and writable file")
}
