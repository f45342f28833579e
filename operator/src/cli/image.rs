//! `slipway verify-image`: what `cosign verify-attestation --type slsaprovenance --policy` does, with the devices' verifier.

use crate::verify::{policy, root, style, tell, wrong_usage};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use slipway_operator::image::{Image, Options, Report, verify_image};
use slipway_operator::rekor::Rekor;
use slipway_protocol::Version;
use slipway_verify::provenance::Style;
use std::io::{Write as _, stderr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct VerifyImage {
    /// REGISTRY/REPOSITORY:TAG or @sha256:HEX, or the folder of an OCI image layout: FOLDER, oci:FOLDER:TAG, oci:FOLDER@sha256:HEX
    image: String,
    /// What its provenance must say, TOML
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Sigstore's trusted root; by default that of the policy's profile
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// The image's name in its provenance; by default registry and repository (Docker Hub is index.docker.io)
    #[arg(long)]
    name: Option<String>,
    /// The version that the policy's tag is bound to
    #[arg(long, value_name = "VERSION")]
    release_version: Option<Version>,
    /// Fetch from this transparency log the proofs that cosign does not keep beside an image; https://rekor.sigstore.dev is the public one
    #[arg(long, value_name = "URL")]
    rekor_url: Option<String>,
    /// Speak to the registry without TLS
    #[arg(long)]
    plain_http: bool,
    /// Longest wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl VerifyImage {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        runtime.block_on(self.verify())
    }

    async fn verify(self) -> anyhow::Result<()> {
        let style = style(self.json);
        let image = Image::parse(&self.image)?;
        if self.name.is_none() && image.name().is_none() {
            wrong_usage("a folder needs --name, the image's name in its provenance");
        }
        let policy = policy(&self.policy)?;
        let root = match &self.trusted_root {
            Some(file) => root(Some(file))?,
            None => policy.embedded_root()?,
        };
        let timeout = Duration::from_secs(self.timeout);
        let rekor = self.rekor_url.as_deref().map(|url| Rekor::new(url, timeout)).transpose()?;
        let options = Options {
            name: self.name.as_deref(),
            version: self.release_version.as_ref(),
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
            Ok((report, verdict)) => tell(Some(shown(&report, style)), verdict),
            Err(refusal) => {
                let shown = (style == Style::Json).then(|| json!({ "verified": false, "refusal": refusal }).to_string());
                tell::<()>(shown, Err(refusal))
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
