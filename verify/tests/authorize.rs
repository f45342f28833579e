//! Both proofs together: a manifest from TUF and provenance from Sigstore, and how they can disagree.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests, none of which needs all of it")]
#[path = "tuf/device.rs"]
mod device;

use device::{Device, sim};
use serde_json::{Value, json};
use slipway_protocol::{ComponentName, Manifest, Platform, Sha256, Sha512};
use slipway_testkit::sigstore::{Attestation, ManagedKey, PrivateSigstore, Subject, generator_generic};
use slipway_verify::{Policy, Release, SigstoreRoot, agent_is_new_enough, authorize};

const NAME: &str = "kubeedge-v1.23.1-linux-arm64.tar.gz";
const PATH: &str = "releases/edgecore/v1.23.1.json";
const TARBALL: &[u8] = b"a tarball";

fn evidence() -> Vec<u8> {
    PrivateSigstore::new("authorize").attest(&Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL))
}

fn manifest() -> Value {
    let evidence = evidence();
    json!({"v": 1, "component": "edgecore", "version": "v1.23.1", "artifacts": [{
        "platform": "linux/arm64", "name": NAME, "size": TARBALL.len(), "sha256": Sha256::of(TARBALL).to_string(),
        "urls": ["files/x.tar.gz"], "format": "tar.gz", "member": "edge/edgecore",
        "provenance": {"urls": ["files/x.sigstore.json"], "size": evidence.len(), "sha256": Sha256::of(&evidence).to_string()},
    }]})
}

struct Case {
    role: &'static str,
    path: &'static str,
    manifest: Vec<u8>,
    platform: Platform,
    policies: Vec<Policy>,
    bundle: Vec<u8>,
}

impl Case {
    fn good() -> Self {
        Self {
            role: "releases",
            path: PATH,
            manifest: serde_json::to_vec(&manifest()).unwrap(),
            platform: Platform::LinuxArm64,
            policies: vec![policy("edgecore", "")],
            bundle: evidence(),
        }
    }

    /// The manifest's only artifact with a member changed.
    fn artifact(member: &str, value: Value) -> Self {
        let mut changed = manifest();
        changed["artifacts"][0][member] = value;
        Self { manifest: serde_json::to_vec(&changed).unwrap(), ..Self::good() }
    }

    fn member(member: &str, value: impl Into<Value>) -> Self {
        Self::good().with(member, value)
    }

    fn with(self, member: &str, value: impl Into<Value>) -> Self {
        let mut changed: Value = serde_json::from_slice(&self.manifest).unwrap();
        changed[member] = value.into();
        Self { manifest: serde_json::to_vec(&changed).unwrap(), ..self }
    }

    /// Publishes the manifest in a TUF repository, follows it, and authorizes.
    fn code(self) -> String {
        self.authorize(|_| {}).err().unwrap_or_default()
    }

    fn authorize(self, see: impl FnOnce(&Release)) -> Result<(), String> {
        let mut sim = sim();
        sim.put(self.role, self.path, &self.manifest);
        sim.publish();
        let repository = Device::born(&sim).refresh(&sim).unwrap();
        let authentic = repository.authenticate(self.path, self.manifest).unwrap();
        let root = SigstoreRoot::parse(&PrivateSigstore::new("authorize").trusted_root()).unwrap();
        let component: ComponentName = "edgecore".parse().unwrap();
        match authorize(&authentic, &component, self.platform, &self.policies, &root, &self.bundle) {
            Ok(release) => {
                assert_eq!((release.artifact.name.as_str(), release.provenance.subject.as_str()), (NAME, NAME));
                assert_eq!(release.get().manifest.version.as_str(), "v1.23.1");
                assert_eq!(release.provenance.source_ref, "refs/tags/v1.23.1");
                see(release.get());
                Ok(())
            }
            Err(refusal) => Err(refusal.code.trim_start_matches("SLW-V-").to_owned()),
        }
    }
}

fn policy(component: &str, more: &str) -> Policy {
    Policy::parse(&format!("component = \"{component}\"\npreset = \"kubeedge\"\n{more}")).unwrap()
}

#[test]
fn a_release_needs_both_proofs_and_they_must_meet() {
    let other = PrivateSigstore::new("authorize").attest(&Attestation::kubeedge("v1.23.1").artifact("x", b"x"));
    let good = Case::good;
    let strict = "component = \"edgecore\"\n[certificate]\nissuer = \"https://gitlab.com\"\nidentity = \"x\"\n[provenance]\nsource = \"https://x\"\ntag = \"v{version}\"\n";
    let strict = Policy::parse(strict).unwrap();
    for (what, case, code) in [
        ("nothing", good(), ""),
        ("signed by the targets keys", Case { role: "targets", path: PATH, ..good() }, ""),
        (
            "signed by the rollout key",
            Case { role: "channels", path: "channels/edgecore/v1.23.1.json", ..good() },
            "MANIFEST-ROLE",
        ),
        ("under another version's name", Case { path: "releases/edgecore/v1.23.2.json", ..good() }, "MANIFEST-PATH"),
        ("under another spelling of its version", Case { path: "releases/edgecore/1.23.1.json", ..good() }, "MANIFEST-PATH"),
        ("of another component", Case::member("component", "keadm"), "MANIFEST-COMPONENT"),
        ("no manifest", Case { manifest: b"{}".to_vec(), ..good() }, "MANIFEST-MALFORMED"),
        ("for agents that know more", Case::member("v", 2), "AGENT-FORMAT"),
        ("with a critical member", Case::member("critical", json!(["urgent"])).with("urgent", 1), "AGENT-CRITICAL"),
        ("with a member more", good().with("urgent", 1), ""),
        ("in another format", Case::artifact("format", "tar.zst".into()), "AGENT-FORMAT"),
        ("for a platform that only newer agents know", Case::artifact("platform", "linux/riscv64".into()), "ARTIFACT-MISSING"),
        ("for another platform", Case { platform: Platform::LinuxAmd64, ..good() }, "ARTIFACT-MISSING"),
        ("no policy", Case { policies: Vec::new(), ..good() }, "POLICY-NONE"),
        ("another component's policy", Case { policies: vec![policy("keadm", "")], ..good() }, "POLICY-COMPONENT"),
        (
            "a second policy that says no",
            Case { policies: vec![policy("edgecore", ""), strict.clone()], ..good() },
            "POLICY-ISSUER",
        ),
        ("a first policy that says no", Case { policies: vec![strict, policy("edgecore", "")], ..good() }, "POLICY-ISSUER"),
        ("other evidence than was released", Case { bundle: other, ..good() }, "BUNDLE-DIGEST"),
        ("no evidence", Case { bundle: Vec::new(), ..good() }, "BUNDLE-DIGEST"),
        ("a file the builder never built", Case::artifact("sha256", Sha256::of(b"evil").to_string().into()), "ARTIFACT-DIGEST"),
        ("a file under another's name", Case::artifact("name", "kubeedge-v1.23.1-linux-amd64.tar.gz".into()), "SUBJECT-NAME"),
    ] {
        assert_eq!(case.code(), code, "{what}");
    }
    // An old build under a new version's manifest: the tag in the provenance gives it away.
    let newer = Case { path: "releases/edgecore/v1.24.0.json", ..Case::member("version", "v1.24.0") };
    assert_eq!(newer.code(), "POLICY-REF");
}

/// The manifest names both digests in each row.
#[test]
fn sha_512_is_compared_only_where_the_provenance_names_nothing_else() {
    let (sha256, sha512) = (Subject::of(NAME, TARBALL), Subject::sha512_of(NAME, TARBALL));
    for (subjects, wanted) in [(vec![sha256], None), (vec![sha512], Some(Sha512::of(TARBALL)))] {
        let attestation = Attestation { subjects, ..Attestation::kubeedge("v1.23.1") };
        let bundle = PrivateSigstore::new("authorize").attest(&attestation);
        let mut manifest = manifest();
        let artifact = &mut manifest["artifacts"][0];
        artifact["sha512"] = Sha512::of(TARBALL).to_string().into();
        artifact["provenance"]["size"] = bundle.len().into();
        artifact["provenance"]["sha256"] = Sha256::of(&bundle).to_string().into();
        let case = Case { manifest: serde_json::to_vec(&manifest).unwrap(), bundle, ..Case::good() };
        let mut seen = None;
        assert_eq!(case.authorize(|release| seen = Some(release.sha512)), Ok(()), "{wanted:?}");
        assert_eq!(seen, Some(wanted));
    }
}

#[test]
fn a_threshold_of_keys_takes_the_place_of_a_certificate() {
    let signed_by = |name: &str| {
        let release = Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL);
        PrivateSigstore::new("authorize").attest(&Attestation { managed_key: Some(ManagedKey::new(name)), ..release })
    };
    let keys: String = ["a", "b"].map(|name| format!("{name} = \"\"\"\n{}\"\"\"\n", ManagedKey::new(name).public_pem())).concat();
    let text = format!(
        "component = \"edgecore\"\nprofile = \"keys\"\n[keys]\nthreshold = 2\n[keys.public]\n{keys}[provenance]\nbuilder = \"{}\"\nsource = \"https://github.com/kubeedge/kubeedge\"\ntag = \"v{{version}}\"\n",
        generator_generic("v2.1.0")
    );
    let keyed = Policy::parse(&text).unwrap();
    let released = |lines: &[Vec<u8>], policies: &[&Policy]| {
        let bundle = lines.join(&b'\n');
        let provenance =
            json!({"urls": ["files/x.intoto.jsonl"], "size": bundle.len(), "sha256": Sha256::of(&bundle).to_string()});
        let policies = policies.iter().map(|policy| (*policy).clone()).collect();
        Case { bundle, policies, ..Case::artifact("provenance", provenance) }.code()
    };
    assert_eq!(released(&[signed_by("a"), signed_by("b")], &[&keyed]), "");
    assert_eq!(released(&[signed_by("a")], &[&keyed]), "POLICY-THRESHOLD");
    assert_eq!(released(&[signed_by("a"), signed_by("a")], &[&keyed]), "POLICY-THRESHOLD");
    assert_eq!(released(&[signed_by("a"), signed_by("b"), signed_by("c")], &[&keyed]), "POLICY-KEY");
    // The operator's policy and the device's own must both say yes.
    assert_eq!(released(&[signed_by("a"), signed_by("b")], &[&keyed, &policy("edgecore", "")]), "BUNDLE-MALFORMED");
    assert_eq!(released(&[evidence()], &[&keyed]), "KEY-MISMATCH");
}

/// Failed while `min_agent` was not compared, and while it was compared as text: 0.10.0 is newer than 0.9.0.
#[test]
fn an_agent_must_be_as_new_as_the_manifest_says() {
    for (least, agent, code) in [
        (None, "0.1.0", None),
        (Some("0.9.0"), "0.10.0", None),
        (Some("0.10.0"), "0.10.0", None),
        (Some("v0.10.0"), "0.9.0", Some("SLW-V-AGENT-VERSION")),
        (Some("0.10.0"), "0.10.0-rc.1", Some("SLW-V-AGENT-VERSION")),
        (Some("0.10.0"), "unknown", Some("SLW-V-AGENT-VERSION")),
    ] {
        let mut text = manifest();
        if let Some(least) = least {
            text["min_agent"] = least.into();
        }
        let read = Manifest::parse(text.to_string().as_bytes()).unwrap();
        let refused = agent_is_new_enough(&read, agent).err();
        assert_eq!(refused.as_ref().map(|why| why.code.as_ref()), code, "{least:?} {agent}");
        assert!(refused.is_none_or(|why| why.advice.starts_with("update the agent first")));
    }
}
