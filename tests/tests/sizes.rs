//! Artifacts around 2 GiB and 4 GiB, the limits of 31 and 32 bits, as sparse files.
//!
//! The six downloads take 4 to 8 s each: whoever goes on with 4 GiB hashes what is there already first, and the kernel makes zeros of holes.

use anyhow::Result;
use slipway_agent::fetch::resume::{RangeRequest, ResponseHead, ResumeDecision, judge};
use slipway_agent::fetch::{Budget, Client, Download, HttpSettings};
use slipway_agent::storage::stamp::VerifiedFiles;
use slipway_agent::storage::store::{Account, Mark};
use slipway_agent::storage::unpack::{Packed, extract};
use slipway_agent::tls::{TlsSettings, client_config};
use slipway_protocol::manifest::Format;
use slipway_protocol::{Manifest, Sha256};
use slipway_testkit::server::{Fault, ReleaseServer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const GIB: u64 = 1 << 30;
/// What is left to fetch of each: a little over a checkpoint's tail, and no round number.
const REST: u64 = 70_001;

/// Every size at which a number of fewer bits would break, and the first that a wrapped 32-bit one would take for nothing.
const BOUNDARIES: [u64; 7] = [2 * GIB - 1, 2 * GIB, 2 * GIB + 1, 4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 4 * GIB + 5];

fn client() -> Result<Client> {
    let settings = HttpSettings { allow_http: true, proxy: Some("none".to_owned()), ..HttpSettings::default() };
    Ok(Client::new(&settings, &*client_config(&TlsSettings::default())?)?)
}

/// Nothing here is about what it costs.
fn budget(size: u64) -> Budget {
    Budget::new(Account::new(jiff::Timestamp::UNIX_EPOCH), size, 1000)
}

fn hole(path: &Path, size: u64) -> Result<()> {
    Ok(File::create(path)?.set_len(size)?)
}

/// Without a tag, for which the server would have to hash the file.
fn serve_hole(server: &ReleaseServer, dir: &Path, name: &str, size: u64) -> Result<()> {
    server.fault(name, Fault::NoEtag);
    hole(&dir.join(name), size)
}

/// All but the end of it is there; the rest is asked for by one request beyond the edge, and the whole has the right digest, which
/// `head -c SIZE /dev/zero | sha256sum` says.
async fn resumed(size: u64, sha256: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = ReleaseServer::start(dir.path())?;
    let (name, part) = ("artifact", dir.path().join("part"));
    serve_hole(&server, dir.path(), name, size)?;
    let offset = size - REST;
    hole(&part, offset)?;
    let what = Download {
        urls: vec![server.url_of(name).parse()?],
        size,
        sha256: sha256.parse().map_err(anyhow::Error::msg)?,
        sha512: None,
        part: part.clone(),
        trusted_offset: offset,
        budget: budget(size),
        verified: VerifiedFiles::default(),
    };
    let (mut progress, mut durable) = (0, 0);
    let checkpoint = |mark: Mark| {
        durable = mark.at;
        Ok(())
    };
    let done = client()?.download(&what, |at| progress = at, checkpoint).await?;
    assert_eq!((done.resumed, done.received), (offset, REST));
    assert_eq!((progress, durable, std::fs::metadata(&part)?.len()), (size, size, size));
    let ranges: Vec<_> = server.requests_for(name).into_iter().map(|request| request.range).collect();
    assert_eq!(ranges, [Some(format!("bytes={offset}-"))], "one request, for the rest only");
    Ok(())
}

#[tokio::test]
async fn a_download_goes_on_to_one_byte_less_than_2_gib() -> Result<()> {
    resumed(2 * GIB - 1, "25ba9187e4e7b89d2a7f1a49f0155c233ea8fe0b19c881bc53d23fd7b93deda0").await
}

#[tokio::test]
async fn a_download_goes_on_to_2_gib() -> Result<()> {
    resumed(2 * GIB, "a7c744c13cc101ed66c29f672f92455547889cc586ce6d44fe76ae824958ea51").await
}

#[tokio::test]
async fn a_download_goes_on_to_one_byte_more_than_2_gib() -> Result<()> {
    resumed(2 * GIB + 1, "b8030a8ab89280935633d8d991da3d9907c0f12e8b6fc3bfc515f4d440872b6e").await
}

#[tokio::test]
async fn a_download_goes_on_to_one_byte_less_than_4_gib() -> Result<()> {
    resumed(4 * GIB - 1, "318eea1453f3a536e42d9637db593982c5c297220b2019bd4b7ad08e88d91e4b").await
}

#[tokio::test]
async fn a_download_goes_on_to_4_gib() -> Result<()> {
    resumed(4 * GIB, "8479e43911dc45e89f934fe48d01297e16f51d17aa561d4d1c216b1ae0fcddca").await
}

#[tokio::test]
async fn a_download_goes_on_to_one_byte_more_than_4_gib() -> Result<()> {
    resumed(4 * GIB + 1, "fbb82f7b353676bb562eb82157fcf0ea42c36492ca13ee56dbf82c08b6802c5c").await
}

/// Staging a bare file writes and counts every byte of it. Once, at the largest size: what is staged is no hole any more, and is synced.
#[test]
fn more_than_4_gib_are_staged() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (source, size) = (dir.path().join("part"), 4 * GIB + 1);
    hole(&source, size)?;
    let sha256 = "fbb82f7b353676bb562eb82157fcf0ea42c36492ca13ee56dbf82c08b6802c5c".parse().map_err(anyhow::Error::msg)?;
    let mut out = File::create(dir.path().join("payload"))?;
    let what = Packed { format: Format::File, member: None, size, sha256, unpacked: None };
    let staged = extract(File::open(&source)?, &what, &mut out)?;
    assert_eq!((staged.size, staged.payload, out.metadata()?.len()), (size, sha256, size));
    // A download that was cut short is another artifact.
    let mut out = File::create(dir.path().join("payload"))?;
    let refusal = extract(File::open(&source)?.take(1 << 20), &what, &mut out).expect_err("not the whole of it");
    assert_eq!(refusal.code, "SLW-A-ARTIFACT-CHANGED");
    Ok(())
}

/// One byte more or less than was authorised is found out by the answer's head; and 4 GiB and 5 bytes are not 5 bytes.
#[tokio::test]
async fn one_byte_more_or_less_is_refused_before_a_byte_comes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = ReleaseServer::start(dir.path())?;
    for edge in BOUNDARIES {
        for (authorised, served) in [(edge, edge + 1), (edge, edge - 1), (edge & 0xffff_ffff, edge), (edge, edge & 0x7fff_ffff)] {
            if authorised == served || authorised == 0 {
                continue;
            }
            let (name, part) = (format!("artifact-{authorised}-{served}"), dir.path().join("part"));
            serve_hole(&server, dir.path(), &name, served)?;
            let url = server.url_of(&name).parse()?;
            let sha256 = Sha256::of(b"whatever");
            let what = Download {
                urls: vec![url],
                size: authorised,
                sha256,
                sha512: None,
                part,
                trusted_offset: 0,
                budget: budget(authorised),
                verified: VerifiedFiles::default(),
            };
            let error = client()?.download(&what, |_| {}, |_| Ok(())).await.expect_err("another size");
            assert!(
                ["SLW-A-ENDLESS", "SLW-A-SIZE", "SLW-A-CUT"].contains(&&*error.refusal.code),
                "{authorised} {served}: {error}"
            );
            assert!(error.received < 1 << 20, "{authorised} {served}: {} bytes were taken", error.received);
        }
    }
    Ok(())
}

/// What a server says about the part that it sends, to the byte.
#[test]
fn ranges_are_compared_in_64_bits() {
    for size in BOUNDARIES {
        for offset in [1, size / 2, size - 1] {
            let asked = RangeRequest { offset, size, etag: Some("\"a\"".to_owned()) };
            let answer = |first: u64, total: u64| ResponseHead {
                status: 206,
                range: Some(format!("bytes {first}-{}/{total}", total - 1)),
                length: Some(total - first),
                etag: Some("\"a\"".to_owned()),
                ..ResponseHead::default()
            };
            assert_eq!(judge(&asked, &answer(offset, size)), ResumeDecision::Append, "{offset} of {size}");
            for (first, total) in [(offset - 1, size), (offset, size + 1), (offset & 0xffff_ffff, size & 0xffff_ffff)] {
                if (first, total) != (offset, size) && first < total {
                    assert_ne!(
                        judge(&asked, &answer(first, total)),
                        ResumeDecision::Append,
                        "{first} of {total} for {offset} of {size}"
                    );
                }
            }
        }
    }
}

/// A manifest says such sizes and keeps them; what no file can have is no panic.
#[test]
fn manifests_keep_every_size() -> Result<()> {
    for size in BOUNDARIES.into_iter().chain([(1 << 53) - 1]) {
        let digest = Sha256::of(b"");
        let text = format!(
            r#"{{"v":1,"component":"edgecore","version":"v1.0.0","artifacts":[{{"platform":"any","name":"a","size":{size},
            "sha256":"{digest}","urls":["a"],"format":"file","provenance":{{"urls":["p"],"size":1,"sha256":"{digest}"}}}}]}}"#
        );
        let manifest = Manifest::parse(text.as_bytes()).map_err(anyhow::Error::msg)?;
        assert_eq!(manifest.artifacts[0].size, size);
        let again = Manifest::parse(&serde_json::to_vec(&manifest)?).map_err(anyhow::Error::msg)?;
        assert_eq!(again, manifest);
    }
    Ok(())
}
