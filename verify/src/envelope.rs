//! Rebuilds, byte for byte, the files in which builders publish a DSSE envelope.
//!
//! A log entry of kind `intoto` 0.0.1 is about the whole file: Rekor hashed what the signer uploaded and indexes the entry by that hash
//! (rekor, `pkg/types/intoto/v0.0.1/entry.go`). Both signers that used the kind wrote Go's JSON of one structure, without white space
//! and in one order of members, so the file can be written again:
//!
//! | signer | member `cert` |
//! |---|---|
//! | slsa-github-generator's generic generator, v1.2.2 to v1.10.0 (`signing/envelope/envelope.go`) | the certificate, PEM |
//! | cosign up to 2.2, so the container generator up to v1.9.0 | none: the certificate is an annotation of the image's layer |

use x509_cert::der::pem::{LineEnding, encode_string};

/// Every file that this envelope may have been: with the certificate (DER) if there is one, then without.
#[must_use]
pub fn files(payload_type: &str, payload: &[u8], signature: &[u8], keyid: &str, certificate: Option<&[u8]>) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let text = |text: &str| serde_json::Value::from(text).to_string();
    let file = |pem: Option<String>| {
        let cert = pem.map(|pem| format!(",\"cert\":{}", text(&pem))).unwrap_or_default();
        format!(
            r#"{{"payloadType":{},"payload":"{}","signatures":[{{"keyid":{},"sig":"{}"{cert}}}]}}"#,
            text(payload_type),
            STANDARD.encode(payload),
            text(keyid),
            STANDARD.encode(signature),
        )
        .into_bytes()
    };
    // Encoding fails for no bytes of a certificate's size; a file that could not be written is none that was logged.
    let pem = certificate.and_then(|der| encode_string("CERTIFICATE", LineEnding::LF, der).ok());
    pem.into_iter().map(|pem| file(Some(pem))).chain([file(None)]).collect()
}
