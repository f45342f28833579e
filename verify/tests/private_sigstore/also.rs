//! A preset with alternatives beside it: each is complete, and none lends a part to another.
//!
//! Seen to fail with a trigger that no alternative checks, and with the first alternative's
//! refusal in the place of the furthest one's.

use super::*;

/// What docs/VERIFYING.md adds to the preset: a later generator, a re-run by hand, GitHub's own
/// attestation.
fn extended() -> Policy {
    let page = include_str!("../../../docs/VERIFYING.md");
    let text = page.split("```toml\n").skip(1).find(|block| block.contains("[[also]]")).unwrap();
    Policy::parse(text.split("```").next().unwrap()).unwrap()
}

fn by_hand(attestation: Attestation) -> Attestation {
    let inputs = "/predicate/invocation/environment/github_event_payload/inputs";
    Attestation { trigger: "workflow_dispatch".into(), ..attestation }.edit(inputs, Some(json!({"reason": "runner died"})))
}

fn attested() -> Attestation {
    let own = Attestation::npm("kubeedge/kubeedge", "refs/tags/v1.23.1");
    let build_type = "https://actions.github.io/buildtypes/workflow/v1".to_owned();
    Attestation { trigger: "release".into(), build_type, ..own.artifact(NAME, TARBALL) }
}

#[test]
fn what_an_alternative_says_is_accepted_as_a_whole_and_nothing_between_two() {
    let (preset, extended) = (kubeedge(""), extended());
    for (what, attestation, alone, wanted) in [
        ("the preset's own", release(), "", ""),
        ("a later generator", release().generator("v3.1.0"), "POLICY-IDENTITY", ""),
        ("a re-run", by_hand(release()), "POLICY-TRIGGER", ""),
        ("GitHub's attestation", attested(), "POLICY-IDENTITY", ""),
        // The parts of two.
        ("a re-run of a later generator", by_hand(release().generator("v3.1.0")), "POLICY-IDENTITY", "POLICY-TRIGGER"),
        (
            "GitHub's attestation of a re-run",
            Attestation { trigger: "workflow_dispatch".into(), ..attested() },
            "POLICY-IDENTITY",
            "POLICY-TRIGGER",
        ),
        (
            "the generator with GitHub's predicate",
            Attestation { predicate: PredicateKind::SlsaV1, ..release() },
            "POLICY-PREDICATE",
            "POLICY-PREDICATE",
        ),
        (
            "GitHub's attestation with the generator's predicate",
            Attestation { predicate: PredicateKind::SlsaV02, ..attested() },
            "POLICY-IDENTITY",
            "POLICY-PREDICATE",
        ),
        (
            "the generator that names the runner",
            release().edit("/predicate/builder/id", Some("https://github.com/actions/runner/github-hosted".into())),
            "POLICY-BUILDER",
            "POLICY-BUILDER",
        ),
        (
            "a re-run without its input",
            Attestation { trigger: "workflow_dispatch".into(), ..release() },
            "POLICY-TRIGGER",
            "POLICY-INPUTS",
        ),
        (
            "a release with the re-run's input",
            Attestation { trigger: "release".into(), ..by_hand(release()) },
            "POLICY-INPUTS",
            "POLICY-INPUTS",
        ),
        // What all of them inherit.
        ("another generator", release().generator("v4.0.0"), "POLICY-IDENTITY", "POLICY-IDENTITY"),
        (
            "another source",
            by_hand(Attestation { source: "https://github.com/kubeedge/kubeedgf".into(), ..release() }),
            "POLICY-SOURCE",
            "POLICY-SOURCE",
        ),
        (
            "another tag",
            Attestation { git_ref: "refs/tags/v1.23.2".into(), ..release() }.generator("v3.0.0"),
            "POLICY-IDENTITY",
            "POLICY-REF",
        ),
        (
            "another workflow",
            Attestation { workflow: ".github/workflows/evil.yml".into(), ..release() }.generator("v3.0.0"),
            "POLICY-IDENTITY",
            "POLICY-WORKFLOW",
        ),
    ] {
        let bundle = sigstore().attest(&attestation);
        assert_eq!(judge(&bundle, &root(), &preset), alone, "{what}, by the preset alone");
        assert_eq!(judge(&bundle, &root(), &extended), wanted, "{what}");
    }
}

#[test]
fn a_report_names_the_alternative_and_a_refusal_the_one_that_came_furthest() {
    let extended = extended();
    let policy = |attestation: &Attestation| verify(&sigstore().attest(attestation), &root(), &extended).unwrap().policy;
    assert_eq!(policy(&release()), "edgecore, preset kubeedge");
    assert_eq!(policy(&by_hand(release())), "edgecore, preset kubeedge, also \"re-run by hand\"");
    let refused = |attestation: &Attestation| verify(&sigstore().attest(attestation), &root(), &extended).unwrap_err();
    let wrong = refused(&Attestation { trigger: "schedule".into(), ..attested() });
    assert_eq!(wrong.seen, "schedule");
    assert_eq!(
        wrong.wanted,
        "release (also \"GitHub attestation\" came furthest; tried too: preset kubeedge, also \"generator 3\", also \"re-run by hand\")"
    );
    // As far as each other: the policy's own.
    let wrong = refused(&release().generator("v9.0.0"));
    assert!(wrong.wanted.contains("(preset kubeedge came furthest; tried too: also \"generator 3\", "), "{}", wrong.wanted);
}
