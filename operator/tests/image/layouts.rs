//! OCI image layouts: folders.

use super::*;

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
fn a_layouts_index_is_held_to_what_it_says() {
    let desk = Desk::new();
    let (mut content, index, _) = repository();
    let (other, _) = content.index("another", &["amd64"]);
    for image in [&index, &other] {
        content.refer(image, &desk.bundle(&build(NAME, image)));
    }
    let folder = desk.path("layout");
    content.write_layout(folder.as_ref()).unwrap();
    let blob = |digest: &str| format!("{folder}/blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    let path = format!("{folder}/index.json");
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let verify = || ending(&desk.verify(&format!("oci:{folder}:{TAG}"), &["--name", NAME]));
    assert_eq!(verify(), good());

    // The blob of the named entry is another image, with provenance of its own.
    let right = fs::read(blob(&index)).unwrap();
    fs::copy(blob(&other), blob(&index)).unwrap();
    assert_eq!(verify(), refused("SLW-O-IMAGE-DIGEST"));
    fs::write(blob(&index), right).unwrap();

    let edit = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut changed = written.clone();
        change(changed["manifests"].as_array_mut().unwrap());
        fs::write(&path, changed.to_string()).unwrap();
    };
    let named = |entries: &[Value]| entries.iter().position(|entry| entry["annotations"].is_object()).unwrap();
    edit(&|entries| {
        let at = named(entries);
        entries[at]["size"] = json!(entries[at]["size"].as_u64().unwrap() - 1);
    });
    assert_eq!(verify(), refused("SLW-O-IMAGE-DIGEST"), "another size");
    edit(&|entries| {
        let again = entries[named(entries)].clone();
        entries.push(again);
    });
    assert_eq!(verify(), good(), "the same entry twice is one");
    edit(&|entries| {
        let mut second = entries[named(entries)].clone();
        second["digest"] = other.clone().into();
        entries.push(second);
    });
    let output = desk.verify(&format!("oci:{folder}:{TAG}"), &["--name", NAME]);
    assert_eq!(ending(&output), refused("SLW-O-IMAGE"));
    assert!(text(&output.stderr).contains(&format!("{TAG} names {index} and {other}")), "{}", text(&output.stderr));
    edit(&|entries| {
        for entry in entries.iter_mut().filter(|entry| entry["artifactType"].is_string()) {
            entry["size"] = json!(entry["size"].as_u64().unwrap() + 1);
        }
    });
    assert_eq!(verify(), refused("SLW-O-ATTESTATION"), "referrers of another size");

    // Image and index at once: who takes it for the one runs something else than who takes it for the other.
    let mut both: Value = serde_json::from_slice(&content.manifests[&index].1).unwrap();
    both["layers"] = both["manifests"].clone();
    let both = content.manifest(&both);
    content.refer(&both, &desk.bundle(&build(NAME, &both)));
    content.write_layout(folder.as_ref()).unwrap();
    assert_eq!(ending(&desk.verify(&format!("oci:{folder}@{both}"), &["--name", NAME])), refused("SLW-O-IMAGE"));
}

#[test]
fn a_folder_without_a_layout_is_refused_with_what_it_lacks() {
    let desk = Desk::new();
    fs::create_dir(desk.path("nolayout")).unwrap();
    let output = desk.command("./nolayout", "policy", &["--name", NAME]).current_dir(desk.dir.path()).output().unwrap();
    assert_eq!(ending(&output), refused("SLW-O-IMAGE"));
    let said = text(&output.stderr);
    assert!(said.contains("./nolayout: no file oci-layout in it") && said.contains("skopeo copy"), "{said}");
}

/// Two real images of SLSA's container generator, with cosign's attestations: their log entries are of kind `intoto` 0.0.1 and have only the
/// log's promise. The policy is what a person would write; whatever is off by one character is refused by its own check.
#[test]
fn real_images_of_the_container_generator_verify() {
    let Some(vectors) = slipway_testkit::vectors::vectors() else { return };
    let name = "ghcr.io/slsa-framework/example-package.verifier-e2e.all.tag.main.default.slsa3";
    for (version, reference, trigger) in
        [("1.4.0", "refs/heads/main", "workflow_dispatch"), ("1.9.0", "refs/tags/v13.0.30", "push")]
    {
        let desk = Desk::new();
        let layout = vectors.join(format!("slsa/images/container-v{version}"));
        let digest = fs::read_to_string(layout.with_extension("0.digest")).unwrap();
        let policy = format!(
            "component = \"example\"\n\
             [certificate]\nissuer = \"https://token.actions.githubusercontent.com\"\n\
             [provenance]\nbuilder = \"{BUILDER}\"\nbuilder_versions = \"{version}\"\n\
             source = \"https://github.com/slsa-framework/example-package\"\nref = \"{reference}\"\ntriggers = \"{trigger}\"\n\
             [log]\nunsafe_promise_only = true\n"
        );
        let verify = |image: &str, name: &str, policy: &str| {
            fs::write(desk.path("real"), policy).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
            command.args(["verify-image", image, "--name", name, "--policy", &desk.path("real"), "--json"]);
            let output = command.output().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            (ending(&output).0, report["report"]["attestations"][0]["refusal"]["code"].as_str().unwrap_or_default().to_owned())
        };
        let layout = layout.to_str().unwrap();
        assert_eq!(verify(layout, name, &policy), (0, String::new()), "{version}");
        assert_eq!(verify(&format!("{layout}@{}", digest.trim()), name, &policy), (0, String::new()), "{version}");
        assert_eq!(verify(layout, &name[1..], &policy), (3, "SLW-V-SUBJECT-NAME".to_owned()));
        for (from, to, code) in [
            ("example-package\"", "example-packagf\"", "SLW-V-POLICY-SOURCE"),
            (reference, &reference.replace("ma", "mb").replace("30", "31"), "SLW-V-POLICY-REF"),
            (BUILDER, &BUILDER.replace("container_slsa3", "container_slsa4"), "SLW-V-POLICY-IDENTITY"),
            (version, &version.replace('1', "2"), "SLW-V-POLICY-IDENTITY"),
            (trigger, "release", "SLW-V-POLICY-TRIGGER"),
            ("githubusercontent", "githubusercontenu", "SLW-V-POLICY-ISSUER"),
            ("[log]\nunsafe_promise_only = true\n", "", "SLW-V-LOG-PROOF-MISSING"),
        ] {
            assert!(policy.contains(from), "{from}");
            assert_eq!(verify(layout, name, &policy.replacen(from, to, 1)), (3, code.to_owned()), "{version}: {from}");
        }
    }
}
