//! Parts of one bundle in another, flipped bits and cut ends: nothing of it may verify, and nothing may panic.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Every path in `value` that leads to text, as JSON pointers.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| texts(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| texts(value, &format!("{at}/{n}"), found)),
        Value::String(_) => found.push(at.to_owned()),
        _ => {}
    }
}

#[test]
fn no_part_of_one_bundle_fits_another() {
    let (sigstore, root) = (sigstore(), root());
    for evidence in [Evidence::RekorV1AndTimestamp, Evidence::RekorV2] {
        let one = sigstore.attest_value(&Attestation { evidence, ..release() });
        let two = sigstore
            .attest_value(&Attestation { evidence, ..release().at(1_750_000_300) }.edit("/predicate/metadata/x", Some(1.into())));
        let mut paths = Vec::new();
        texts(&one, "", &mut paths);
        let mut swapped = 0;
        for path in paths {
            let Some(theirs) = two.pointer(&path).filter(|theirs| Some(*theirs) != one.pointer(&path)) else { continue };
            let mut mixed = one.clone();
            *mixed.pointer_mut(&path).unwrap() = theirs.clone();
            assert_ne!(judge(&bytes(&mixed), &root, &kubeedge("")), "", "{path}");
            swapped += 1;
        }
        assert!(swapped >= 8, "{swapped}");
    }
}

fn dated() -> Value {
    sigstore().attest_value(&Attestation { evidence: Evidence::RekorV1AndTimestamp, ..release() })
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

/// Flips one bit in every `step`th byte of the base64 at `path`, and returns the places where it made no difference.
fn survivors(path: &str, step: usize) -> Vec<usize> {
    let (root, policy, bundle) = (root(), kubeedge(""), dated());
    let original = STANDARD.decode(bundle.pointer(path).unwrap().as_str().unwrap()).unwrap();
    let survives = |at: &usize| {
        let mut flipped = original.clone();
        flipped[*at] ^= 1 << (at % 8);
        let mut damaged = bundle.clone();
        *damaged.pointer_mut(path).unwrap() = STANDARD.encode(flipped).into();
        judge(&bytes(&damaged), &root, &policy).is_empty()
    };
    (0..original.len()).step_by(step).filter(survives).collect()
}

#[test]
fn no_bit_of_certificate_or_signature_can_be_flipped() {
    assert_eq!(survivors("/dsseEnvelope/signatures/0/sig", 1), [0; 0]);
    // One signature covers all of each, and all bytes would take half a minute: every seventh, which is another bit each time.
    assert_eq!(survivors("/verificationMaterial/certificate/rawBytes", 7), [0; 0]);
    assert_eq!(survivors("/dsseEnvelope/payload", 37), [0; 0]);
}

#[test]
fn no_bit_of_the_log_entry_can_be_flipped() {
    // The body is under one signature, and all of its bytes would take most of a minute.
    for (path, step) in [("canonicalizedBody", 11), ("inclusionPromise/signedEntryTimestamp", 1)] {
        assert_eq!(survivors(&format!("{ENTRY}/{path}"), step), [0; 0], "{path}");
    }
    let (root, policy, bundle) = (root(), kubeedge(""), dated());
    let path = format!("{ENTRY}/inclusionProof/checkpoint/envelope");
    let note = bundle.pointer(&path).unwrap().as_str().unwrap();
    for (at, c) in note.char_indices().filter(|(_, c)| c.is_ascii()) {
        let other = if c == 'A' { "B" } else { "A" };
        let mut damaged = bundle.clone();
        *damaged.pointer_mut(&path).unwrap() = format!("{}{other}{}", &note[..at], &note[at + 1..]).into();
        assert_ne!(judge(&bytes(&damaged), &root, &policy), "", "checkpoint byte {at}");
    }
}

#[test]
fn no_bit_of_the_timestamp_can_be_flipped() {
    // Byte 8 is the status outside the signed token: granted (0) became granted with modifications (1), which is as good.
    assert_eq!(survivors("/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp", 1), [8]);
}

#[test]
fn no_end_can_be_cut_off() {
    let (root, policy) = (root(), kubeedge(""));
    let whole = bytes(&dated());
    for end in 0..whole.len() {
        assert_ne!(judge(&whole[..end], &root, &policy), "", "{end} bytes");
    }
}
