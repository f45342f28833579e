//! Timestamps of a real authority: `openssl ts` (OpenSSL 3), with RSA certificates that `openssl req` and `openssl x509` made.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

const CONFIG: &str = "[tsa]\ndefault_tsa = tsa1\n[tsa1]\nserial = ./serial\ncrypto_device = builtin\nsigner_digest = sha256\n\
    default_policy = 1.2.3.4.1\ndigests = sha256\naccuracy = secs:1\nordering = no\ntsa_name = yes\ness_cert_id_chain = no\n\
    [signer]\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = critical,timeStamping\n\
    [root]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\n[req]\ndistinguished_name = dn\n[dn]\n";

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Without the RSA algorithms in `timestamp` and `authority` each row is refused.
#[test]
fn a_timestamp_of_openssl_with_rsa_certificates_verifies() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have openssl");
        println!("skipped: openssl is missing");
        return;
    }
    for (bits, padding) in [(2048, ""), (3072, "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest")] {
        let folder = tempfile::TempDir::new().unwrap();
        let folder = folder.path();
        let path = |name: &str| folder.join(name);
        fs::write(path("conf"), CONFIG).unwrap();
        fs::write(path("serial"), "01\n").unwrap();
        for name in ["root", "signer"] {
            openssl(folder, &format!("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out {name}.key"));
        }
        openssl(
            folder,
            &format!(
                "req -x509 -new -key root.key -subj /O=o/CN=root -days 30 -config conf -extensions root -sha256 {padding} -out root.pem"
            ),
        );
        openssl(folder, "req -new -key signer.key -subj /O=o/CN=signer -config conf -out signer.csr");
        openssl(
            folder,
            &format!(
                "x509 -req -in signer.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 -extfile conf -extensions signer -sha256 {padding} -out signer.pem"
            ),
        );

        // openssl's tokens say what time it is, so the signature is made now: a certificate lives ten minutes.
        let written = fs::metadata(path("signer.pem")).unwrap().modified().unwrap();
        let now = i64::try_from(written.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let mut bundle = sigstore().attest_value(&Attestation { evidence: Evidence::RekorV2, ..release().at(now) });
        let signature = STANDARD.decode(bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        fs::write(path("signature"), &signature).unwrap();
        openssl(folder, "ts -query -data signature -sha256 -out query");
        openssl(folder, "ts -reply -config conf -queryfile query -signer signer.pem -inkey signer.key -out token");
        let token = &mut bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"];
        *token = STANDARD.encode(fs::read(path("token")).unwrap()).into();

        let mut trusted = sigstore().trusted_root_value();
        let der = |name: &str| {
            openssl(folder, &format!("x509 -in {name}.pem -outform DER -out {name}.der"));
            json!({"rawBytes": STANDARD.encode(fs::read(path(&format!("{name}.der"))).unwrap())})
        };
        trusted["timestampAuthorities"][0]["certChain"]["certificates"] = json!([der("signer"), der("root")]);
        let code = |trusted: &Value, bundle: &Value| {
            judge(&bytes(bundle), &SigstoreRoot::parse(&bytes(trusted)).unwrap(), &kubeedge(""))
        };
        assert_eq!(code(&trusted, &bundle), "", "{bits} {padding}");
        assert_eq!(code(&sigstore().trusted_root_value(), &bundle), "TIMESTAMP-SIGNER");
        // Without `rsa_pss_saltlen` openssl takes as long a salt as there is room for, which ring does not verify.
        openssl(
            folder,
            "x509 -req -in signer.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 -extfile conf -extensions signer -sha256 -sigopt rsa_padding_mode:pss -out long.pem",
        );
        openssl(folder, "ts -reply -config conf -queryfile query -signer long.pem -inkey signer.key -out long");
        let mut long = bundle.clone();
        long["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
            STANDARD.encode(fs::read(path("long")).unwrap()).into();
        let mut salted = trusted.clone();
        salted["timestampAuthorities"][0]["certChain"]["certificates"] = json!([der("long"), der("root")]);
        let refusal = verify(&bytes(&long), &SigstoreRoot::parse(&bytes(&salted)).unwrap(), &kubeedge("")).unwrap_err();
        assert_eq!(
            (&*refusal.code, refusal.responsible),
            ("SLW-V-AUTHORITY-KEY", slipway_protocol::Responsible::Operator),
            "{refusal}"
        );
        assert!(refusal.wanted.contains("salt"), "{refusal}");

        trusted["timestampAuthorities"][0]["validFor"]["end"] = "2021-01-01T00:00:00Z".into();
        assert_eq!(code(&trusted, &bundle), "TIMESTAMP-WINDOW");
    }
}
