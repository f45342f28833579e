//! Registries: a real one, one with every modern feature, and one with every fault.

use super::*;
use base64::Engine as _;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use slipway_testkit::registry::{DockerRegistry, PASSWORD, RegistryFault, USER, docker_auth, tag_of};
use slipway_testkit::sigstore::PredicateKind;

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
        assert!(report.contains("  Attested by cosign's .att tag, layer 1  verified, with a proof"), "{report}");
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
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": other, "size": content.manifests[&other].1.len(),
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
fn credentials_are_what_docker_login_writes() {
    assert_eq!(
        base64::engine::general_purpose::STANDARD.decode(docker_auth()).unwrap(),
        format!("{USER}:{PASSWORD}").into_bytes()
    );
}
