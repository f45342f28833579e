//! Feeds the verifier: whole bundles, the parts of a valid one, trusted roots, statements.
//!
//! What is valid comes from the private Sigstore of `slipway-testkit`, so a part that its reader accepts goes on to the signatures.

use crate::meaning::Meaning;
use crate::messages::members_written;
use crate::mutate::{mutant, remove};
use crate::tape::Tape;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use slipway_protocol::{Sha256, Sha512, Version};
use slipway_testkit::sigstore::{self, Attestation, ManagedKey, PrivateSigstore};
use slipway_verify::{
    Artifact, Evidence, LogRule, Policy, Provenance, PublicKey, Refusal, Signer, SigstoreRoot, Subject, verify_bundle,
    verify_provenance,
};
use std::sync::OnceLock;

/// The artifact of every valid bundle.
pub const TARBALL: &[u8] = b"a tarball";
/// Its name.
pub const NAME: &str = "kubeedge-v1.23.1-linux-arm64.tar.gz";
const SOURCE: &str = "https://github.com/kubeedge/kubeedge";
const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";

/// A valid bundle and what is known about it.
#[derive(Debug)]
struct Valid {
    value: Value,
    meaning: Meaning,
    evidence: Evidence,
    with_key: bool,
}

/// The fake world.
struct Fixture {
    sigstore: PrivateSigstore,
    attestation: Attestation,
    root: SigstoreRoot,
    timestamps_only: SigstoreRoot,
    stranger: Vec<u8>,
    key: PublicKey,
    policy: Policy,
    version: Version,
    valid: Vec<Valid>,
    /// Bundles of everybody, to take parts from.
    parts: Vec<Value>,
}

fn release() -> Attestation {
    Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL)
}

/// Valid bundles: every kind of evidence over a statement, plain signatures, a managed key. The flag says which needs the key.
fn bundles(sigstore: &PrivateSigstore) -> Vec<(Value, bool)> {
    use sigstore::Evidence::{RekorV1, RekorV1AndTimestamp, RekorV2};
    let key = || Some(ManagedKey::new("fuzz"));
    // Each at its own time and so of its own key: evidence of one signature could be moved between two bundles that share it.
    let with = |evidence, minutes: i64| Attestation { evidence, ..release().at(1_750_000_000 + 60 * minutes) };
    let blob = |attestation| serde_json::from_slice(&sigstore.sign_blob(&attestation, TARBALL)).expect("the world writes JSON");
    vec![
        (sigstore.attest_value(&with(RekorV1, 0)), false),
        (sigstore.attest_value(&with(RekorV1AndTimestamp, 1)), false),
        (sigstore.attest_value(&with(RekorV2, 2)), false),
        (blob(with(RekorV1, 3)), false),
        (blob(with(RekorV2, 4)), false),
        (blob(Attestation { managed_key: key(), ..with(RekorV1, 5) }), true),
        (sigstore.attest_value(&Attestation { managed_key: key(), ..with(RekorV2, 6) }), true),
    ]
}

fn fixture() -> &'static Fixture {
    static WORLD: OnceLock<Fixture> = OnceLock::new();
    WORLD.get_or_init(|| {
        let sigstore = PrivateSigstore::new("fuzz");
        let root = SigstoreRoot::parse(&sigstore.trusted_root()).expect("the world's root is valid");
        let stranger = PrivateSigstore::new("stranger");
        let made = bundles(&sigstore);
        let mut parts: Vec<Value> = made.iter().map(|(value, _)| value.clone()).collect();
        parts.extend(bundles(&stranger).into_iter().map(|(value, _)| value));
        // The same signer again: its parts fit everything but this very signature.
        let another = Attestation { subjects: Vec::new(), ..release() }.artifact(NAME, b"another tarball").at(1_750_000_300);
        parts.push(sigstore.attest_value(&Attestation { evidence: sigstore::Evidence::RekorV1AndTimestamp, ..another }));
        let mut fixture = Fixture {
            timestamps_only: SigstoreRoot::parse(&sigstore.trusted_root_timestamps_only()).expect("the world's root is valid"),
            key: PublicKey::from_pem(&ManagedKey::new("fuzz").public_pem()).expect("the world's key is valid"),
            policy: Policy::parse("component = \"edgecore\"\npreset = \"kubeedge\"\n").expect("a valid policy"),
            version: "v1.23.1".parse().expect("a valid version"),
            stranger: stranger.attest(&release()),
            attestation: release(),
            sigstore,
            root,
            valid: Vec::new(),
            parts,
        };
        for (value, with_key) in made {
            let bytes = value.to_string().into_bytes();
            let evidence = fixture.verify(&bytes, with_key, LogRule::Proof).expect("the world's bundles are valid");
            let meaning = Meaning::of(&bytes).expect("the world's bundles say something");
            fixture.valid.push(Valid { value, meaning, evidence, with_key });
        }
        fixture
    })
}

impl Fixture {
    fn verify(&self, bundle: &[u8], with_key: bool, rule: LogRule) -> Result<Evidence, Refusal> {
        let Attestation { identity, issuer, .. } = &self.attestation;
        let signer = if with_key { Signer::Key(&self.key) } else { Signer::Identity { identity, issuer } };
        verify_bundle(bundle, &self.root, signer, Artifact::Bytes(TARBALL), rule)
    }

    fn provenance(&self, bundle: &[u8]) -> Result<Provenance, Refusal> {
        let sha512 = Some(Sha512::of(TARBALL));
        let subject = Subject { name: NAME, sha256: Some(Sha256::of(TARBALL)), sha512, version: Some(&self.version) };
        verify_provenance(bundle, &self.root, &self.policy, &subject)
    }

    /// Verifies what was made of a valid bundle; if it is accepted it must say what one of them says, which may be another one.
    fn judge(&self, changed: &[u8], with_key: bool, rule: LogRule) {
        let Ok(evidence) = self.verify(changed, with_key, rule) else { return };
        let text = String::from_utf8_lossy(changed);
        let meaning = Meaning::of(changed).unwrap_or_else(|| panic!("accepted by {rule:?}, and says nothing: {text}"));
        let known = |valid: &&Valid| valid.with_key == with_key && meaning.is_within(&valid.meaning, rule == LogRule::Proof);
        let known = self.valid.iter().find(known).map(|valid| &valid.evidence);
        let known = known.unwrap_or_else(|| panic!("accepted by {rule:?}, and was never signed by anybody: {text}"));
        assert_eq!(members_written(changed), members_in(&text), "accepted by {rule:?} with a member twice: {text}");
        let stated = [&evidence.identity, &evidence.issuer, &evidence.log] == [&known.identity, &known.issuer, &known.log];
        assert!(stated && evidence.log_index == known.log_index, "{evidence:?} of {known:?}: {text}");
        assert!(evidence.signed_times.iter().all(|time| known.signed_times.contains(time)), "{evidence:?} of {known:?}: {text}");
    }

    /// Puts `part` in place of the string at `place` of each valid bundle that has one there.
    fn replaced(&self, place: &str, part: &Value) {
        for original in self.valid.iter().filter(|valid| valid.value.pointer(place).is_some()) {
            let mut changed = original.value.clone();
            if let Some(slot) = changed.pointer_mut(place) {
                *slot = part.clone();
            }
            self.judge(changed.to_string().as_bytes(), original.with_key, LogRule::Proof);
        }
    }
}

/// Members that are in a document after it was read.
fn members_in(text: &str) -> usize {
    fn count(value: &Value) -> usize {
        match value {
            Value::Object(members) => members.len() + members.values().map(count).sum::<usize>(),
            Value::Array(elements) => elements.iter().map(count).sum(),
            _ => 0,
        }
    }
    serde_json::from_str(text).as_ref().map_or(0, count)
}

/// Any bytes as a bundle. The first byte chooses rule and signer.
pub fn bundle(data: &[u8]) {
    let fixture = fixture();
    let Some((choice, bytes)) = data.split_first() else { return };
    let rule = [LogRule::Proof, LogRule::UnsafePromiseOnly, LogRule::UnsafeTimestampOnly][usize::from(choice % 3)];
    let Attestation { identity, issuer, .. } = &fixture.attestation;
    let signer = Signer::Identity { identity, issuer };
    let accepted = match rule {
        LogRule::UnsafeTimestampOnly => verify_bundle(bytes, &fixture.timestamps_only, signer, Artifact::Bytes(TARBALL), rule),
        _ => fixture.verify(bytes, choice & 128 != 0, rule),
    };
    // The corpus holds bundles of this world, which may have changed since: so not what they say is asked, only that they say something.
    assert!(accepted.is_err() || Meaning::of(bytes).is_some(), "accepted, and says nothing: {accepted:?}");
    let proven = fixture.provenance(bytes);
    assert!(proven.is_err() || Meaning::of(bytes).is_some(), "{proven:?}");
}

/// A valid bundle, changed in a few places that the bytes choose: it may verify only if it says the same.
pub fn bundle_mutant(data: &[u8]) {
    let fixture = fixture();
    let mut tape = Tape::new(data);
    let Some(original) = tape.pick(&fixture.valid) else { return };
    let rule = if tape.byte().is_multiple_of(4) { LogRule::UnsafePromiseOnly } else { LogRule::Proof };
    let changed = mutant(&original.value, &fixture.parts, &mut tape);
    fixture.judge(&changed, original.with_key, rule);
}

/// Any bytes as the signing certificate.
pub fn certificate(data: &[u8]) {
    let fixture = fixture();
    fixture.replaced("/verificationMaterial/certificate/rawBytes", &json!(STANDARD.encode(data)));
    let mut chained = fixture.valid[0].value.clone();
    remove(&mut chained, "/verificationMaterial/certificate");
    let leaf = fixture.valid[0].value.pointer("/verificationMaterial/certificate").cloned();
    chained["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    chained["verificationMaterial"]["x509CertificateChain"] =
        json!({"certificates": [leaf, {"rawBytes": STANDARD.encode(data)}]});
    fixture.judge(chained.to_string().as_bytes(), false, LogRule::Proof);
}

/// Any text as the log's checkpoint.
pub fn checkpoint(data: &[u8]) {
    let Ok(note) = std::str::from_utf8(data) else { return };
    fixture().replaced(&format!("{PROOF}/checkpoint/envelope"), &json!(note));
}

/// Any bytes as the RFC 3161 token.
pub fn timestamp(data: &[u8]) {
    let place = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    fixture().replaced(place, &json!(STANDARD.encode(data)));
}

/// Any bytes as the trusted root; or the valid one, changed where the bytes say. No change makes it trust a stranger.
pub fn trusted_root(data: &[u8]) {
    let fixture = fixture();
    let _refused_or_not = SigstoreRoot::parse(data);
    let changed = mutant(&fixture.sigstore.trusted_root_value(), &[], &mut Tape::new(data));
    if let Ok(root) = SigstoreRoot::parse(&changed) {
        let Attestation { identity, issuer, .. } = &fixture.attestation;
        let signer = Signer::Identity { identity, issuer };
        let accepted = verify_bundle(&fixture.stranger, &root, signer, Artifact::Bytes(TARBALL), LogRule::Proof);
        assert!(accepted.is_err(), "a stranger is trusted: {accepted:?} by {}", String::from_utf8_lossy(&changed));
    }
}

/// Any bytes as a signed statement, or the valid one changed where the bytes say: what a liar with a valid certificate can write.
pub fn statement(data: &[u8]) {
    let fixture = fixture();
    let mut tape = Tape::new(data);
    let payload = match tape.byte() % 4 {
        0 => tape.rest().to_vec(),
        1 => {
            let mut forgery = fixture.attestation.statement();
            forgery["predicate"] = serde_json::from_slice(tape.rest()).unwrap_or_default();
            forgery.to_string().into_bytes()
        }
        _ => mutant(&fixture.attestation.statement(), &[Attestation::npm("owner/repo", "refs/tags/v1").statement()], &mut tape),
    };
    let bundle = fixture.sigstore.attest_payload(&fixture.attestation, &payload);
    let Ok(provenance) = fixture.provenance(&bundle) else { return };
    let text = String::from_utf8_lossy(&payload);
    let said: Value = serde_json::from_slice(&payload).unwrap_or_else(|error| panic!("accepted, and no JSON ({error}): {text}"));
    let digest = Sha256::of(TARBALL).to_string();
    let covers = |subject: &Value| subject["name"] == NAME && subject["digest"]["sha256"] == digest.as_str();
    assert!(said["subject"].as_array().is_some_and(|subjects| subjects.iter().any(covers)), "accepted for another file: {text}");
    assert_eq!(said["predicate"]["builder"]["id"], fixture.attestation.builder.as_str(), "accepted for another builder: {text}");
    let uri = &said["predicate"]["invocation"]["configSource"]["uri"];
    assert!(uri.as_str().is_some_and(|uri| uri.starts_with(&format!("git+{SOURCE}@"))), "accepted for another source: {text}");
    assert_eq!(provenance.source, SOURCE, "{text}");
    assert_eq!(members_written(&payload), members_in(&text), "accepted with a member twice: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::places;

    /// An oracle that finds nothing wrong would let everything pass: each place that is authenticated must make a difference.
    #[test]
    fn what_is_authenticated_has_a_meaning() {
        let free = [
            "mediaType",
            "keyid",
            "hint",
            "/publicKey",
            "integratedTime",
            "/timestampVerificationData",
            "rfc3161Timestamps",
            "inclusionPromise",
            "messageDigest",
        ];
        for original in &fixture().valid {
            for place in places(&original.value) {
                let mut changed = original.value.clone();
                remove(&mut changed, &place);
                let same =
                    Meaning::of(changed.to_string().as_bytes()).is_some_and(|meaning| meaning.is_within(&original.meaning, true));
                let free = place.is_empty() || free.iter().any(|free| place.contains(free));
                assert!(!same || free, "{place} makes no difference");
            }
        }
    }

    #[test]
    fn another_spelling_says_the_same() {
        let original = &fixture().valid[2];
        let text = serde_json::to_string_pretty(&original.value).unwrap().replace('+', "\\u002b");
        assert_eq!(Meaning::of(text.as_bytes()), Some(original.meaning.clone()));
        assert!(fixture().verify(text.as_bytes(), false, LogRule::Proof).is_ok());
    }
}
