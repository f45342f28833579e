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
    /// No attestation of an image satisfies the policy.
    ATTESTATION = "SLW-O-ATTESTATION", Policy, Operator, "one attestation of the image that satisfies the policy",
        "see what was said of each; if none should be accepted, do not run this image";
    /// An image has no attestation.
    ATTESTATION_NONE = "SLW-O-ATTESTATION-NONE", Policy, Operator, "an attestation of this very image",
        "builders attest the digest that they pushed, mostly an index: name the tag or the index, not one platform's manifest or a copy that was built again";
    /// The broker did not do its part.
    BROKER = "SLW-O-BROKER", Network, Network, "the MQTT broker",
        "check address, port, certificates and access rules of the broker";
    /// Somebody else works on this repository.
    BUSY = "SLW-O-BUSY", System, Operator, "one `slipway` at a time on a repository",
        "wait for the other one to end";
    /// A channel that contradicts itself.
    CHANNEL = "SLW-O-CHANNEL", Configuration, Operator, "a channel must make sense",
        "see `slipway channel --help`";
    /// The log's entries are of other signatures.
    ENTRY_MISMATCH = "SLW-O-ENTRY-MISMATCH", MixAndMatch, Attacker, "the log entry of this very signature",
        "the entry belongs to another signature, or the file was changed: fetch the file again, or name another entry with --log-index";
    /// The log has no such entry.
    ENTRY_NONE = "SLW-O-ENTRY-NONE", Network, Operator, "an entry in the transparency log",
        "check --rekor-url; if you know the entry from the build's output, name it with --log-index or --uuid";
    /// The log has several such entries.
    ENTRY_SEVERAL = "SLW-O-ENTRY-SEVERAL", Malformed, Operator, "one entry in the transparency log for one signature",
        "name the entry with --log-index or --uuid";
    /// The log has an entry that cannot be bound to the signature.
    /// Not an envelope that can become a Sigstore bundle.
    ENVELOPE = "SLW-O-ENVELOPE", Malformed, Operator, "provenance as slsa-github-generator up to v2.0.0 wrote it",
        "give the file multiple.intoto.jsonl of the release, as it was published";
    /// There already is something.
    EXISTS = "SLW-O-EXISTS", Configuration, Operator, "nothing is overwritten",
        "choose another place, or remove what is there yourself";
    /// Reading or writing failed.
    FILE = "SLW-O-FILE", System, Operator, "reading or writing a file",
        "check that it exists, that you may access it, and that the disk is not full";
    /// Not a usable image.
    IMAGE = "SLW-O-IMAGE", Configuration, Operator, "an image: REGISTRY/REPOSITORY:TAG or @sha256:HEX, or the folder of an OCI image layout",
        "check the name; for a folder with several images add @sha256:HEX or :TAG to oci:FOLDER";
    /// Content that is not what its digest says.
    IMAGE_DIGEST = "SLW-O-IMAGE-DIGEST", MixAndMatch, Attacker, "content of the image's parts against their digests and sizes",
        "the registry or the folder gives other content than was asked for: fetch it again, and if it stays so, do not use it";
    /// More than a verifier should read.
    IMAGE_SIZE = "SLW-O-IMAGE-SIZE", EndlessData, Attacker, "size and number of the image's manifests and attestations",
        "real ones are a few kilobytes, and a handful: find out who can write to this repository";
    /// A key is unusable, missing, or readable by others.
    KEY = "SLW-O-KEY", Configuration, Operator, "the keys that must sign",
        "put the role's key file into the repository's `keys` folder, mode 0600, or name it with --key";
    /// The staged change cannot be used as it is.
    STAGED = "SLW-O-STAGED", Configuration, Operator, "the change that waits for signatures",
        "take the file of the repository as it is now and sign that; `slipway discard` drops a change that is not wanted";
    /// Signatures are missing.
    WAITING = "SLW-O-WAITING", Configuration, Operator, "signatures of everybody who must sign",
        "carry the file to them for `slipway sign FILE --key KEY`, bring it back, and `slipway publish REPO FILE`";
    /// A role expires soon, or has expired.
    EXPIRES = "SLW-O-EXPIRES", Time, Operator, "roles must not expire",
        "`slipway renew REPO ROLE` with the keys of a role that people sign; `slipway refresh` for snapshot and timestamp";
    /// A wrong password, or none.
    PASSWORD = "SLW-O-PASSWORD", Configuration, Operator, "the password of a key",
        "type it at the prompt, set SLIPWAY_KEY_PASSWORD, or give --password-file";
    /// Roles, keys and thresholds that contradict each other.
    ROLE = "SLW-O-ROLE", Configuration, Operator, "roles, their keys and thresholds",
        "every role needs at least as many distinct keys as its threshold, which is 1 or more; see `slipway key --help`";
    /// What is about to be published would be refused by devices.
    SELF_CHECK = "SLW-O-SELF-CHECK", System, Operator, "devices must accept what is published",
        "nothing was published; if keys and files are in order, this is a fault of slipway: report it";
    /// Sigstore's repository or its mirror did not deliver.
    MIRROR = "SLW-O-MIRROR", Network, Network, "Sigstore's TUF repository",
        "check the address and the way there; what was mirrored before stays in force";
    /// No policy, so nothing to verify provenance with.
    NO_POLICY = "SLW-O-NO-POLICY", Configuration, Operator, "a policy for the component",
        "devices refuse a release without one: `slipway policy add` first, or give --unsafe-skip-verify";
    /// Not a usable repository.
    REPOSITORY = "SLW-O-REPOSITORY", Configuration, Operator, "a repository made by `slipway init`",
        "check the path; restore the folder from a backup if it is damaged";
    /// The registry did not do its part.
    REGISTRY = "SLW-O-REGISTRY", Network, Network, "the image registry",
        "check the image's name, the network, and the credentials that `docker login` keeps; a registry without TLS needs --plain-http";
    /// The transparency log did not do its part.
    REKOR = "SLW-O-REKOR", Network, Network, "the transparency log's server",
        "check --rekor-url and the network, and try again";
    /// That version exists with other content.
    RELEASED = "SLW-O-RELEASED", Configuration, Operator, "a version is released once",
        "devices and floors know versions, not builds: release under a new version";
    /// That release is not in the repository.
    NO_RELEASE = "SLW-O-NO-RELEASE", Configuration, Operator, "a channel points at a release of this repository",
        "`slipway release` it first, or correct the version";
    /// A repository time that cannot be computed.
    TIME = "SLW-O-TIME", Configuration, Operator, "how long roles live", "give another number of days, with `slipway init` or in slipway.toml; what is signed for longer is signed again with `slipway renew`";
}

/// A file error with its path. The program ends with 1 for it: nothing was judged.
#[must_use]
pub fn file(path: &Path, error: &std::io::Error) -> Refusal {
    FILE.with(format_args!("{}: {error}", path.display()), "a readable and writable file")
}
