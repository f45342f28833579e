//! The table of the operator's checks.

use slipway_protocol::Refusal;
use std::path::Path;

slipway_protocol::refusals! {
    pub ARTIFACT = "SLW-O-ARTIFACT", Configuration, Operator, "artifact cannot be released as described",
        "write PLATFORM=FILE[,member=PATH][,name=NAME], with PLATFORM one of linux/amd64, linux/arm64, linux/arm, any";
    pub ATTESTATION = "SLW-O-ATTESTATION", Policy, Operator, "no attestation of the image satisfies the policy",
        "read why each one was refused; if none should be accepted, do not run this image";
    pub ATTESTATION_NONE = "SLW-O-ATTESTATION-NONE", Policy, Operator, "image has no attestation",
        "name the tag or the index, not one platform's manifest or a copy that was built again: builders attest the \
         digest that they pushed, mostly an index";
    pub BROKER = "SLW-O-BROKER", Network, Network, "exchange with the MQTT broker failed",
        "check address, port, certificates and access rules of the broker";
    pub BUSY = "SLW-O-BUSY", System, Operator, "another `slipway` is using this repository",
        "wait for the other one to end";
    pub CHANNEL = "SLW-O-CHANNEL", Configuration, Operator, "channel is incomplete or contradicts itself",
        "correct the options; see `slipway channel --help`";
    pub ENTRY_MISMATCH = "SLW-O-ENTRY-MISMATCH", MixAndMatch, Attacker, "log entry belongs to another signature",
        "fetch the file again, or name another entry with --log-index";
    pub ENTRY_NONE = "SLW-O-ENTRY-NONE", Network, Operator, "transparency log has no entry for this signature",
        "check --rekor-url; if you know the entry from the build's output, name it with --log-index or --uuid";
    pub ENTRY_SEVERAL = "SLW-O-ENTRY-SEVERAL", Malformed, Operator, "transparency log has several entries for this signature",
        "name the entry with --log-index or --uuid";
    pub ENVELOPE = "SLW-O-ENVELOPE", Malformed, Operator,
        "file is not provenance as slsa-github-generator up to v2.0.0 wrote it",
        "give the file multiple.intoto.jsonl of the release, as it was published";
    pub EXISTS = "SLW-O-EXISTS", Configuration, Operator, "destination already exists",
        "choose another destination, or remove the existing one yourself";
    pub FILE = "SLW-O-FILE", System, Operator, "file cannot be read or written",
        "check that it exists, that you may access it, and that the disk is not full";
    pub IMAGE = "SLW-O-IMAGE", Configuration, Operator, "image cannot be found under this name",
        "name it as REGISTRY/REPOSITORY:TAG or @sha256:HEX, or as oci:FOLDER of an OCI image layout; for a folder \
         with several images, add @sha256:HEX or :TAG to oci:FOLDER";
    pub IMAGE_DIGEST = "SLW-O-IMAGE-DIGEST", MixAndMatch, Attacker, "content of the image differs from its digest or size",
        "fetch the image again; if it still differs, do not use it";
    pub IMAGE_SIZE = "SLW-O-IMAGE-SIZE", EndlessData, Attacker, "image's manifests or attestations are too large or too numerous",
        "find out who can write to this repository: real ones are a few kilobytes, and a handful";
    pub KEY = "SLW-O-KEY", Configuration, Operator, "key is missing or cannot be used",
        "put the role's key file into the repository's `keys` folder, mode 0600, or name it with --key";
    pub STAGED = "SLW-O-STAGED", Configuration, Operator, "staged change does not fit the repository",
        "take the repository's current file and sign that; drop a change that is not needed with `slipway discard`";
    pub WAITING = "SLW-O-WAITING", Configuration, Operator, "signatures are missing",
        "carry the file to those who must sign for `slipway sign FILE --key KEY`, bring it back, and run `slipway \
         publish REPO FILE`";
    pub EXPIRES = "SLW-O-EXPIRES", Time, Operator, "role has expired or expires soon",
        "run `slipway renew REPO ROLE` with the keys of a role that people sign; run `slipway refresh` for snapshot \
         and timestamp";
    pub PASSWORD = "SLW-O-PASSWORD", Configuration, Operator, "password of the key is missing or wrong",
        "type it at the prompt, set SLIPWAY_KEY_PASSWORD, or give --password-file";
    pub ROLE = "SLW-O-ROLE", Configuration, Operator, "roles, keys and thresholds do not fit together",
        "give every role at least as many distinct keys as its threshold, which is 1 or more; see `slipway key --help`";
    pub SELF_CHECK = "SLW-O-SELF-CHECK", System, Operator, "devices would refuse what was to be published",
        "check keys and files; if they are in order, report it: this is a fault in slipway, and nothing was published";
    pub LIMIT = "SLW-O-LIMIT", Configuration, Operator, "repository has reached half of a limit of devices",
        "retire releases with `slipway retire`, or drop what is not needed; devices refuse metadata beyond a limit";
    pub MIGRATE = "SLW-O-MIGRATE", Configuration, Operator, "repository is of an older format",
        "run `slipway migrate REPO` once, with the release keys; devices with older agents go on following it";
    pub MIRROR = "SLW-O-MIRROR", Network, Network, "Sigstore's TUF repository could not be mirrored",
        "check the address and the network; what was mirrored before stays in force";
    pub MIN_AGENT = "SLW-O-MIN-AGENT", Configuration, Operator, "release of the agent itself would lock out older agents",
        "leave out --min-agent: an agent that is too old needs this release most";
    pub NO_POLICY = "SLW-O-NO-POLICY", Configuration, Operator, "component has no policy in this repository",
        "run `slipway policy add` first: devices refuse a release without one; or give --unsafe-skip-verify";
    pub REPOSITORY = "SLW-O-REPOSITORY", Configuration, Operator, "folder is not an intact repository made by `slipway init`",
        "check the path; restore the folder from a backup if it is damaged";
    pub REGISTRY = "SLW-O-REGISTRY", Network, Network, "request to the image registry failed",
        "check the image's name, the network, and the credentials that `docker login` keeps; for a registry without \
         TLS, give --plain-http";
    pub REKOR = "SLW-O-REKOR", Network, Network, "request to the transparency log failed",
        "check --rekor-url and the network, and try again";
    pub RELEASED = "SLW-O-RELEASED", Configuration, Operator, "version was released before with different content",
        "release under a new version: devices and floors know versions, not builds";
    pub NO_RELEASE = "SLW-O-NO-RELEASE", Configuration, Operator, "release is not in this repository",
        "run `slipway release` for it first, or correct the version";
    pub TIME = "SLW-O-TIME", Configuration, Operator, "role's lifetime is not within its limits",
        "give another number of days, with `slipway init` or in slipway.toml; sign again with `slipway renew` what \
         is signed for longer";
}

/// A file error with its path. The program ends with 1 for it: nothing was judged.
#[must_use]
pub fn file(path: &Path, error: &std::io::Error) -> Refusal {
    FILE.with(format_args!("{}: {error}", path.display()), "a readable and writable file")
}

/// The causes that this tool decides by; all others end what was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A file cannot be read or written.
    File,
    /// The password of a key is missing or wrong.
    Password,
    /// The image registry does not answer.
    Registry,
    /// The transparency log does not answer.
    Rekor,
}

impl Cause {
    /// Of a refusal, however many functions it came through.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Option<Self> {
        refusal.find(&[(FILE, Self::File), (PASSWORD, Self::Password), (REGISTRY, Self::Registry), (REKOR, Self::Rekor)])
    }
}
