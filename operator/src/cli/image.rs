//! `slipway verify-image`: verifies an image's attestations with the devices' verifier.
//!
//! It does what `cosign verify-attestation --type slsaprovenance --policy` does.

use crate::verify::{Against, print_outcome, style, wrong_usage};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use slipway_operator::image::{Image, Options, Report, verify_image};
use slipway_operator::rekor::Rekor;
use slipway_verify::report::Style;
use std::io::{Write as _, stderr};
use std::time::Duration;

#[derive(Args)]
pub(crate) struct VerifyImage {
    /// REGISTRY/REPOSITORY:TAG or @sha256:HEX, or the folder of an OCI image layout: FOLDER, oci:FOLDER:TAG, oci:FOLDER@sha256:HEX
    image: String,
    #[command(flatten)]
    against: Against,
    /// Transparency log to fetch proofs from that cosign does not keep beside an image; the public one is https://rekor.sigstore.dev
    #[arg(long, value_name = "URL")]
    rekor_url: Option<String>,
    /// Connect to the registry without TLS
    #[arg(long)]
    plain_http: bool,
    /// Timeout for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

impl VerifyImage {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        runtime.block_on(self.verify())
    }

    async fn verify(self) -> anyhow::Result<()> {
        let style = style(self.against.json);
        let image = Image::parse(&self.image)?;
        if self.against.name.is_none() && image.name().is_none() {
            wrong_usage("a folder requires --name, the image's name in its provenance");
        }
        let (policy, root) = self.against.read()?;
        let timeout = Duration::from_secs(self.timeout);
        let rekor = self.rekor_url.as_deref().map(|url| Rekor::new(url, timeout)).transpose()?;
        let options = Options {
            name: self.against.name.as_deref(),
            version: self.against.release_version.as_ref(),
            policy: &policy,
            root: &root,
            rekor: rekor.as_ref(),
            plain_http: self.plain_http,
            timeout,
        };
        let found = verify_image(&image, &options).await.and_then(|report| {
            let verdict = report.verdict().map(|_| ());
            match verdict {
                Err(refusal) if style != Style::Json => {
                    // What became of each goes before the refusal, which has room for their codes only.
                    let _unheard = stderr().write_all(report.attempts().as_bytes());
                    Err(refusal)
                }
                verdict => Ok((report, verdict)),
            }
        });
        match found {
            Ok((report, verdict)) => print_outcome(Some(shown(&report, style)), verdict),
            Err(refusal) => {
                let shown = (style == Style::Json).then(|| json!({ "verified": false, "refusal": refusal }).to_string());
                print_outcome::<()>(shown, Err(refusal))
            }
        }
    }
}

fn shown(report: &Report, style: Style) -> String {
    match style {
        Style::Json => {
            let refusal = report.verdict().err();
            json!({ "verified": refusal.is_none(), "refusal": refusal, "report": report }).to_string()
        }
        style => report.text(style),
    }
}
