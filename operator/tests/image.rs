//! `slipway verify-image` on a real registry, on one with every modern feature and every fault, and on OCI image layouts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ending;

use base64::Engine as _;
use ending::{ending, good, refused, text};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use serde_json::{Value, json};
use slipway_world::registry::{
    DockerRegistry, FakeRegistry, PASSWORD, RegistryFault, Repository, USER, digest, docker_auth, tag_of,
};
use slipway_world::rekor::{RekorFault, RekorServer};
use slipway_world::sigstore::{Attestation, Evidence, ManagedKey, PredicateKind, PrivateSigstore, Subject};
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

const NAME: &str = "index.docker.io/kubeedge/cloudcore";
const REPOSITORY: &str = "kubeedge/cloudcore";
const TAG: &str = "v1.23.1";
const BUILDER: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml";
const BUILD_TYPE: &str = "https://github.com/slsa-framework/slsa-github-generator/container@v1";

/// A build of cloudcore's image, as the generator's container workflow attests it.
fn build(name: &str, image: &str) -> Attestation {
    let release = Attestation::kubeedge(TAG);
    let identity = format!("{BUILDER}@refs/tags/v2.1.0");
    let subject = Subject::sha256(name, image.trim_start_matches("sha256:"));
    Attestation { identity: identity.clone(), builder: identity, build_type: BUILD_TYPE.to_owned(), ..release }.subject(subject)
}

struct Desk {
    dir: TempDir,
    sigstore: PrivateSigstore,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: TempDir::new().unwrap(), sigstore: PrivateSigstore::new("images") };
        fs::write(desk.path("root"), desk.sigstore.trusted_root()).unwrap();
        let policy = format!(
            "component = \"cloudcore\"\n[certificate]\nissuer = \"https://token.actions.githubusercontent.com\"\n[provenance]\nbuilder = \"{BUILDER}\"\n\
             builder_versions = [\">=1.4.0, <3\"]\nbuild_type = \"{BUILD_TYPE}\"\nsource = \"https://github.com/kubeedge/kubeedge\"\n\
             tag = \"v{{version}}\"\ntriggers = \"release\"\n"
        );
        fs::write(desk.path("policy"), &policy).unwrap();
        fs::write(desk.path("policy-promise"), policy + "[log]\nunsafe_promise_only = true\n").unwrap();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn bundle(&self, attestation: &Attestation) -> Value {
        self.sigstore.attest_value(attestation)
    }

    fn command(&self, image: &str, policy: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args([
            "verify-image",
            image,
            "--plain-http",
            "--policy",
            &self.path(policy),
            "--trusted-root",
            &self.path("root"),
        ]);
        command.args(["--release-version", TAG]).args(more).env("DOCKER_CONFIG", self.dir.path());
        command
    }

    fn verify(&self, image: &str, more: &[&str]) -> Output {
        self.command(image, "policy", more).output().unwrap()
    }

    /// The report as JSON, whatever the verdict.
    fn report(&self, image: &str, more: &[&str]) -> Value {
        serde_json::from_slice(&self.verify(image, &[more, &["--json"]].concat()).stdout).unwrap()
    }
}

/// Puts a repository into a real registry, as cosign and docker do.
fn push(host: &str, auth: &RegistryAuth, repository: &Repository) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The client takes whatever provider of TLS the process has, also where it needs none.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    runtime.block_on(async {
        let at = |tag: String| Reference::with_tag(host.to_owned(), REPOSITORY.to_owned(), tag);
        let by = |digest: &str| Reference::with_digest(host.to_owned(), REPOSITORY.to_owned(), digest.to_owned());
        client.auth(&at("x".to_owned()), auth, RegistryOperation::Push).await.unwrap();
        for (digest, bytes) in &repository.blobs {
            client.push_blob(&at("x".to_owned()), bytes.clone(), digest).await.unwrap();
        }
        // What refers to another manifest comes after it.
        let mut manifests: Vec<_> = repository.manifests.iter().collect();
        manifests.sort_by_key(|(_, (_, bytes))| text(bytes).contains("\"manifests\""));
        for (digest, (media_type, bytes)) in manifests {
            client.push_manifest_raw(&by(digest), bytes.clone(), media_type.parse().unwrap()).await.unwrap();
        }
        for (tag, digest) in &repository.tags {
            let (media_type, bytes) = repository.manifests.get(digest).unwrap();
            client.push_manifest_raw(&at(tag.clone()), bytes.clone(), media_type.parse().unwrap()).await.unwrap();
        }
    });
}

/// A repository with one index of two platforms under [`TAG`]; the index's digest and the platforms'.
fn repository() -> (Repository, String, Vec<String>) {
    let mut repository = Repository::default();
    let (index, images) = repository.index("cloudcore", &["amd64", "arm64"]);
    repository.tag(TAG, &index);
    (repository, index, images)
}

#[test]
fn a_real_registry_with_cosigns_tag() {
    let (desk, registry) = (Desk::new(), DockerRegistry::start().unwrap());
    let rekor = RekorServer::start().unwrap();
    let name = format!("{}/{REPOSITORY}", registry.host());
    let (mut content, index, images) = repository();
    let bundle = desk.bundle(&build(&name, &index));
    rekor.add_bundle(&bundle);
    let layer = content.att_layer(&bundle);
    content.attach(&index, &[layer]);
    push(&registry.host(), &RegistryAuth::Anonymous, &content);

    let (tagged, pinned) = (format!("{name}:{TAG}"), format!("{name}@{index}"));
    for image in [&tagged, &pinned] {
        let output = desk.verify(image, &[]);
        assert_eq!(ending(&output), refused("SLW-V-LOG-PROOF-MISSING"));
        assert!(text(&output.stderr).contains("give --rekor-url"), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "nothing that could be taken for a yes");

        let output = desk.verify(image, &["--rekor-url", &rekor.url()]);
        assert_eq!(ending(&output), good());
        let report = text(&output.stdout);
        assert!(
            report.starts_with(&format!("Verified {name} ({index})\n  Source      https://github.com/kubeedge/kubeedge")),
            "{report}"
        );
        assert!(report.contains("  Content     index of linux/amd64, linux/arm64; "), "{report}");
        assert!(report.contains("  Attested by cosign's .att tag, layer 1  verified, with the proof"), "{report}");
        assert_eq!(report.contains(&format!("  Tag         {TAG} was {index} ")), image == &tagged, "{report}");

        assert_eq!(ending(&desk.command(image, "policy-promise", &[]).output().unwrap()), good());
    }
    // What is attested is the index.
    let output = desk.verify(&format!("{name}@{}", images[0]), &["--rekor-url", &rekor.url()]);
    assert_eq!(ending(&output), refused("SLW-O-ATTESTATION-NONE"));
    assert!(text(&output.stderr).contains("name the tag or the index"), "{}", text(&output.stderr));

    assert_eq!(ending(&desk.verify(&format!("{name}:none"), &[])), refused("SLW-O-IMAGE"));
    assert_eq!(ending(&desk.verify(&format!("{name}@{}", digest(b"none")), &[])), refused("SLW-O-IMAGE"));
    assert_eq!(ending(&desk.verify("not an image", &[])), refused("SLW-O-IMAGE"));
}

#[test]
fn a_real_registry_with_referrers_under_a_tag_behind_a_password() {
    let (desk, registry) = (Desk::new(), DockerRegistry::start_locked().unwrap());
    let (mut content, index, _) = repository();
    content.refer(&index, &desk.bundle(&build(NAME, &index)));
    content.fallback(&index);
    push(&registry.host(), &RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned()), &content);
    let image = format!("{}/{REPOSITORY}:{TAG}", registry.host());
    let output = desk.verify(&image, &["--name", NAME]);
    assert_eq!(ending(&output), refused("SLW-O-REGISTRY"));
    assert!(text(&output.stderr).contains("status 401"), "{}", text(&output.stderr));
    let auth = json!({"auths": {registry.host(): {"auth": docker_auth()}}});
    fs::write(desk.path("config.json"), auth.to_string()).unwrap();
    let output = desk.verify(&image, &["--name", NAME]);
    assert_eq!(ending(&output), good());
    assert!(text(&output.stdout).contains("  Attested by referrer "), "{}", text(&output.stdout));
    assert_eq!(ending(&desk.verify(&image, &[])), refused("SLW-V-SUBJECT-NAME"), "a mirror has another name");
}

/// The fake registry with one repository, and the image in it by tag and by digest.
fn fake(content: Repository) -> (FakeRegistry, String) {
    let registry = FakeRegistry::start([(REPOSITORY.to_owned(), content)]).unwrap();
    let image = format!("{}/{REPOSITORY}", registry.host());
    (registry, image)
}

#[test]
fn referrers_and_tokens_and_both_versions_of_provenance() {
    let desk = Desk::new();
    for predicate in [PredicateKind::SlsaV02, PredicateKind::SlsaV1] {
        let (mut content, index, _) = repository();
        content.refer(&index, &desk.bundle(&Attestation { predicate, ..build(NAME, &index) }));
        let (registry, image) = fake(content);
        registry.want_token("secret");
        assert_eq!(ending(&desk.verify(&format!("{image}:{TAG}"), &["--name", NAME])), good(), "{predicate:?}");
        let asked = registry.asked();
        assert!(
            asked.contains(&"/token".to_owned()) && asked.contains(&format!("/v2/{REPOSITORY}/referrers/{index}")),
            "{asked:?}"
        );
        let tags = asked.iter().filter(|path| **path == format!("/v2/{REPOSITORY}/manifests/{TAG}"));
        assert_eq!(tags.count(), 1, "a tag is looked up once: {asked:?}");
    }
}

#[test]
fn a_tag_that_moves_changes_nothing() {
    let desk = Desk::new();
    let (mut content, index, _) = repository();
    content.refer(&index, &desk.bundle(&build(NAME, &index)));
    let (other, _) = content.index("something else", &["amd64"]);
    let (registry, image) = fake(content);
    registry.fault(&format!("/v2/{REPOSITORY}/manifests/{TAG}"), RegistryFault::MoveTag(other));
    let report = desk.report(&format!("{image}:{TAG}"), &["--name", NAME]);
    assert_eq!((&report["verified"], &report["report"]["digest"]), (&json!(true), &json!(index.trim_start_matches("sha256:"))));
    let report = desk.report(&format!("{image}:{TAG}"), &["--name", NAME]);
    assert_eq!(
        (&report["verified"], &report["refusal"]["code"]),
        (&json!(false), &json!("SLW-O-ATTESTATION-NONE")),
        "now it is the other"
    );
}

#[test]
fn every_attestation_is_tried_and_named() {
    let desk = Desk::new();
    let (mut content, index, images) = repository();
    let right = desk.bundle(&build(NAME, &index));
    let timestamped = desk.bundle(&Attestation { evidence: Evidence::RekorV1AndTimestamp, ..build(NAME, &index) });
    let wrong = desk.bundle(&build(NAME, &images[0]));
    let foreign = PrivateSigstore::new("foreign").attest_value(&build(NAME, &index));
    let layers = [&timestamped, &wrong, &timestamped].map(|bundle| content.att_layer(bundle));
    content.attach(&index, &layers);
    content.refer(&index, &wrong);
    content.refer(&index, &foreign);
    let (_registry, image) = fake(content.clone());
    let image = format!("{image}@{index}");
    let output = desk.verify(&image, &["--name", NAME]);
    assert_eq!(ending(&output), refused("SLW-O-ATTESTATION"));
    let stderr = text(&output.stderr);
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.contains("SLW-V-LOG-PROOF-MISSING, saw") || line.contains("SLW-V-LOG-PROOF-MISSING: "))
            .count(),
        2,
        "{stderr}"
    );
    assert!(stderr.contains("SLW-V-ARTIFACT-DIGEST: ") && stderr.contains("SLW-V-LOG-UNKNOWN"), "{stderr}");
    let report = desk.report(&image, &["--name", NAME]);
    assert_eq!(report["report"]["attestations"].as_array().unwrap().len(), 4, "one of the layers is there twice: {report}");

    content.refer(&index, &right);
    let (_registry, image) = fake(content);
    let report = desk.report(&format!("{image}@{index}"), &["--name", NAME]);
    let attestations = report["report"]["attestations"].as_array().unwrap();
    assert_eq!(report["verified"], true);
    assert_eq!((attestations.len(), attestations.iter().filter(|one| one["verified"] == true).count()), (5, 1), "{report}");

    // A timestamp beside the promise is evidence too, and must be right.
    let output = desk.command(&format!("{image}@{index}"), "policy-promise", &["--name", NAME]).output().unwrap();
    assert_eq!(ending(&output), good());
    assert!(text(&output.stdout).contains("  Attested by cosign's .att tag, layer 1  verified\n"), "{}", text(&output.stdout));
}

/// What is put into the repository, what is asked, and what is answered.
#[test]
fn whatever_is_not_this_images_provenance_is_refused_by_name() {
    let desk = Desk::new();
    type Change<'a> = &'a dyn Fn(&Desk, &mut Repository, &str, &[String]);
    let edit = |content: &mut Repository, index: &str, change: &dyn Fn(&mut Value)| {
        let tag = tag_of(index, ".att");
        let mut manifest: Value = serde_json::from_slice(&content.manifests[&content.tags[&tag]].1).unwrap();
        change(&mut manifest["layers"][0]);
        let changed = content.manifest(&manifest);
        content.tag(&tag, &changed);
    };
    let attach = |desk: &Desk, content: &mut Repository, index: &str, attestation: &Attestation| {
        let layer = content.att_layer(&desk.bundle(attestation));
        content.attach(index, &[layer]);
    };
    let cases: [(&str, Change<'_>); 18] = [
        ("SLW-O-ATTESTATION-NONE", &|_, _, _, _| {}),
        ("SLW-V-ARTIFACT-DIGEST", &|desk, content, index, images| {
            content.refer(index, &desk.bundle(&build(NAME, &images[1])));
        }),
        ("SLW-V-SUBJECT-NAME", &|desk, content, index, _| {
            content.refer(index, &desk.bundle(&build("index.docker.io/kubeedge/edgecore", index)));
        }),
        ("SLW-V-POLICY-SOURCE", &|desk, content, index, _| {
            let source = "https://github.com/kubeedge/kubeedgf".to_owned();
            content.refer(index, &desk.bundle(&Attestation { source, ..build(NAME, index) }));
        }),
        ("SLW-V-POLICY-REF", &|desk, content, index, _| {
            let git_ref = "refs/tags/v1.23.2".to_owned();
            content.refer(index, &desk.bundle(&Attestation { git_ref, ..build(NAME, index) }));
        }),
        ("SLW-V-POLICY-IDENTITY", &|desk, content, index, _| {
            content.refer(index, &desk.bundle(&build(NAME, index).generator("v2.1.0")));
        }),
        ("SLW-V-POLICY-PREDICATE", &|desk, content, index, _| {
            let bill = build(NAME, index).edit("/predicateType", Some(json!("https://cyclonedx.org/bom")));
            content.refer(index, &desk.bundle(&bill));
        }),
        ("SLW-V-BUNDLE-MALFORMED", &|_, content, index, _| {
            content.refer(index, &json!("no bundle"));
        }),
        ("SLW-O-ATTESTATION", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["mediaType"] = "text/plain".into());
        }),
        ("SLW-O-ATTESTATION", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["annotations"]["dev.sigstore.cosign/certificate"] = "PEM".into());
        }),
        ("SLW-O-ATTESTATION", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["annotations"]["dev.sigstore.cosign/bundle"] = "{}".into());
        }),
        ("SLW-V-LOG-MISSING", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["annotations"]["dev.sigstore.cosign/bundle"] = "".into());
        }),
        ("SLW-O-IMAGE-SIZE", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["size"] = json!(2 << 20));
        }),
        ("SLW-O-IMAGE-SIZE", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["size"] = json!(layer["size"].as_u64().unwrap() - 1));
        }),
        ("SLW-O-IMAGE-DIGEST", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["size"] = json!(layer["size"].as_u64().unwrap() + 1));
        }),
        ("SLW-O-IMAGE-DIGEST", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            edit(content, index, &|layer| layer["digest"] = digest(b"nothing").into());
        }),
        ("SLW-O-IMAGE-DIGEST", &|desk, content, index, _| {
            attach(desk, content, index, &build(NAME, index));
            for bytes in content.blobs.values_mut().filter(|bytes| bytes.starts_with(b"{\"payload")) {
                bytes[20] ^= 1;
            }
        }),
        ("SLW-O-IMAGE-SIZE", &|desk, content, index, _| {
            let bundle = desk.bundle(&build(NAME, index));
            for n in 0..65 {
                let mut each = bundle.clone();
                each["n"] = n.into();
                content.refer(index, &each);
            }
        }),
    ];
    for (n, (code, change)) in cases.into_iter().enumerate() {
        let (mut content, index, images) = repository();
        change(&desk, &mut content, &index, &images);
        let (_registry, image) = fake(content);
        let output = desk.verify(&format!("{image}@{index}"), &["--name", NAME]);
        assert_eq!(ending(&output), refused(code), "case {n}: {}", text(&output.stderr));
    }
}

#[test]
fn a_registry_that_misbehaves_is_refused_in_time() {
    let desk = Desk::new();
    let (mut content, index, _) = repository();
    let bundle = desk.bundle(&build(NAME, &index));
    let referrer = content.refer(&index, &bundle);
    let blob = digest(bundle.to_string().as_bytes());
    let other = content.refer(&digest(b"another image"), &desk.bundle(&build(NAME, &index).at(1_750_000_100)));
    let mut lying = content.referrers(&digest(b"another image"));
    lying["manifests"].as_array_mut().unwrap().truncate(1);
    for (path, fault, code) in [
        (format!("manifests/{index}"), RegistryFault::Endless, "SLW-O-REGISTRY"),
        (format!("manifests/{index}"), RegistryFault::Never, "SLW-O-REGISTRY"),
        (format!("manifests/{index}"), RegistryFault::Status(500), "SLW-O-REGISTRY"),
        (format!("manifests/{index}"), RegistryFault::Status(404), "SLW-O-IMAGE"),
        (format!("manifests/{index}"), RegistryFault::Bytes(b"{}".to_vec()), "SLW-O-IMAGE-DIGEST"),
        (format!("manifests/{}", tag_of(&index, ".att")), RegistryFault::Endless, "SLW-O-REGISTRY"),
        (format!("manifests/{}", tag_of(&index, ".att")), RegistryFault::Status(403), "SLW-O-REGISTRY"),
        (format!("referrers/{index}"), RegistryFault::Endless, "SLW-O-REGISTRY"),
        (format!("referrers/{index}"), RegistryFault::Never, "SLW-O-REGISTRY"),
        (format!("manifests/{referrer}"), RegistryFault::Bytes(b"{}".to_vec()), "SLW-O-IMAGE-DIGEST"),
        (format!("manifests/{referrer}"), RegistryFault::Status(404), "SLW-O-IMAGE-DIGEST"),
        (format!("blobs/{blob}"), RegistryFault::Endless, "SLW-O-IMAGE-SIZE"),
        (format!("blobs/{blob}"), RegistryFault::Never, "SLW-O-REGISTRY"),
        (format!("blobs/{blob}"), RegistryFault::Status(404), "SLW-O-IMAGE-DIGEST"),
        (format!("blobs/{blob}"), RegistryFault::Bytes(b"{}".to_vec()), "SLW-O-IMAGE-DIGEST"),
        (String::new(), RegistryFault::Never, "SLW-O-REGISTRY"),
    ] {
        let (registry, image) = fake(content.clone());
        let path = if path.is_empty() { "/v2/".to_owned() } else { format!("/v2/{REPOSITORY}/{path}") };
        registry.fault(&path, fault.clone());
        let output = desk.verify(&format!("{image}@{index}"), &["--name", NAME, "--timeout", "1"]);
        assert_eq!(ending(&output), refused(code), "{path} {fault:?}: {}", text(&output.stderr));
    }
    // A list that names another image's referrer.
    content.tag(&tag_of(&index, ""), &other);
    let list = content.manifest(&json!({"schemaVersion": 2, "mediaType": lying["mediaType"], "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": other, "size": 1,
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    }]}));
    content.tag(&tag_of(&index, ""), &list);
    let (registry, image) = fake(content);
    registry.referrers_api(false);
    let output = desk.verify(&format!("{image}@{index}"), &["--name", NAME]);
    assert_eq!(ending(&output), refused("SLW-O-ATTESTATION"), "{}", text(&output.stderr));
    assert_eq!(ending(&desk.verify("127.0.0.1:1/a/b:c", &["--timeout", "5"])), refused("SLW-O-REGISTRY"));
}

#[test]
fn a_log_that_completes_wrongly_is_refused() {
    let desk = Desk::new();
    let (mut content, index, images) = repository();
    let bundle = desk.bundle(&build(NAME, &index));
    let layer = content.att_layer(&bundle);
    content.attach(&index, &[layer]);
    let (_registry, image) = fake(content.clone());
    let image = format!("{image}@{index}");
    let rekor = RekorServer::start().unwrap();
    let verify = || desk.verify(&image, &["--name", NAME, "--timeout", "1", "--rekor-url", &rekor.url()]);
    assert_eq!(ending(&verify()), refused("SLW-O-ENTRY-NONE"));
    // The same index with another body: a log that tells two stories.
    let mut forged = desk.bundle(&build(NAME, &images[0]))["verificationMaterial"]["tlogEntries"][0].clone();
    forged["logIndex"] = bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"].clone();
    let liar = RekorServer::start().unwrap();
    liar.add(forged);
    let output = desk.verify(&image, &["--name", NAME, "--rekor-url", &liar.url()]);
    assert_eq!(ending(&output), refused("SLW-O-ENTRY-MISMATCH"));
    rekor.add_bundle(&bundle);
    for fault in [RekorFault::Endless, RekorFault::Never, RekorFault::Status(502), RekorFault::NoProof] {
        rekor.fault(Some(fault));
        assert_eq!(ending(&verify()), refused("SLW-O-REKOR"), "{fault:?}");
    }
    rekor.fault(None);
    assert_eq!(ending(&verify()), good());
    // Without a promise the log is searched.
    let mut manifest: Value = serde_json::from_slice(&content.manifests[&content.tags[&tag_of(&index, ".att")]].1).unwrap();
    manifest["layers"][0]["annotations"].as_object_mut().unwrap().remove("dev.sigstore.cosign/bundle");
    let changed = content.manifest(&manifest);
    content.tag(&tag_of(&index, ".att"), &changed);
    let (_registry, image) = fake(content);
    let output = desk.verify(&format!("{image}@{index}"), &["--name", NAME, "--rekor-url", &rekor.url()]);
    assert_eq!(ending(&output), good());
}

#[test]
fn a_key_of_ones_own_signs_too() {
    let desk = Desk::new();
    let (mut content, index, _) = repository();
    let key = ManagedKey::new("image");
    let bundle = desk.bundle(&Attestation { managed_key: Some(key.clone()), ..build(NAME, &index) });
    let layer = content.att_layer(&bundle);
    content.attach(&index, &[layer]);
    let (_registry, image) = fake(content);
    let image = format!("{image}@{index}");
    let rekor = RekorServer::start().unwrap();
    rekor.add_bundle(&bundle);
    let url = rekor.url();
    let more = ["--name", NAME, "--rekor-url", &url];
    for (name, wanted) in [("image", good()), ("another", refused("SLW-V-POLICY-KEY"))] {
        let pem = ManagedKey::new(name).public_pem();
        let policy = format!(
            "component = \"cloudcore\"\nprofile = \"keys\"\n[keys]\nthreshold = 1\n[keys.public]\nours = \"\"\"\n{pem}\"\"\"\n\
             [provenance]\nbuilder = \"{BUILDER}@refs/tags/v2.1.0\"\nsource = \"https://github.com/kubeedge/kubeedge\"\ntag = \"v{{version}}\"\n"
        );
        fs::write(desk.path("policy-key"), policy).unwrap();
        let output = desk.command(&image, "policy-key", &more).output().unwrap();
        assert_eq!(ending(&output), wanted, "{}", text(&output.stderr));
    }
    assert_eq!(ending(&desk.verify(&image, &more)), refused("SLW-V-KEY-MISMATCH"), "a policy for certificates");
}

#[test]
fn a_layout_is_a_folder_with_one_image_or_a_named_one() {
    let desk = Desk::new();
    let (mut content, index, images) = repository();
    content.refer(&index, &desk.bundle(&build(NAME, &index)));
    let layer = content.att_layer(&desk.bundle(&build(NAME, &index)));
    content.attach(&index, &[layer]);
    let folder = desk.path("layout");
    content.write_layout(folder.as_ref()).unwrap();
    let name = ["--name", NAME];
    for image in [folder.clone(), format!("oci:{folder}"), format!("oci:{folder}:{TAG}"), format!("{folder}@{index}")] {
        let output = desk.verify(&image, &name);
        assert_eq!(ending(&output), good(), "{image}");
        let report = text(&output.stdout);
        assert!(
            report.contains("cosign's .att tag, layer 1  SLW-V-LOG-PROOF-MISSING") && report.contains("  verified\n"),
            "{report}"
        );
    }
    assert_eq!(desk.verify(&folder, &[]).status.code(), Some(2), "a folder has no name");
    assert_eq!(ending(&desk.verify(&format!("{folder}@{}", images[0]), &name)), refused("SLW-O-ATTESTATION-NONE"));
    assert_eq!(ending(&desk.verify(&format!("oci:{folder}:none"), &name)), refused("SLW-O-IMAGE"));
    assert_eq!(ending(&desk.verify(&desk.path(""), &name)), refused("SLW-O-IMAGE"), "a folder that is no layout");

    // A second image, with another's provenance: each has to be named, and only the first has its own.
    let (second, _) = content.index("second", &["amd64"]);
    content.tag("second", &second);
    content.write_layout(folder.as_ref()).unwrap();
    let output = desk.verify(&folder, &name);
    assert_eq!(ending(&output), refused("SLW-O-IMAGE"));
    assert!(text(&output.stderr).contains("2 images"), "{}", text(&output.stderr));
    assert_eq!(ending(&desk.verify(&format!("oci:{folder}:second"), &name)), refused("SLW-O-ATTESTATION-NONE"));

    // The bytes of a blob are what its name says, or nothing.
    let blob = content.blobs.iter().find(|(_, bytes)| bytes.starts_with(b"{\"dsseEnvelope")).unwrap();
    let path = format!("{folder}/blobs/sha256/{}", blob.0.trim_start_matches("sha256:"));
    let mut changed = blob.1.clone();
    changed[100] ^= 1;
    for (bytes, code) in [(changed, "SLW-O-IMAGE-DIGEST"), ([blob.1.as_slice(), b"x"].concat(), "SLW-O-IMAGE-SIZE")] {
        fs::write(&path, bytes).unwrap();
        let report = desk.report(&format!("oci:{folder}:{TAG}"), &name);
        let codes: Vec<&Value> =
            report["report"]["attestations"].as_array().unwrap().iter().map(|one| &one["refusal"]["code"]).collect();
        assert!(codes.contains(&&json!(code)) && report["verified"] == false, "{report}");
    }
}

#[test]
fn what_cosign_saves_is_a_layout_too() {
    let desk = Desk::new();
    let (mut content, index, _) = repository();
    let layer = content.att_layer(&desk.bundle(&build(NAME, &index)));
    let att = content.attach(&index, &[layer]);
    let folder = desk.path("saved");
    content.write_layout(folder.as_ref()).unwrap();
    let kinds = [(&index, "dev.cosignproject.cosign/imageIndex"), (&att, "dev.cosignproject.cosign/atts")];
    let entries: Vec<Value> = kinds
        .iter()
        .map(|(digest, kind)| {
            let mut entry = content.descriptor(digest);
            entry["annotations"] = json!({"kind": kind});
            entry
        })
        .collect();
    fs::write(format!("{folder}/index.json"), json!({"schemaVersion": 2, "manifests": entries}).to_string()).unwrap();
    assert_eq!(ending(&desk.command(&folder, "policy-promise", &["--name", NAME]).output().unwrap()), good());
}

#[test]
fn credentials_are_what_docker_login_writes() {
    assert_eq!(
        base64::engine::general_purpose::STANDARD.decode(docker_auth()).unwrap(),
        format!("{USER}:{PASSWORD}").into_bytes()
    );
}
