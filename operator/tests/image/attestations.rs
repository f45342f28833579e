//! What attests an image: each is tried, and only its own provenance counts.

use super::*;
use slipway_testkit::registry::tag_of;
use slipway_testkit::rekor::RekorFault;
use slipway_testkit::sigstore::{Evidence, ManagedKey};

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
    assert_eq!(stderr.lines().filter(|line| line.contains("SLW-V-LOG-PROOF-MISSING: ")).count(), 2, "{stderr}");
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
fn a_log_that_completes_wrongly_is_refused() {
    // Entries of kind `dsse`, and `intoto` 0.0.1, which is found by the hash of the layer.
    for version in ["v2.1.0", "v1.9.0"] {
        let desk = Desk::new();
        let (mut content, index, images) = repository();
        let bundle = desk.bundle(&build_by(version, NAME, &index));
        let layer = content.att_layer(&bundle);
        content.attach(&index, &[layer]);
        let (_registry, image) = fake(content.clone());
        let image = format!("{image}@{index}");
        let rekor = RekorServer::start().unwrap();
        let verify = || desk.verify(&image, &["--name", NAME, "--timeout", "1", "--rekor-url", &rekor.url()]);
        assert_eq!(ending(&verify()), refused("SLW-O-ENTRY-NONE"));
        // The same index with another body: a log that tells two stories.
        let mut forged = desk.bundle(&build_by(version, NAME, &images[0]))["verificationMaterial"]["tlogEntries"][0].clone();
        forged["logIndex"] = bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"].clone();
        let forger = RekorServer::start().unwrap();
        forger.add(forged);
        let output = desk.verify(&image, &["--name", NAME, "--rekor-url", &forger.url()]);
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
}

/// A policy of these keys of one's own.
fn keys(threshold: usize, names: &[&str]) -> String {
    let public: String =
        names.iter().map(|name| format!("{name} = \"\"\"\n{}\"\"\"\n", ManagedKey::new(name).public_pem())).collect();
    format!(
        "component = \"cloudcore\"\nprofile = \"keys\"\n[keys]\nthreshold = {threshold}\n[keys.public]\n{public}\
         [provenance]\nbuilder = \"{BUILDER}@refs/tags/v2.1.0\"\nsource = \"https://github.com/kubeedge/kubeedge\"\ntag = \"v{{version}}\"\n"
    )
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
        fs::write(desk.path("policy-key"), keys(1, &[name])).unwrap();
        let output = desk.command(&image, "policy-key", &more).output().unwrap();
        assert_eq!(ending(&output), wanted, "{}", text(&output.stderr));
    }
    assert_eq!(ending(&desk.verify(&image, &more)), refused("SLW-V-KEY-MISMATCH"), "a policy for certificates");
}

#[test]
fn several_people_attest_each_by_a_key_of_their_own() {
    let desk = Desk::new();
    let (content, index, _) = repository();
    let by = |name: &str| Attestation { managed_key: Some(ManagedKey::new(name)), ..build(NAME, &index) };
    let other_commit = || Attestation { commit: "0".repeat(40), ..by("bob") };
    fs::write(desk.path("policy-keys"), keys(2, &["alice", "bob", "carol"])).unwrap();
    for (what, attestations, wanted, counted) in [
        ("two", vec![by("alice"), by("bob")], good(), 2),
        ("all, and a stranger who counts for nothing", vec![by("carol"), by("mallory"), by("bob"), by("alice")], good(), 3),
        ("one", vec![by("alice")], refused("SLW-V-POLICY-THRESHOLD"), 0),
        (
            "one, twice, in two logs",
            vec![by("alice"), Attestation { evidence: Evidence::RekorV2, ..by("alice") }],
            refused("SLW-V-POLICY-THRESHOLD"),
            0,
        ),
        ("one and a stranger", vec![by("alice"), by("mallory")], refused("SLW-O-ATTESTATION"), 0),
        ("two about two commits", vec![by("alice"), other_commit()], refused("SLW-V-CLAIM-COMMIT"), 0),
    ] {
        // As a tool writes it that likes line breaks, and as referrers of one bundle each.
        let mut content = content.clone();
        for attestation in &attestations {
            content.refer_bytes(&index, serde_json::to_string_pretty(&desk.bundle(attestation)).unwrap().as_bytes());
        }
        let (_registry, image) = fake(content);
        let image = format!("{image}@{index}");
        let output = desk.command(&image, "policy-keys", &["--name", NAME]).output().unwrap();
        assert_eq!(ending(&output), wanted, "{what}: {}", text(&output.stderr));
        let together = text(&output.stdout).matches("verified, together with the others").count();
        assert_eq!(together, counted, "{what}: {}", text(&output.stdout));
    }
    // As cosign attaches them, without their proofs: one log completes all.
    let rekor = RekorServer::start().unwrap();
    let mut content = content;
    let layers: Vec<Value> = ["alice", "bob"]
        .map(|name| {
            let bundle = desk.bundle(&by(name));
            rekor.add_bundle(&bundle);
            content.att_layer(&bundle)
        })
        .to_vec();
    content.attach(&index, &layers);
    let (_registry, image) = fake(content);
    let image = format!("{image}@{index}");
    let verify = |more: &[&str]| desk.command(&image, "policy-keys", &[&["--name", NAME], more].concat()).output().unwrap();
    assert_eq!(ending(&verify(&[])), refused("SLW-V-LOG-PROOF-MISSING"), "and so says each");
    let output = verify(&["--rekor-url", &rekor.url()]);
    assert_eq!(ending(&output), good(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("alice") && text(&output.stdout).contains("bob"), "{}", text(&output.stdout));
}
