//! What does not load, and by which line; what the preset takes; and every word of the explanation.

use super::*;

const GOOD: &str = r#"component = "edgecore"
[certificate]
issuer = "https://issuer.example"
identity = "https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}"
[provenance]
source = "https://github.com/o/r"
tag = "v{version}"
"#;

const ED25519: &str =
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAwrUp72RGJxoxyZNuJjzpSpFlKqXKbl8LaWoEVNuoLyo=\n-----END PUBLIC KEY-----";
const P256: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzfg7zYIrg1VMeWHffEa3J7+6c7Rh\nwm75Dj+CGR0EYmjqEzI+mCEUzn/3tQIHuCrWXLSAKlKIe2CBgo2w8P2keQ==\n-----END PUBLIC KEY-----";
/// The same point, compressed.
const P256_SHORT: &str = "-----BEGIN PUBLIC KEY-----\nMDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADzfg7zYIrg1VMeWHffEa3J7+6c7Rh\nwm75Dj+CGR0EYmg=\n-----END PUBLIC KEY-----";

fn keys() -> String {
    format!(
        r#"component = "edgecore"
profile = "keys"
[keys]
threshold = 2
[keys.public]
farm = """
{ED25519}
"""
release = """
{P256}
"""
[provenance]
builder = "https://builder.example/v1"
source = "https://github.com/o/r"
tag = "v{{version}}"
"#
    )
}

fn refused(text: &str) -> (String, String) {
    let refusal = Policy::parse(text).unwrap_err();
    (refusal.code.into_owned(), refusal.seen)
}

/// One change to a policy that loads: the text, its replacement, what refuses it, and how the message begins.
fn each_is_refused(good: &str, changes: &[(&str, &str, &str, &str)]) {
    Policy::parse(good).unwrap();
    for (from, to, code, begin) in changes {
        assert!(good.contains(from), "{from}");
        let (seen_code, seen) = refused(&good.replacen(from, to, 1));
        assert_eq!(seen_code, format!("SLW-V-{code}"), "{to}: {seen}");
        assert!(seen.starts_with(&format!("{begin}:")), "{to}: {seen}, expected {begin}");
    }
}

#[test]
fn what_is_missing_contradictory_or_unknown_does_not_load() {
    each_is_refused(
        GOOD,
        &[
            ("component = \"edgecore\"\n", "", "POLICY-SYNTAX", "line 1"),
            ("component = \"edgecore\"", "component = \"edge core\"", "POLICY-SYNTAX", "line 1"),
            ("[certificate]", "preset = \"kubeedge\"\n[certificate]", "POLICY-CONTRADICTION", "line 2"),
            ("[certificate]", "profile = \"public\"\n[certificate]", "POLICY-SYNTAX", "line 2"),
            ("[certificate]", "profile = \"keys\"\n[certificate]", "POLICY-CONTRADICTION", "line 3"),
            ("[certificate]", "[keys]\nthreshold = 1\n[certificate]", "POLICY-CONTRADICTION", "line 2"),
            ("issuer = \"https://issuer.example\"\n", "", "POLICY-EMPTY", "line 2"),
            ("https://issuer.example", "http://issuer.example", "POLICY-SYNTAX", "line 3"),
            ("https://issuer.example", "https://issuer.example/", "POLICY-SYNTAX", "line 3"),
            ("identity = ", "identify = ", "POLICY-SYNTAX", "line 4"),
            (
                "identity = \"https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}\"\n",
                "",
                "POLICY-EMPTY",
                "line 2",
            ),
            (
                "identity = \"https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}\"",
                "identity = []",
                "POLICY-EMPTY",
                "line 4",
            ),
            ("v{version}\"\n[prov", "v*\"\n[prov", "POLICY-SYNTAX", "line 4"),
            ("@refs/tags/v{version}\"\n[prov", "\"\n[prov", "POLICY-CONTRADICTION", "line 4"),
            ("[provenance]", "identity_versions = \"1.2.3\"\n[provenance]", "POLICY-CONTRADICTION", "line 5"),
            ("source = \"https://github.com/o/r\"\n", "", "POLICY-EMPTY", "line 5"),
            ("tag = \"v{version}\"\n", "", "POLICY-EMPTY", "line 5"),
            ("tag = \"v{version}\"", "tag = \"v1.0.0\"", "POLICY-SYNTAX", "line 7"),
            ("tag = \"v{version}\"", "tag = \"v{version}\"\nref = \"refs/heads/main\"", "POLICY-CONTRADICTION", "line 7"),
            ("tag = \"v{version}\"", "ref = \"main\"", "POLICY-SYNTAX", "line 7"),
            ("tag = \"v{version}\"", "unsafe_any_ref = false", "POLICY-EMPTY", "line 5"),
            ("tag = ", "builder_versions = \"1.2.3\"\ntag = ", "POLICY-CONTRADICTION", "line 7"),
            (
                "tag = ",
                "builder = \"https://b/x@refs/tags/v1.2.3\"\nbuilder_versions = \"1.2.3\"\ntag = ",
                "POLICY-CONTRADICTION",
                "line 8",
            ),
            ("tag = ", "builder = \"https://b/x\"\nbuilder_versions = \">=2, <1\"\ntag = ", "POLICY-CONTRADICTION", "line 8"),
            ("tag = ", "builder = \"https://b/x\"\nbuilder_versions = [\"1.2.3\", \"2\"]\ntag = ", "POLICY-SYNTAX", "line 8"),
            ("tag = ", "builder = \"https://b/x\"\nbuilder_versions = []\ntag = ", "POLICY-EMPTY", "line 8"),
            ("tag = ", "builder = \"https://github.com/o/r/x.yml@refs/tags/v1\"\ntag = ", "POLICY-CONTRADICTION", "line 7"),
            ("tag = ", "triggers = [\"push\", \"pull_request_target\"]\ntag = ", "POLICY-CONTRADICTION", "line 7"),
            ("tag = ", "triggers = \"\"\ntag = ", "POLICY-EMPTY", "line 7"),
            // What could match nothing, and only looks like something that does.
            ("tag = ", "triggers = \"PULL_REQUEST\"\ntag = ", "POLICY-SYNTAX", "line 7"),
            ("tag = ", "triggers = \" push\"\ntag = ", "POLICY-SYNTAX", "line 7"),
            ("com/o/r/.git", "com/\u{43e}/r/.git", "POLICY-SYNTAX", "line 4"),
            ("com/o/r/.git", "com/o\u{202e}/r/.git", "POLICY-SYNTAX", "line 4"),
            ("\"v{version}\"\n", "\"v\u{200b}{version}\"\n", "POLICY-SYNTAX", "line 7"),
            ("com/o/r\"\ntag", "com/o/../r\"\ntag", "POLICY-SYNTAX", "line 6"),
            ("com/o/r\"\ntag", "com/o/r?x\"\ntag", "POLICY-SYNTAX", "line 6"),
            ("com/o/r\"\ntag", "com/\u{43e}/r\"\ntag", "POLICY-SYNTAX", "line 6"),
            (
                "identity = \"https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}\"",
                "identity_pattern = \"https://github.com/o/r/.github/workflows/*\"",
                "POLICY-CONTRADICTION",
                "line 4",
            ),
            ("tag = ", "predicate_types = [\"https://example.com/x\"]\ntag = ", "POLICY-SYNTAX", "line 7"),
            ("tag = ", "workflow = \"\"\ntag = ", "POLICY-SYNTAX", "line 7"),
            ("tag = ", "repository_id = \"12a\"\ntag = ", "POLICY-SYNTAX", "line 7"),
            ("tag = ", "owner_id = \"\"\ntag = ", "POLICY-SYNTAX", "line 7"),
            ("tag = ", "unsafe_any_inputs = true\ninputs = { a = \"b\" }\ntag = ", "POLICY-CONTRADICTION", "line 8"),
            ("tag = ", "inputs = { \"a (a second value)\" = \"b\" }\ntag = ", "POLICY-CONTRADICTION", "line 7"),
            ("v{version}\"\n[p", "v{version}\"\n[log]\nunsafe_no_log = true\n[p", "POLICY-CONTRADICTION", "line 6"),
            ("v{version}\"\n[p", "v{version}\"\n[log]\nunsafe = true\n[p", "POLICY-SYNTAX", "line 6"),
            (
                "v{version}\"\n[p",
                "v{version}\"\n[log]\nunsafe_promise_only = true\nunsafe_timestamp_only = true\n[p",
                "POLICY-CONTRADICTION",
                "line 6",
            ),
        ],
    );
    assert_eq!(refused("component = \"edgecore\"").1, "line 1: no issuer in [certificate]");
    let preset = "component = \"edgecore\"\npreset = \"kubeedge\"\n";
    each_is_refused(
        preset,
        &[
            ("kubeedge\"", "kubedge\"", "POLICY-SYNTAX", "line 2"),
            ("preset", "profile = \"github\"\npreset", "POLICY-CONTRADICTION", "line 3"),
            ("preset", "profile = \"keys\"\npreset", "POLICY-CONTRADICTION", "line 3"),
        ],
    );
}

#[test]
fn a_profile_and_a_switch_must_fit() {
    let profiles = ["public-good", "public-good-rekor-v1", "public-good-rekor-v2", "github", "private"];
    let switches = ["unsafe_promise_only", "unsafe_timestamp_only", "unsafe_no_log"];
    let fits = [
        ("public-good", "unsafe_promise_only"),
        ("public-good-rekor-v1", "unsafe_promise_only"),
        ("private", "unsafe_promise_only"),
        ("private", "unsafe_timestamp_only"),
    ];
    for profile in profiles {
        let text = GOOD.replacen("[cert", &format!("profile = \"{profile}\"\n[cert"), 1);
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(policy.log, if profile == "github" { LogRule::UnsafeTimestampOnly } else { LogRule::Proof });
        assert_eq!(policy.embedded_root().is_err(), profile == "private");
        for switch in switches {
            let loaded = Policy::parse(&format!("{text}[log]\n{switch} = true\n"));
            assert_eq!(loaded.is_ok(), fits.contains(&(profile, switch)), "{profile} {switch}");
            if let Err(refusal) = loaded {
                assert_eq!(
                    (refusal.code.as_ref(), refusal.seen.split(':').next()),
                    ("SLW-V-POLICY-CONTRADICTION", Some("line 10"))
                );
            }
            Policy::parse(&format!("{text}[log]\n{switch} = false\n")).unwrap();
        }
    }
    for (switch, fits) in [("unsafe_promise_only", true), ("unsafe_timestamp_only", false), ("unsafe_no_log", true)] {
        assert_eq!(Policy::parse(&format!("{}[log]\n{switch} = true\n", keys())).is_ok(), fits, "{switch}");
    }
}

#[test]
fn keys_are_counted_once_each_and_the_threshold_must_be_reachable() {
    let twice = format!("release = \"\"\"\n\n{ED25519}");
    let release = format!("release = \"\"\"\n{P256}");
    let compressed = format!("release = \"\"\"\n{P256_SHORT}");
    each_is_refused(
        &keys(),
        &[
            ("threshold = 2", "threshold = 0", "POLICY-CONTRADICTION", "line 4"),
            ("threshold = 2", "threshold = 3", "POLICY-CONTRADICTION", "line 4"),
            ("threshold = 2", "threshold = -1", "POLICY-CONTRADICTION", "line 4"),
            ("threshold = 2", "threshold = \"2\"", "POLICY-SYNTAX", "line 4"),
            ("threshold = 2", "", "POLICY-EMPTY", "line 3"),
            (&release, &twice, "POLICY-CONTRADICTION", "line 11"),
            (&release, &compressed, "KEY", "line 11"),
            (&release, "release = \"\"\"no key", "KEY", "line 11"),
            ("release = ", "farm = ", "POLICY-SYNTAX", "line 11"),
            ("builder = \"https://builder.example/v1\"\n", "", "POLICY-EMPTY", "line 17"),
            ("profile = \"keys\"\n", "", "POLICY-CONTRADICTION", "line 2"),
            ("profile = \"keys\"", "profile = \"private\"", "POLICY-CONTRADICTION", "line 3"),
            ("[keys]", "[certificate]\n[keys]", "POLICY-CONTRADICTION", "line 3"),
        ],
    );
    let none = "component = \"edgecore\"\nprofile = \"keys\"\n[keys]\nthreshold = 1\n[provenance]\nbuilder = \"b\"\n";
    assert_eq!(refused(none), ("SLW-V-POLICY-EMPTY".to_owned(), "line 3: no name = \"PEM\" in [keys.public]".to_owned()));
}

#[test]
fn the_kubeedge_preset_takes_the_generators_that_kubeedge_has_used_and_later_ones() {
    let policy = Policy::parse("component = \"edgecore\"\npreset = \"kubeedge\"\n").unwrap();
    let generator = |file: &str, reference: &str| format!("{GENERATOR}{file}@{reference}");
    let Signers::Certificate(rule) = &policy.own.signers else { unreachable!() };
    assert_eq!(rule.signed_by, SignedBy::Builder);
    for (reference, taken) in [
        ("refs/tags/v1.2.2", true),
        ("refs/tags/v1.9.0", true),
        ("refs/tags/v1.10.0", true),
        ("refs/tags/v2.1.0", true),
        ("refs/tags/v2.1.1", true),
        ("refs/tags/v2.9.0", true),
        ("refs/tags/v1.2.1", false),
        ("refs/tags/v1.2.3", false),
        ("refs/tags/v1.4.0", false),
        ("refs/tags/v2.0.0", false),
        ("refs/tags/v2.1.0-rc.0", false),
        ("refs/tags/v2.2.0-rc.0", false),
        ("refs/tags/v3.0.0", false),
        ("refs/heads/v2.1.0", false),
        ("refs/heads/main", false),
        ("v2.1.0", false),
    ] {
        for workflows in [&rule.identities, &policy.own.rules.builders] {
            assert_eq!(workflows.accept(&generator("generator_generic_slsa3.yml", reference), None), taken, "{reference}");
            assert!(!workflows.accept(&generator("generator_container_slsa3.yml", reference), None));
        }
    }
    assert!(!rule.identities.accept(&format!("{GENERATOR}generator_generic_slsa3.yml"), None));
    assert_eq!((policy.own.rules.triggers.as_slice(), policy.log), (&["release".to_owned()][..], LogRule::Proof));
    assert_eq!(policy.title(), "edgecore, preset kubeedge");
}

/// The policies that docs/VERIFYING.md shows, but those with `…` in the place of a key.
fn shown() -> Vec<&'static str> {
    let page = include_str!("../../../docs/VERIFYING.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.filter(|text| !text.contains('…')).collect()
}

/// Among them the preset with three alternatives.
fn extended() -> &'static str {
    shown().into_iter().find(|text| text.contains("[[also]]")).unwrap()
}

#[test]
fn an_alternative_inherits_what_it_does_not_say_and_nothing_that_contradicts_it() {
    let policy = Policy::parse(extended()).unwrap();
    let all: Vec<&Alternative> = policy.alternatives().collect();
    let [own, generator, by_hand, github] = all.as_slice() else { panic!("{}", all.len()) };
    for inherited in [generator, by_hand, github] {
        assert_eq!(inherited.rules.source, own.rules.source);
        assert!(matches!(&inherited.rules.reference, RefRule::Is(pattern) if pattern.to_string() == "refs/tags/v{version}"));
        assert_eq!(inherited.rules.workflow.as_deref(), Some(".github/workflows/release.yml"));
    }
    let at = |version: &str| format!("{GENERATOR}generator_generic_slsa3.yml@refs/tags/v{version}");
    for (alternative, old, new) in [(own, true, false), (generator, false, true), (by_hand, true, false), (github, false, false)]
    {
        assert_eq!(alternative.rules.builders.accept(&at("2.1.0"), None), old);
        assert_eq!(alternative.rules.builders.accept(&at("3.0.0"), None), new);
    }
    assert_eq!((own.rules.triggers[0].as_str(), by_hand.rules.triggers[0].as_str()), ("release", "workflow_dispatch"));
    assert!(own.rules.inputs.is_empty() && by_hand.rules.inputs["reason"] == "runner died");
    assert!(matches!(&github.signers, Signers::Certificate(rule) if rule.signed_by == SignedBy::Runner));
    assert_eq!(policy.title_of(by_hand), "edgecore, preset kubeedge, also \"re-run by hand\"");

    // Another source does not inherit the ids of the old one, another way to name the ref not the
    // old way.
    let fork = format!(
        "{GOOD}repository_id = \"1\"\nowner_id = \"2\"\n[[also]]\nname = \"fork\"\nprovenance = {{ source = \"https://github.com/f/r\", ref = \"refs/heads/main\" }}\n"
    );
    let policy = Policy::parse(&fork).unwrap();
    let fork = &policy.also[0].rules;
    assert_eq!((fork.source.as_str(), &fork.repository_id, &fork.owner_id), ("https://github.com/f/r", &None, &None));
    assert!(matches!(&fork.reference, RefRule::Is(pattern) if pattern.to_string() == "refs/heads/main"));
    assert_eq!(policy.own.rules.repository_id.as_deref(), Some("1"));
    for source in ["https://github.com/o/r", "https://github.com/o/r.git"] {
        let text = format!(
            "{GOOD}repository_id = \"1\"\nowner_id = \"2\"\n[[also]]\nname = \"same\"\nprovenance = {{ source = \"{source}\", triggers = \"schedule\" }}\n"
        );
        let policy = Policy::parse(&text).unwrap();
        let same = &policy.also[0].rules;
        assert_eq!((same.repository_id.as_deref(), same.owner_id.as_deref()), (Some("1"), Some("2")), "{source}");
    }
}

#[test]
fn who_signs_and_who_builds_are_replaced_together_where_the_policy_names_one_for_both() {
    let with = |base: &str, more: &str| Policy::parse(&format!("{base}[[also]]\nname = \"x\"\n{more}")).unwrap();
    let signed_by = |policy: &Policy| match &policy.also[0].signers {
        Signers::Certificate(rule) => (rule.signed_by, rule.identities.words(None)),
        Signers::Keys(_) => panic!("keys"),
    };
    // The preset names the builder, which signs; a fork of it may be named as either.
    let fork = "https://github.com/fork/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml";
    let preset = "component = \"edgecore\"\npreset = \"kubeedge\"\n";
    for group in ["certificate.identity", "provenance.builder"] {
        let policy = with(preset, &format!("{group} = \"{fork}\"\n{group}_versions = \"2.1.0\"\n"));
        assert_eq!(signed_by(&policy), (SignedBy::Builder, format!("{fork}, its version 2.1.0")), "{group}");
        assert_eq!(policy.also[0].rules.builders.words(None), format!("{fork}, its version 2.1.0"), "{group}");
    }
    // A policy that names both keeps the one that the alternative does not name.
    let runner = format!("{GOOD}builder = \"https://github.com/actions/runner/github-hosted\"\n");
    let policy =
        with(&runner, "certificate.identity = \"https://github.com/o/r/.github/workflows/x.yml@refs/tags/v{version}\"\n");
    let identity = "https://github.com/o/r/.github/workflows/x.yml@refs/tags/v{version}";
    assert_eq!(signed_by(&policy), (SignedBy::Runner, identity.to_owned()));
}

#[test]
fn the_page_shows_policies_that_load_and_an_alternative_as_it_is_written_out() {
    let read = |text: &&str| Policy::parse(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let shown: Vec<Policy> = shown().iter().map(read).collect();
    let extended = shown.iter().position(|policy| !policy.also.is_empty()).unwrap();
    let explained = shown[extended].explain();
    let part = explained.split("Or all of this, as the alternative \"re-run by hand\":\n").nth(1).unwrap();
    let part = part.split("Or all of").next().unwrap();
    let written = shown[extended + 1].explain();
    assert!(written.contains(part), "{written}\nis not\n{part}");
}

#[test]
fn an_alternative_that_says_nothing_or_contradicts_itself_does_not_load() {
    each_is_refused(
        extended(),
        &[
            ("name = \"generator 3\"\n", "", "POLICY-EMPTY", "line 4"),
            ("name = \"generator 3\"", "name = \" \"", "POLICY-SYNTAX", "line 5"),
            ("name = \"generator 3\"", "name = \"generator\\u202e3\"", "POLICY-SYNTAX", "line 5"),
            ("name = \"generator 3\"", "name = \"re-run by hand\"", "POLICY-CONTRADICTION", "line 9"),
            ("provenance.builder_versions = \">=3.0.0, <4\"\n", "", "POLICY-EMPTY", "line 4"),
            ("\">=3.0.0, <4\"", "\">=4, <3\"", "POLICY-CONTRADICTION", "line 6"),
            ("\">=3.0.0, <4\"", "\">=3.0.0, <4\"\nlog.unsafe_no_log = true", "POLICY-SYNTAX", "line 7"),
            ("builder_versions = \">=3", "bulder_versions = \">=3", "POLICY-SYNTAX", "line 6"),
            ("triggers = \"workflow_dispatch\"", "triggers = \"pull_request\"", "POLICY-CONTRADICTION", "line 11"),
            ("inputs = {", "unsafe_any_inputs = true\ninputs = {", "POLICY-CONTRADICTION", "line 13"),
            // A runner signs for itself alone, so an alternative with one has to name the
            // workflow.
            (
                "[also.certificate]\nidentity = \"https://github.com/kubeedge/kubeedge/.github/workflows/release.yml@refs/tags/v{version}\"\n",
                "",
                "POLICY-EMPTY",
                "line 14",
            ),
            // Versions of a workflow that the alternative names with its ref, and versions of
            // none.
            ("provenance.builder_versions", "certificate.identity_versions", "POLICY-CONTRADICTION", "line 6"),
            ("[[also]]\nname = \"gen", "[also]\nname = \"gen", "POLICY-SYNTAX", "line 8"),
        ],
    );
    let one = "[[also]]\nname = \"N\"\nprovenance.triggers = \"push\"\n";
    let many = |count: usize| {
        let all: String = (0..count).map(|n| one.replace('N', &n.to_string())).collect();
        Policy::parse(&format!("{GOOD}{all}")).map(|_| ())
    };
    assert!(many(8).is_ok());
    assert_eq!(many(9).unwrap_err().code, "SLW-V-POLICY-SYNTAX");
    let with_keys = format!("{}{one}", keys());
    assert_eq!(
        refused(&with_keys),
        ("SLW-V-POLICY-CONTRADICTION".to_owned(), "line 21: an alternative with the profile keys".to_owned())
    );
}

/// Policies that between them use every feature, each with what it is in words.
#[test]
fn a_policy_explains_itself_in_every_feature() {
    let with = |more: &str, tail: &str| GOOD.replacen("[certificate]", &format!("{more}[certificate]"), 1) + tail;
    let identity = "identity = \"https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}\"\n";
    let policies = [
        "component = \"edgecore\"\npreset = \"kubeedge\"\n".to_owned(),
        "component = \"edgecore\"\nprofile = \"public-good\"\npreset = \"kubeedge\"\n[log]\nunsafe_promise_only = true\n".to_owned(),
        with("profile = \"public-good-rekor-v1\"\n", "builder = \"https://github.com/actions/runner/github-hosted\"\nrepository_id = \"1\"\nowner_id = \"2\"\n"),
        with("profile = \"public-good-rekor-v2\"\n", "workflow = \".github/workflows/release.yml\"\ntriggers = [\"push\", \"workflow_dispatch\"]\n[provenance.inputs]\ndebug = \"false\"\nlevel = \"3\"\n"),
        with("profile = \"github\"\n", "unsafe_self_hosted_runner = true\n").replace("tag = \"v{version}\"", "unsafe_any_ref = true"),
        with("profile = \"private\"\n", "build_type = \"https://b.example/t@v1\"\npredicate_types = \"https://slsa.dev/provenance/v1\"\nunsafe_any_inputs = true\n[log]\nunsafe_timestamp_only = true\n")
            .replace(identity, &format!("identity_pattern = \"{GENERATOR}delegator_*_slsa3.yml@refs/tags/v{{semver}}\"\n"))
            .replace("tag = \"v{version}\"", &format!("builder = \"{GENERATOR}builder_nodejs_slsa3.yml\"\nbuilder_versions = \">=1.6, <2\"\nref = \"refs/heads/main\"")),
        keys(),
        extended().to_owned(),
        format!("{}[log]\nunsafe_no_log = true\n", keys().replace("threshold = 2", "threshold = 1").replace("tag =", "triggers = \"push\"\ntag =")),
    ];
    let all: Vec<String> = policies.iter().map(|text| format!("{text}=>\n{}", Policy::parse(text).unwrap().explain())).collect();
    let all = all.join("\n----\n\n");
    let golden = include_str!("explained.txt");
    assert!(all == golden, "explained.txt is not what is said now:\n{all}");
}

#[test]
fn nothing_that_a_policy_says_draws_or_hides_where_it_is_explained() {
    let hostile = GOOD.replace("tag = ", "build_type = \"x\\u001b[2J\"\ninputs = { \"a\\u202e\" = \"b\\nc\" }\ntag = ");
    let words = Policy::parse(&hostile).unwrap().explain();
    assert!(words.contains("x\u{fffd}[2J") && !words.contains(['\u{1b}', '\u{202e}']), "{words}");
    assert_eq!(words.lines().filter(|line| line.starts_with('c')).count(), 0, "no value begins a line of its own: {words}");
}

/// Each row failed while an unknown key was an error for a device as well.
#[test]
fn a_newer_operators_keys_are_ignored_on_devices_unless_they_are_critical() {
    let signed = |text: &str| Policy::read_signed("policies/edgecore.toml", text.as_bytes());
    for (from, to) in [
        ("component =", "hermetic = true\ncomponent ="),
        ("tag = ", "hermetic = true\ntag = "),
        ("[provenance]", "[retention]\ndays = 3\n[provenance]"),
        ("[certificate]", "critical = [\"certificate.issuer\"]\n[certificate]"),
        ("[provenance]", "[log]\nwitnesses = 3\n[provenance]"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let policy = signed(&text).unwrap_or_else(|why| panic!("{to}: {why}"));
        assert_eq!(policy.explain(), Policy::parse(GOOD).unwrap().explain(), "{to}");
        if !to.contains("critical") {
            assert_eq!(refused(&text).0, "SLW-V-POLICY-SYNTAX", "{to}: its author sees the mistake");
        }
    }
    let also = format!("{GOOD}[[also]]\nname = \"x\"\nlevel = 4\nprovenance.tag = \"x{{version}}\"\nprovenance.level = 4\n");
    signed(&also).unwrap();
    for critical in ["provenance.hermetic", "hermetic", "also.level", "also.provenance.level"] {
        let text =
            format!("hermetic = true\ncritical = [{critical:?}]\n{also}").replace("tag = \"v", "hermetic = true\ntag = \"v");
        assert_eq!(signed(&text).unwrap_err().code, "SLW-V-AGENT-CRITICAL", "{critical}");
    }
    // Of what is known, everything is judged as before.
    assert_eq!(signed(&GOOD.replace("tag = ", "ref = ")).unwrap_err().code, "SLW-V-POLICY-SYNTAX");
    assert_eq!(
        signed(&GOOD.replace("issuer = \"", "issuer = [\"").replace("example\"\n", "example\"]\n")).unwrap_err().code,
        "SLW-V-POLICY-SYNTAX"
    );
}
