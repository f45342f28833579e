//! One change to a finished bundle or to the trusted root.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[test]
fn one_change_to_a_finished_bundle_is_refused_by_the_check_it_breaks() {
    type Change = fn(&mut Value);
    let (sigstore, root) = (sigstore(), root());
    let checkpoint = |bundle: &mut Value, from: &str, to: &str| {
        let note = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
        let text = note.as_str().unwrap();
        assert!(text.contains(from), "{text}");
        *note = text.replacen(from, to, 1).into();
    };
    let first: [(&str, Change, &str); 43] = [
        ("nothing", |_| {}, ""),
        ("the other name of 0.3", |b| b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3".into(), ""),
        ("base64 with a line break", |b| broken_line(&mut b["dsseEnvelope"]["signatures"][0]["sig"]), "BUNDLE-MALFORMED"),
        (
            "base64 of the other alphabet, without padding: proto3's JSON takes both",
            |b| {
                let payload = &mut b["dsseEnvelope"]["payload"];
                *payload = payload.as_str().unwrap().replace('+', "-").replace('/', "_").trim_end_matches('=').into();
            },
            "",
        ),
        ("base64 of no alphabet", |b| b["dsseEnvelope"]["payload"] = "!!!!".into(), "BUNDLE-MALFORMED"),
        ("an empty signature", |b| b["dsseEnvelope"]["signatures"][0]["sig"] = "".into(), "SIGNATURE"),
        ("no signature", |b| b["dsseEnvelope"]["signatures"] = json!([]), "BUNDLE-SIGNATURES"),
        (
            "an empty chain",
            |b| {
                chain(b, &[]);
                b["verificationMaterial"]["x509CertificateChain"]["certificates"] = json!([]);
            },
            "CERT-CHAIN-EMPTY",
        ),
        (
            "a chain without end",
            |b| {
                let more = vec![b["verificationMaterial"]["certificate"].clone(); 8];
                chain(b, &more);
            },
            "BUNDLE-SHAPE",
        ),
        (
            "a certificate that is none",
            |b| b["verificationMaterial"]["certificate"]["rawBytes"] = "AAAA".into(),
            "CERT-MALFORMED",
        ),
        ("an index beyond 2^63", |b| entry(b)["logIndex"] = "9223372036854775808".into(), "BUNDLE-MALFORMED"),
        ("a time beyond all calendars", |b| entry(b)["integratedTime"] = "9223372036854775807".into(), "BUNDLE-MALFORMED"),
        ("no media type", |b| remove(b, "mediaType"), "BUNDLE-MEDIA-TYPE"),
        ("unknown media type", |b| b["mediaType"] = "application/json".into(), "BUNDLE-MEDIA-TYPE"),
        ("two contents", |b| b["messageSignature"] = json!({"signature": "AAAA"}), "BUNDLE-CONTENT"),
        ("no content", |b| remove(b, "dsseEnvelope"), "BUNDLE-CONTENT"),
        ("two materials", |b| b["verificationMaterial"]["publicKey"] = json!({"hint": "x"}), "BUNDLE-MATERIAL"),
        ("no material", |b| remove(&mut b["verificationMaterial"], "certificate"), "BUNDLE-MATERIAL"),
        ("a chain in 0.3", |b| chain(b, &[]), "BUNDLE-SHAPE"),
        (
            "two entries",
            |b| {
                let again = entry(b).clone();
                b["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(again);
            },
            "BUNDLE-LOG-ENTRIES",
        ),
        ("no entry", |b| b["verificationMaterial"]["tlogEntries"] = json!([]), "LOG-MISSING"),
        ("an entry of an unknown log", |b| entry(b)["logId"]["keyId"] = STANDARD.encode([7; 32]).into(), "LOG-UNKNOWN"),
        ("no proof", |b| remove(entry(b), "inclusionProof"), "LOG-PROOF-MISSING"),
        (
            "no proof, called 0.1",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                remove(entry(b), "inclusionProof");
            },
            "LOG-PROOF-MISSING",
        ),
        ("no checkpoint", |b| remove(&mut entry(b)["inclusionProof"], "checkpoint"), "LOG-CHECKPOINT-MISSING"),
        (
            "no checkpoint, called 0.1",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                remove(&mut entry(b)["inclusionProof"], "checkpoint");
            },
            "LOG-CHECKPOINT-MISSING",
        ),
        (
            "no promise in 0.1",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                remove(entry(b), "inclusionPromise");
            },
            "LOG-PROMISE-MISSING",
        ),
        ("no promise, no other time", |b| remove(entry(b), "inclusionPromise"), "TIMESTAMP-MISSING"),
        ("a promise without its time", |b| remove(entry(b), "integratedTime"), "LOG-TIME"),
        ("another time", |b| entry(b)["integratedTime"] = "1750000001".into(), "LOG-PROMISE"),
        ("another index", |b| entry(b)["logIndex"] = "7".into(), "LOG-PROMISE"),
        ("a negative index", |b| entry(b)["logIndex"] = "-1".into(), "BUNDLE-MALFORMED"),
        ("another tree size", |b| entry(b)["inclusionProof"]["treeSize"] = "999999".into(), "LOG-TREE-SIZE"),
        (
            "another root hash",
            |b| entry(b)["inclusionProof"]["rootHash"] = STANDARD.encode([7; 32]).into(),
            "LOG-CHECKPOINT-ROOT",
        ),
        ("another place in the tree", |b| entry(b)["inclusionProof"]["logIndex"] = "0".into(), "LOG-PROOF"),
        (
            "a hash too many",
            |b| entry(b)["inclusionProof"]["hashes"].as_array_mut().unwrap().push(STANDARD.encode([7; 32]).into()),
            "LOG-PROOF",
        ),
        ("hashes without end", |b| entry(b)["inclusionProof"]["hashes"] = vec![STANDARD.encode([7; 32]); 65].into(), "LOG-PROOF"),
        ("another kind", |b| entry(b)["kindVersion"]["kind"] = "hashedrekord".into(), "LOG-BODY"),
        ("an unknown kind", |b| entry(b)["kindVersion"]["version"] = "0.0.9".into(), "LOG-KIND"),
        (
            "a list of tokens without end",
            |b| {
                b["verificationMaterial"]["timestampVerificationData"] =
                    json!({"rfc3161Timestamps": vec![json!({"signedTimestamp": "AAAA"}); 33]});
            },
            "BUNDLE-TIMESTAMPS",
        ),
        (
            "a token that is none",
            |b| {
                b["verificationMaterial"]["timestampVerificationData"] =
                    json!({"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]});
            },
            "TIMESTAMP-MALFORMED",
        ),
        ("another payload type", |b| b["dsseEnvelope"]["payloadType"] = "text/plain".into(), "PAYLOAD-TYPE"),
        (
            "two signatures",
            |b| {
                let again = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(again);
            },
            "BUNDLE-SIGNATURES",
        ),
    ];
    let mut warm = sigstore.attest_value(&release());
    for _ in 0..3 {
        // A tree with some leaves, so that the proof has hashes.
        warm = sigstore.attest_value(&release());
    }
    for (what, change, code) in first {
        let mut bundle = warm.clone();
        change(&mut bundle);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code, "{what}");
    }
    for (what, from, to, code) in [
        ("signer's name", "\u{2014} rekor.verify.test ", "\u{2014} rekor.other.test ", "LOG-CHECKPOINT-ORIGIN"),
        ("origin", "rekor.verify.test - ", "rekor.other.test - ", "LOG-CHECKPOINT-ORIGIN"),
        ("origin without tree", "rekor.verify.test - ", "rekor.verify.test - x", "LOG-CHECKPOINT-ORIGIN"),
        ("end", "\n\n", "\n", "LOG-CHECKPOINT"),
    ] {
        let mut bundle = warm.clone();
        checkpoint(&mut bundle, from, to);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code, "{what}");
    }
    let second: [(&str, Change, &str); 6] = [
        ("nothing", |_| {}, ""),
        ("no token", |b| remove(&mut b["verificationMaterial"], "timestampVerificationData"), "TIMESTAMP-MISSING"),
        ("another tree size", |b| entry(b)["inclusionProof"]["treeSize"] = "999999".into(), "LOG-TREE-SIZE"),
        (
            "another root hash",
            |b| entry(b)["inclusionProof"]["rootHash"] = STANDARD.encode([7; 32]).into(),
            "LOG-CHECKPOINT-ROOT",
        ),
        ("another index in the proof", |b| entry(b)["inclusionProof"]["logIndex"] = "999".into(), "LOG-INDEX"),
        ("a time", |b| entry(b)["integratedTime"] = "1750000000".into(), "LOG-TIME"),
    ];
    let rekor2 = sigstore.attest_value(&Attestation { evidence: Evidence::RekorV2, ..release() });
    for (what, change, code) in second {
        let mut bundle = rekor2.clone();
        change(&mut bundle);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code, "Rekor v2: {what}");
    }
    let text = String::from_utf8(bytes(&warm)).unwrap();
    let twice = text.replacen('{', r#"{"mediaType":"x","#, 1);
    assert_eq!(judge(twice.as_bytes(), &root, &kubeedge("")), "BUNDLE-MALFORMED");
    assert_eq!(judge(&vec![b' '; 2_000_000], &root, &kubeedge("")), "BUNDLE-SIZE");
    assert_eq!(judge(&bytes(&warm["dsseEnvelope"]), &root, &kubeedge("")), "BUNDLE-NO-ENTRY");
}

/// Breaks a line in the middle of base64, as some encoders do.
fn broken_line(value: &mut Value) {
    let text = value.as_str().unwrap();
    let (front, back) = text.split_at(20);
    *value = format!("{front}\n{back}").into();
}

#[test]
fn evidence_carries_its_times_and_judges_none_by_a_clock() {
    // Signed in 2042. On a device whose clock is behind, evidence of today looks like this: it verifies, and its time is told.
    for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
        let bundle = sigstore().attest(&Attestation { evidence, ..release() }.at(2_280_000_000));
        assert_eq!(judge(&bundle, &root(), &kubeedge("")), "", "{evidence:?}");
    }
    // Nor is an authority or a log left out because by some clock it has not begun.
    let mut trusted = sigstore().trusted_root_value();
    trusted["timestampAuthorities"][0]["validFor"]["start"] = "2042-01-01T00:00:00Z".into();
    trusted["tlogs"][1]["publicKey"]["validFor"]["start"] = "2042-01-01T00:00:00Z".into();
    let later = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    let at = |at| sigstore().attest(&Attestation { evidence: Evidence::RekorV2, ..release() }.at(at));
    assert_eq!(judge(&at(2_280_000_000), &later, &kubeedge("")), "");
    assert_eq!(judge(&at(1_750_000_000), &later, &kubeedge("")), "TIMESTAMP-WINDOW");
}

#[test]
fn every_signed_time_is_judged_not_only_the_first() {
    // The log's time is right, the token's is after the certificate's end, and the other way round.
    let sigstore = sigstore();
    let token = |bundle: &Value| bundle["verificationMaterial"]["timestampVerificationData"].clone();
    let both = Attestation { evidence: Evidence::RekorV1AndTimestamp, ..release() };
    let right = sigstore.attest_value(&both);
    for signed_at in [both.signed_at + 3600, both.signed_at - 3600] {
        let code = if signed_at > both.signed_at { "CERT-EXPIRED" } else { "CERT-NOT-YET" };
        // The same key and the same message, and so the same signature: ECDSA here is deterministic.
        let other = sigstore.attest_value(&Attestation { signed_at, ..both.clone() });
        assert_eq!(right["dsseEnvelope"], other["dsseEnvelope"]);
        let mut late_token = right.clone();
        late_token["verificationMaterial"]["timestampVerificationData"] = token(&other);
        assert_eq!(judge(&bytes(&late_token), &root(), &kubeedge("")), code);
        let mut late_entry = other;
        late_entry["verificationMaterial"]["timestampVerificationData"] = token(&right);
        assert_eq!(judge(&bytes(&late_entry), &root(), &kubeedge("")), code);
    }
}

#[test]
fn an_authority_counts_only_within_its_own_window() {
    let sigstore = sigstore();
    let bundle = sigstore.attest(&Attestation { evidence: Evidence::RekorV2, ..release() });
    let other = PrivateSigstore::new("other").trusted_root_value();
    for (kind, code) in [("timestampAuthorities", "TIMESTAMP-WINDOW"), ("certificateAuthorities", "CERT-AUTHORITY")] {
        // The right authority was over, another was in force.
        let mut trusted = sigstore.trusted_root_value();
        trusted[kind][0]["validFor"]["end"] = "2024-01-01T00:00:00Z".into();
        trusted[kind].as_array_mut().unwrap().push(other[kind][0].clone());
        assert_eq!(judge(&bundle, &SigstoreRoot::parse(&bytes(&trusted)).unwrap(), &kubeedge("")), code);
        // The same authority again with a window that fits: windows may overlap.
        let again = sigstore.trusted_root_value()[kind][0].clone();
        trusted[kind].as_array_mut().unwrap().push(again);
        assert_eq!(judge(&bundle, &SigstoreRoot::parse(&bytes(&trusted)).unwrap(), &kubeedge("")), "");
    }
}

#[test]
fn a_chain_of_the_root_must_hold_together() {
    let sigstore = sigstore();
    let bundle = sigstore.attest(&Attestation { evidence: Evidence::RekorV2, ..release() });
    let other = PrivateSigstore::new("other").trusted_root_value();
    for kind in ["timestampAuthorities", "certificateAuthorities"] {
        let mut trusted = sigstore.trusted_root_value();
        trusted[kind][0]["certChain"]["certificates"][1] = other[kind][0]["certChain"]["certificates"][1].clone();
        assert_eq!(judge(&bundle, &SigstoreRoot::parse(&bytes(&trusted)).unwrap(), &kubeedge("")), "ROOT-CHAIN", "{kind}");
        // A signature that does not fit, under the right names.
        let mut trusted = sigstore.trusted_root_value();
        let issued = &mut trusted[kind][0]["certChain"]["certificates"][0]["rawBytes"];
        let mut der = STANDARD.decode(issued.as_str().unwrap()).unwrap();
        *der.last_mut().unwrap() ^= 1;
        *issued = STANDARD.encode(&der).into();
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        // The token names its signer's certificate by digest, so there it is already another certificate.
        let code = if kind == "certificateAuthorities" { "ROOT-CHAIN" } else { "TIMESTAMP-SIGNER" };
        assert_eq!(judge(&bundle, &root, &kubeedge("")), code, "{kind}");
        assert_eq!(judge(&bundle, &root, &kubeedge("")), code, "a failure is not remembered as a success");
    }
}

#[test]
fn only_a_root_without_intermediates_takes_them_from_the_bundle() {
    let sigstore = sigstore();
    let mut trusted = sigstore.trusted_root_value();
    let chain_of_root = trusted["certificateAuthorities"][0]["certChain"]["certificates"].as_array_mut().unwrap();
    let intermediate = chain_of_root.remove(0);
    let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    for (more, code) in [(vec![intermediate.clone()], ""), (vec![], "CERT-CHAIN")] {
        let mut bundle = sigstore.attest_value(&release());
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
        chain(&mut bundle, &more);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code);
    }
    // A leaf of the old intermediate, and one that the intermediate may not issue: the signer's certificate is no authority.
    let mut bundle = sigstore.attest_value(&release());
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    let leaf = bundle["verificationMaterial"]["certificate"].clone();
    chain(&mut bundle, &[leaf]);
    assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), "CERT-CHAIN");
}

#[test]
fn an_expired_anchor_and_a_window_that_is_over_anchor_nothing() {
    let sigstore = sigstore();
    let code = |authority: &str, start: &str, end: &str, evidence| {
        let mut trusted = sigstore.trusted_root_value();
        trusted[authority][0]["validFor"] = json!({"start": start, "end": end});
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        judge(&sigstore.attest(&Attestation { evidence, ..release() }), &root, &kubeedge(""))
    };
    // Signed at 15:06:40; both ends belong to the window.
    let (at, before, after) = ("2025-06-15T15:06:40Z", "2025-06-15T15:06:39Z", "2025-06-15T15:06:41Z");
    for (authority, evidence, refusal) in [
        ("certificateAuthorities", Evidence::RekorV1, "CERT-AUTHORITY"),
        ("timestampAuthorities", Evidence::RekorV2, "TIMESTAMP-WINDOW"),
    ] {
        assert_eq!(code(authority, at, at, evidence), "");
        assert_eq!(code(authority, "2020-01-01T00:00:00Z", before, evidence), refusal);
        assert_eq!(code(authority, after, "2040-01-01T00:00:00Z", evidence), refusal);
    }
    // The certificates themselves end in 2045, whatever the window says.
    let mut trusted = sigstore.trusted_root_value();
    trusted["certificateAuthorities"][0]["validFor"] = json!({"start": "2046-01-01T00:00:00Z"});
    let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    assert_eq!(judge(&sigstore.attest(&release()), &root, &kubeedge("")), "CERT-AUTHORITY");
    for (log, evidence, code) in [(0, Evidence::RekorV1, "LOG-WINDOW"), (1, Evidence::RekorV2, "LOG-WINDOW")] {
        let mut trusted = sigstore.trusted_root_value();
        trusted["tlogs"][log]["publicKey"]["validFor"]["start"] = after.into();
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        assert_eq!(judge(&sigstore.attest(&Attestation { evidence, ..release() }), &root, &kubeedge("")), code);
    }
}

#[test]
fn a_retired_log_proves_nothing_later_whatever_the_source_of_time() {
    let sigstore = sigstore();
    for (log, evidence) in [(0, Evidence::RekorV1AndTimestamp), (1, Evidence::RekorV2)] {
        let mut trusted = sigstore.trusted_root_value();
        trusted["tlogs"][log]["publicKey"]["validFor"]["end"] = "2025-01-01T00:00:00Z".into();
        let retired = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        let mut bundle = sigstore.attest_value(&Attestation { evidence, ..release() });
        // The promise is not signed together with the rest: without it the token alone tells the time.
        remove(entry(&mut bundle), "inclusionPromise");
        assert_eq!(judge(&bytes(&bundle), &root(), &kubeedge("")), "", "{evidence:?}");
        assert_eq!(judge(&bytes(&bundle), &retired, &kubeedge("")), "LOG-WINDOW", "{evidence:?}");
    }
}

#[test]
fn what_costs_much_before_anything_is_proven_has_a_limit() {
    let sigstore = sigstore();
    let mut bundle = sigstore.attest_value(&release());
    let note = &mut entry(&mut bundle)["inclusionProof"]["checkpoint"]["envelope"];
    let line = note.as_str().unwrap().lines().last().unwrap().to_owned();
    let many = |n: usize| format!("{}{}", note.as_str().unwrap(), format!("{line}\n").repeat(n));
    let (most, more) = (many(15), many(16));
    for (envelope, code) in [(most, ""), (more, "LOG-CHECKPOINT")] {
        entry(&mut bundle)["inclusionProof"]["checkpoint"]["envelope"] = envelope.into();
        assert_eq!(judge(&bytes(&bundle), &root(), &kubeedge("")), code);
    }
}

#[test]
fn a_bundle_may_not_bring_its_own_authority() {
    let (sigstore, root) = (sigstore(), root());
    let trusted = sigstore.trusted_root_value();
    let authorities = &trusted["certificateAuthorities"][0]["certChain"]["certificates"];
    for (more, code) in [(vec![], ""), (vec![authorities[0].clone()], ""), (vec![authorities[1].clone()], "CERT-ROOT")] {
        let mut bundle = sigstore.attest_value(&release());
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
        chain(&mut bundle, &more);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code);
    }
}

#[test]
fn old_evidence_needs_its_opt_in_and_its_promise() {
    let (sigstore, root) = (sigstore(), root());
    let promise = kubeedge("[log]\nunsafe_promise_only = true\n");
    let mut bundle = sigstore.attest_value(&release());
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    remove(&mut entry(&mut bundle)["inclusionProof"], "checkpoint");
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "");
    // A proof without a checkpoint is as good as none: it may say anything.
    entry(&mut bundle)["inclusionProof"]["rootHash"] = STANDARD.encode([7; 32]).into();
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "");
    remove(entry(&mut bundle), "inclusionPromise");
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "LOG-PROMISE-MISSING");
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    chain(&mut bundle, &[]);
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "LOG-CHECKPOINT-MISSING");
    remove(entry(&mut bundle), "inclusionProof");
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "LOG-PROOF-MISSING");
}

/// A log whose kind of key or tree cannot be verified here is no unknown log: the operator's root names it, and the signer did nothing wrong.
#[test]
fn an_unsupported_log_of_the_root_is_named_as_unsupported() {
    let sigstore = sigstore();
    let bundle = sigstore.attest(&release());
    for pointer in
        ["/tlogs/0/hashAlgorithm", "/tlogs/0/publicKey/keyDetails", "/ctlogs/0/hashAlgorithm", "/ctlogs/0/publicKey/keyDetails"]
    {
        let mut trusted = sigstore.trusted_root_value();
        *trusted.pointer_mut(pointer).unwrap() = 99.into();
        let refusal = verify(&bundle, &SigstoreRoot::parse(&bytes(&trusted)).unwrap(), &kubeedge("")).unwrap_err();
        assert_eq!(
            (&*refusal.code, refusal.responsible),
            ("SLW-V-ROOT-KEY", slipway_protocol::Responsible::Operator),
            "{pointer}: {refusal}"
        );
    }
}
