//! The kind of log entry that each builder's signature has: one table, with the real file that each row copies.

use std::cmp::Ordering;

/// How a DSSE envelope is entered into Rekor's first generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// `dsse` 0.0.1.
    Dsse,
    /// `intoto` 0.0.1, about the whole file; `certificate` where the file has a member `cert`.
    Intoto001 {
        /// Whether it has.
        certificate: bool,
    },
    /// `intoto` 0.0.2.
    Intoto002,
}

/// A builder, and how its releases log.
#[derive(Debug, Clone, Copy)]
pub struct LoggedAs {
    /// What its certificates' identities begin with, up to the `@`.
    pub identity: &'static str,
    /// Its releases, first and last that are known to log so; none for one that has no releases.
    pub releases: Option<[[u64; 3]; 2]>,
    /// The kind of entry.
    pub kind: EntryKind,
    /// A real file that this builder made, below the folder of the test vectors: a Sigstore bundle or an OCI layout that holds the entry,
    /// or, for the generic generator up to v1.10.0, the envelope file whose hash the entry holds.
    pub files: &'static [&'static str],
}

const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/";

/// The table. What is in no row logs as the last one.
pub const BUILDERS: [LoggedAs; 6] = [
    LoggedAs {
        identity: "generator_generic_slsa3.yml",
        releases: Some([[1, 2, 0], [1, 10, 0]]),
        kind: EntryKind::Intoto001 { certificate: true },
        files: &[
            "slsa/envelopes/generic-v1.2.2.intoto.jsonl",
            "slsa/envelopes/generic-v1.9.0.intoto.jsonl",
            "slsa/envelopes/generic-v1.10.0.intoto.jsonl",
        ],
    },
    LoggedAs {
        identity: "generator_generic_slsa3.yml",
        releases: Some([[2, 0, 0], [2, u64::MAX, 0]]),
        kind: EntryKind::Dsse,
        files: &["provenance/slsa-generic-v2.1.0.sigstore.json"],
    },
    LoggedAs {
        identity: "generator_container_slsa3.yml",
        releases: Some([[1, 2, 0], [1, 9, 0]]),
        kind: EntryKind::Intoto001 { certificate: false },
        files: &["slsa/images/container-v1.4.0", "slsa/images/container-v1.9.0"],
    },
    LoggedAs {
        identity: "delegator_",
        releases: Some([[1, 6, 0], [2, u64::MAX, 0]]),
        kind: EntryKind::Intoto002,
        files: &[
            "provenance/npm-delegator-v1.6.0.sigstore.json",
            "slsa/delegator/delegator-v1.10.0.sigstore.json",
            "slsa/delegator/maven-v2.1.0.sigstore.json",
        ],
    },
    LoggedAs {
        identity: "builder_container-based_slsa3.yml",
        releases: Some([[1, 7, 0], [1, 10, 0]]),
        kind: EntryKind::Intoto002,
        files: &["slsa/delegator/container-based-v1.10.0.sigstore.json"],
    },
    // actions/attest-build-provenance, from a workflow of anybody's.
    LoggedAs {
        identity: "",
        releases: None,
        kind: EntryKind::Dsse,
        files: &["provenance/github-reusable-workflow.sigstore.json"],
    },
];

/// How the signature of this identity is logged.
pub fn entry_kind(identity: &str) -> EntryKind {
    let (workflow, reference) = identity.split_once('@').unwrap_or((identity, ""));
    let workflow = workflow.strip_prefix(GENERATOR).unwrap_or_default();
    let release = reference.strip_prefix("refs/tags/v").map(release);
    let fits = |builder: &&LoggedAs| match (builder.releases, release) {
        (None, _) => true,
        (Some([first, last]), Some(release)) => {
            workflow.starts_with(builder.identity) && release >= first && release.cmp(&last) != Ordering::Greater
        }
        (Some(_), None) => false,
    };
    BUILDERS.iter().find(fits).map_or(EntryKind::Dsse, |builder| builder.kind)
}

/// The generator that a release of KubeEdge used: its `.github/workflows/release.yml` at each tag. What is no release's version is a new one's.
pub(crate) fn kubeedge_generator(version: &str) -> &'static str {
    let Some(version) = version.strip_prefix('v').filter(|version| !version.is_empty()).map(release) else { return "v2.1.0" };
    match version {
        [1, 13 | 14, 0..=3] | [1, 15, 0..=1] => "v1.2.2",
        [1, 13 | 14, _] | [1, 15, 2] | [1, 16, 0] => "v1.9.0",
        [1, 15..=20, _] => "v1.10.0",
        _ => "v2.1.0",
    }
}

/// The numbers of `1.2.3` or `1.2.3-rc.1`.
fn release(tag: &str) -> [u64; 3] {
    let numbers = tag.split(['-', '+']).next().unwrap_or_default().split('.');
    let mut release = [0; 3];
    for (place, number) in release.iter_mut().zip(numbers) {
        *place = number.parse().unwrap_or_default();
    }
    release
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigstore::{envelope_file, sha256};
    use crate::vectors::vectors;
    use base64::Engine as _;
    use serde_json::Value;
    use std::fs;
    use std::path::Path;

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn decoded(base64: &Value) -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap()).unwrap()
    }

    /// The envelope of a real file, and the body of its log entry where the file has it.
    fn read(path: &Path) -> (Vec<u8>, Option<Value>) {
        if path.is_dir() {
            let blob = |digest: &Value| fs::read(path.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))).unwrap();
            let index = json(&fs::read(path.join("index.json")).unwrap());
            let attached = |entry: &&Value| entry["annotations"]["kind"] == "dev.cosignproject.cosign/atts";
            let manifest = index["manifests"].as_array().unwrap().iter().find(attached).unwrap();
            let layer = &json(&blob(&manifest["digest"]))["layers"][0];
            let promise = json(layer["annotations"]["dev.sigstore.cosign/bundle"].as_str().unwrap().as_bytes());
            return (blob(&layer["digest"]), Some(json(&decoded(&promise["Payload"]["body"]))));
        }
        let bytes = fs::read(path).unwrap();
        let entry = &json(&bytes)["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"];
        (bytes, entry.is_string().then(|| json(&decoded(entry))))
    }

    #[test]
    fn each_row_is_as_its_real_files_are() {
        let Some(vectors) = vectors() else { return };
        for builder in BUILDERS {
            for file in builder.files {
                let (envelope, body) = read(&vectors.join(file));
                let signed = &json(&envelope)["signatures"][0];
                let cert = signed["cert"].is_string();
                if let EntryKind::Intoto001 { .. } = builder.kind {
                    let (payload, signature) = (decoded(&json(&envelope)["payload"]), decoded(&signed["sig"]));
                    assert_eq!(envelope_file(&payload, &signature, signed["cert"].as_str()), envelope, "{file}: another form");
                }
                match (builder.kind, body) {
                    // Its entry is not in the file; that its log entry is of this kind is in the program's source (signing/sigstore/rekor.go).
                    (EntryKind::Intoto001 { certificate: true }, None) => assert!(cert, "{file}"),
                    (EntryKind::Intoto001 { certificate }, Some(body)) => {
                        assert_eq!((&body["kind"], &body["apiVersion"]), (&"intoto".into(), &"0.0.1".into()), "{file}");
                        assert_eq!(cert, certificate, "{file}");
                        let hash = hex::encode(sha256(&envelope));
                        assert_eq!(body["spec"]["content"]["hash"]["value"], hash, "{file}");
                    }
                    (EntryKind::Intoto002, Some(body)) => {
                        assert_eq!((&body["kind"], &body["apiVersion"]), (&"intoto".into(), &"0.0.2".into()), "{file}");
                    }
                    (EntryKind::Dsse, Some(body)) => {
                        assert_eq!((&body["kind"], &body["apiVersion"]), (&"dsse".into(), &"0.0.1".into()), "{file}");
                    }
                    (kind, None) => panic!("{file}: {kind:?} without an entry"),
                }
            }
        }
    }

    #[test]
    fn a_builder_is_found_by_workflow_and_release() {
        let generator = |workflow: &str, reference: &str| entry_kind(&format!("{GENERATOR}{workflow}@{reference}"));
        for (workflow, reference, kind) in [
            ("generator_generic_slsa3.yml", "refs/tags/v1.2.2", EntryKind::Intoto001 { certificate: true }),
            ("generator_generic_slsa3.yml", "refs/tags/v1.10.0", EntryKind::Intoto001 { certificate: true }),
            ("generator_generic_slsa3.yml", "refs/tags/v2.0.0", EntryKind::Dsse),
            ("generator_generic_slsa3.yml", "refs/tags/v2.1.0", EntryKind::Dsse),
            ("generator_container_slsa3.yml", "refs/tags/v1.9.0", EntryKind::Intoto001 { certificate: false }),
            ("delegator_generic_slsa3.yml", "refs/tags/v1.10.0", EntryKind::Intoto002),
        ] {
            assert_eq!(generator(workflow, reference), kind, "{workflow} {reference}");
        }
        assert_eq!(entry_kind("https://github.com/o/r/.github/workflows/x.yml@refs/heads/main"), EntryKind::Dsse);
    }
}
