//! Extracts the one file to install from the downloaded artifact.
//!
//! This is where the proof changes hands: provenance names the artifact, what runs is the file in it. So the artifact is hashed
//! once more from the very bytes that are unpacked, and nothing that was unpacked counts unless that digest is the authorised
//! one. No path from the archive is ever used, nothing but the one wanted file is ever written, and only to the file given.

use crate::storage::durable;
use crate::storage::durable::preallocate;
use crate::storage::hash::{Hasher, WriteHash};
use crate::storage::stamp::Stamp;
use flate2::bufread::MultiGzDecoder;
use slipway_protocol::manifest::{Artifact, Format};
use slipway_protocol::{Refusal, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Largest file taken out of an archive. KubeEdge's largest is about 100 MB.
pub const MEMBER_LIMIT: u64 = 1024 * 1024 * 1024;
/// An archive may grow to so many times its size: programs reach 3 to 4, hostile zeros 1000.
const RATIO: u64 = 100;
/// But it may always grow to this, so that small archives of mostly empty files are no trouble.
const SMALL: u64 = 64 * 1024 * 1024;
/// How many names an error lists when the member is not in the archive.
const NAMES_SHOWN: usize = 10;
/// Bytes copied at a time.
const BUFFER: usize = 64 * 1024;

slipway_protocol::refusals! {
    ARCHIVE = "SLW-A-ARCHIVE", Malformed, Operator, "archive cannot be unpacked",
        "release an archive that `tar -tzf` lists without errors";
    BOMB = "SLW-A-ARCHIVE-BOMB", EndlessData, Operator, "archive's content is too large",
        "release an archive with the program and little else";
    pub(super) CHANGED = "SLW-A-ARTIFACT-CHANGED", ArbitrarySoftware, Attacker, "artifact changed after it was downloaded",
        "find out who changed the file, or check the disk; nothing of it was kept";
    MEMBER = "SLW-A-ARCHIVE-MEMBER", Malformed, Operator, "archive has no usable file to install under this name",
        "correct `member` in the release, or the archive";
}

/// What is to be unpacked, as it was authorised.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// What the artifact is.
    pub format: Format,
    /// The archive's file that is wanted; only with an archive.
    pub member: Option<&'a str>,
    /// The artifact's size.
    pub size: u64,
    /// The artifact's SHA-256.
    pub sha256: Sha256,
    /// The most that the file in the archive may have, if the release says so.
    pub unpacked: Option<u64>,
}

impl<'a> From<&'a Artifact> for Packed<'a> {
    fn from(artifact: &'a Artifact) -> Self {
        Self {
            format: artifact.format,
            member: artifact.member.as_deref(),
            size: artifact.size,
            sha256: artifact.sha256,
            unpacked: artifact.unpacked,
        }
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unpacked {
    /// SHA-256 of the file to be installed.
    pub payload: Sha256,
    /// Its size.
    pub size: u64,
    /// Its stamp after the last write, unless somebody else changed it meanwhile.
    pub stamp: Option<Stamp>,
}

/// Writes the file to be installed to `out`, which is empty; to make it durable is up to the caller. Blocks.
///
/// # Errors
/// The artifact is not the authorized one, the archive is unusable, or the disk fails. What is in `out` then is
/// nothing to be kept.
pub fn extract(artifact: impl Read, what: &Packed<'_>, out: &mut File) -> Result<Unpacked, Refusal> {
    // One byte more than authorised is enough to notice.
    let mut artifact = Hashing { inner: artifact.take(what.size.saturating_add(1)), hasher: Hasher::default(), count: 0 };
    let unpacked = match (what.format, what.member) {
        (Format::File, None) => copy(&mut artifact, what.size.saturating_add(1), out),
        (Format::TarGz, Some(member)) => one_of_many(&mut artifact, what, member, out),
        (Format::File, Some(member)) => Err(MEMBER.with(member, "none: a bare file has no members")),
        (Format::TarGz, None) => Err(MEMBER.with("none", "the name of one file in the archive")),
    };
    // First the digest, whatever else is wrong: a file that was changed may fail in any way.
    let (count, seen) = artifact.finish().map_err(|error| ARCHIVE.with(error, "an artifact that can be read"))?;
    if seen != what.sha256 || count != what.size {
        let length = if count > what.size { format!("more than {}", what.size) } else { count.to_string() };
        return Err(CHANGED.with(
            format_args!("sha256:{seen} of {length} bytes"),
            format_args!("sha256:{} of {} bytes", what.sha256, what.size),
        ));
    }
    unpacked
}

fn one_of_many(artifact: impl Read, what: &Packed<'_>, member: &str, out: &mut File) -> Result<Unpacked, Refusal> {
    let allowance = what.size.saturating_mul(RATIO).max(SMALL);
    let most = what.unpacked.unwrap_or(MEMBER_LIMIT).min(MEMBER_LIMIT);
    let inflated = Bounded { inner: MultiGzDecoder::new(BufReader::with_capacity(BUFFER, artifact)), left: allowance };
    let mut archive = tar::Archive::new(inflated);
    let mut found = None;
    let mut names = Names::default();
    for entry in archive.entries().map_err(|error| read_failed(&error, allowance))? {
        let mut entry = entry.map_err(|error| read_failed(&error, allowance))?;
        let name = entry.path_bytes().into_owned();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        names.see(name);
        if name != member.as_bytes() {
            continue;
        }
        if found.is_some() {
            return Err(MEMBER.with(format_args!("{member} twice"), "one file of that name"));
        }
        let kind = entry.header().entry_type();
        if !kind.is_file() || is_sparse(&mut entry)? {
            return Err(MEMBER.with(format_args!("{member} as {kind:?} or sparse"), "a regular file"));
        }
        if entry.size() > most {
            return Err(BOMB.with(format_args!("{member}: {} bytes", entry.size()), format_args!("at most {most} bytes")));
        }
        preallocate(out, 0, entry.size()).map_err(|error| write_failed(&error))?;
        let size = entry.size();
        let unpacked = copy_bounded(&mut entry, size, allowance, out)?;
        if unpacked.size != size {
            return Err(ARCHIVE.with(format_args!("{member}: {} bytes", unpacked.size), format_args!("{size} bytes")));
        }
        found = Some(unpacked);
    }
    // What follows the archive's end: padding, and gzip's own checksum.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| read_failed(&error, allowance))?;
    found.ok_or_else(|| MEMBER.with(names, member))
}

/// Sparse files in the newer formats look regular and say otherwise in an extended header.
fn is_sparse<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<bool, Refusal> {
    let Some(extensions) = entry.pax_extensions().map_err(|error| ARCHIVE.with(error, "extended headers that can be read"))?
    else {
        return Ok(false);
    };
    for extension in extensions {
        let extension = extension.map_err(|error| ARCHIVE.with(error, "extended headers that can be read"))?;
        if extension.key_bytes().starts_with(b"GNU.sparse") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn copy(from: &mut impl Read, limit: u64, out: &mut File) -> Result<Unpacked, Refusal> {
    preallocate(out, 0, limit.saturating_sub(1)).map_err(|error| write_failed(&error))?;
    copy_bounded(from, limit, limit, out)
}

/// Copies and hashes at most `limit` bytes.
fn copy_bounded(from: &mut impl Read, limit: u64, allowance: u64, out: &mut File) -> Result<Unpacked, Refusal> {
    let mut from = BufReader::with_capacity(BUFFER, from.take(limit));
    let mut written = WriteHash::new(out).map_err(|error| write_failed(&error))?;
    let mut size: u64 = 0;
    loop {
        let bytes = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|error| read_failed(&error, allowance))?,
        };
        let read = bytes.len();
        if read == 0 {
            let (payload, stamp) = written.finish(out).map_err(|error| write_failed(&error))?;
            return Ok(Unpacked { payload, size, stamp });
        }
        written.append(out, bytes).map_err(|error| write_failed(&error))?;
        size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        from.consume(read);
    }
}

fn read_failed(error: &io::Error, allowance: u64) -> Refusal {
    if error.get_ref().is_some_and(|inner| inner.is::<TooMuch>()) {
        BOMB.with(
            format_args!("more than {allowance} bytes"),
            format_args!("at most {RATIO} times the archive, or {SMALL} bytes"),
        )
    } else {
        ARCHIVE.with(error, "a tar archive compressed with gzip")
    }
}

fn write_failed(error: &io::Error) -> Refusal {
    durable::refusal(Path::new("the file in the slot"), error)
}

/// Counts and hashes what goes through.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.count = self.count.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

impl<R: Read> Hashing<R> {
    /// Reads what nobody wanted, too.
    fn finish(mut self) -> io::Result<(u64, Sha256)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.count, self.hasher.finish()))
    }
}

/// Ends a decompression that grows out of proportion.
struct Bounded<R> {
    inner: R,
    left: u64,
}

/// More came out than [`Bounded`] allows.
#[derive(Debug)]
struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the content is too large")
    }
}

impl std::error::Error for TooMuch {}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)).ok_or_else(|| io::Error::other(TooMuch))?;
        Ok(read)
    }
}

/// The first names of an archive, for a message.
#[derive(Default)]
struct Names {
    shown: Vec<String>,
    more: usize,
}

impl Names {
    fn see(&mut self, name: &[u8]) {
        if self.shown.len() < NAMES_SHOWN {
            let text = String::from_utf8_lossy(name);
            self.shown.push(text.chars().take(64).collect());
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "only {}", self.shown.join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::{Seek, SeekFrom, Write};
    use tar::{Builder, EntryType, Header};

    const MEMBER_NAME: &str = "kubeedge-v1.23.1-linux-amd64/edge/edgecore";
    const PROGRAM: &[u8] = b"#!/bin/sh\nexec sleep infinity\n";

    fn header(size: usize, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_size(size as u64);
        header.set_mode(0o755);
        header.set_entry_type(kind);
        header
    }

    fn add(builder: &mut Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        // The library's own method would drop a leading "./".
        let mut header = header(bytes.len(), EntryType::Regular);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    fn tar(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn packed<'a>(artifact: &[u8], member: Option<&'a str>) -> Packed<'a> {
        let format = if member.is_some() { Format::TarGz } else { Format::File };
        Packed { format, member, size: artifact.len() as u64, sha256: Sha256::of(artifact), unpacked: None }
    }

    fn run(artifact: &[u8], what: &Packed<'_>) -> Result<Vec<u8>, Refusal> {
        let mut out = tempfile::tempfile().unwrap();
        let unpacked = extract(artifact, what, &mut out)?;
        let mut bytes = Vec::new();
        out.seek(SeekFrom::Start(0)).unwrap();
        out.read_to_end(&mut bytes).unwrap();
        assert_eq!((unpacked.payload, unpacked.size), (Sha256::of(&bytes), bytes.len() as u64));
        assert_eq!(unpacked.stamp, Some(Stamp::of(&out).unwrap()));
        Ok(bytes)
    }

    fn member_of(artifact: &[u8]) -> Result<Vec<u8>, Refusal> {
        run(artifact, &packed(artifact, Some(MEMBER_NAME)))
    }

    #[test]
    fn a_bare_file_is_itself() {
        assert_eq!(run(PROGRAM, &packed(PROGRAM, None)), Ok(PROGRAM.to_vec()));
        assert_eq!(run(b"", &packed(b"", None)), Ok(Vec::new()));
    }

    #[test]
    fn one_member_is_taken_wherever_it_is() {
        for prefix in ["", "./"] {
            let artifact = gz(&tar(|builder| {
                builder
                    .append_data(&mut header(0, EntryType::Directory), "kubeedge-v1.23.1-linux-amd64/edge/", io::empty())
                    .unwrap();
                add(builder, "version", b"v1.23.1");
                add(builder, &format!("{prefix}{MEMBER_NAME}"), PROGRAM);
                add(builder, "kubeedge-v1.23.1-linux-amd64/edge/edgecore.old", b"other");
                builder.append_link(&mut header(0, EntryType::Symlink), "link", "/etc/passwd").unwrap();
            }));
            assert_eq!(member_of(&artifact).as_deref(), Ok(PROGRAM), "{prefix:?}");
        }
    }

    #[test]
    fn a_long_name_is_compared_whole() {
        let long = format!("{}edgecore", "deep/".repeat(40));
        let artifact = gz(&tar(|builder| {
            builder.append_data(&mut header(PROGRAM.len(), EntryType::Regular), &long, PROGRAM).unwrap();
        }));
        assert_eq!(run(&artifact, &packed(&artifact, Some(&long))).as_deref(), Ok(PROGRAM));
    }

    #[test]
    fn one_byte_of_difference_anywhere_is_seen() {
        let good = gz(&tar(|builder| add(builder, MEMBER_NAME, PROGRAM)));
        let what = packed(&good, Some(MEMBER_NAME));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let refusal = run(&bad, &what).expect_err("changed");
            assert_eq!(refusal.code, "SLW-A-ARTIFACT-CHANGED", "byte {at}: {refusal}");
        }
        for bad in [&good[..good.len() - 1], &[good.as_slice(), b"x"].concat(), b""] {
            assert_eq!(run(bad, &what).expect_err("changed").code, "SLW-A-ARTIFACT-CHANGED");
        }
        assert_eq!(run(b"other", &packed(PROGRAM, None)).expect_err("changed").code, "SLW-A-ARTIFACT-CHANGED");
    }

    #[test]
    fn archives_that_are_not_as_wanted() {
        let gnu_sparse = tar(|builder| {
            let mut sparse = header(0, EntryType::GNUSparse);
            sparse.set_path(MEMBER_NAME).unwrap();
            sparse.as_gnu_mut().unwrap().set_real_size(0);
            sparse.set_cksum();
            builder.append(&sparse, io::empty()).unwrap();
        });
        let pax_sparse = tar(|builder| {
            builder.append_pax_extensions([("GNU.sparse.major", &b"0"[..])]).unwrap();
            add(builder, MEMBER_NAME, PROGRAM);
        });
        let link = |kind| tar(|builder| builder.append_link(&mut header(0, kind), MEMBER_NAME, "/bin/sh").unwrap());
        let twice = tar(|builder| {
            add(builder, MEMBER_NAME, PROGRAM);
            add(builder, &format!("./{MEMBER_NAME}"), b"evil");
        });
        let names = tar(|builder| (0..12).for_each(|i| add(builder, &format!("file{i}"), b"")));
        for (why, archive, code, seen) in [
            ("sparse", gz(&gnu_sparse), "SLW-A-ARCHIVE-MEMBER", "sparse"),
            ("sparse in disguise", gz(&pax_sparse), "SLW-A-ARCHIVE-MEMBER", "sparse"),
            ("symlink", gz(&link(EntryType::Symlink)), "SLW-A-ARCHIVE-MEMBER", "Symlink"),
            ("hard link", gz(&link(EntryType::Link)), "SLW-A-ARCHIVE-MEMBER", "Link"),
            ("twice", gz(&twice), "SLW-A-ARCHIVE-MEMBER", "twice"),
            ("not there", gz(&names), "SLW-A-ARCHIVE-MEMBER", "file9 and 2 more"),
            ("no gzip", names, "SLW-A-ARCHIVE", ""),
            ("no tar", gz(&[b'x'; 2000]), "SLW-A-ARCHIVE", ""),
            (
                "trailing garbage",
                [gz(&tar(|builder| add(builder, MEMBER_NAME, PROGRAM))), b"garbage".to_vec()].concat(),
                "SLW-A-ARCHIVE",
                "",
            ),
            ("cut", gz(&tar(|builder| add(builder, MEMBER_NAME, &[1; 5000]))[..3000]), "SLW-A-ARCHIVE", ""),
        ] {
            let refusal = member_of(&archive).expect_err(why);
            assert!(refusal.code == code && refusal.seen.contains(seen), "{why}: {refusal}");
        }
    }

    #[test]
    fn a_second_gzip_member_hides_nothing() {
        let archive = tar(|builder| {
            add(builder, MEMBER_NAME, PROGRAM);
            add(builder, MEMBER_NAME, b"evil");
        });
        let (first, second) = archive.split_at(1024);
        let refusal = member_of(&[gz(first), gz(second)].concat()).expect_err("twice");
        assert!(refusal.seen.contains("twice"), "{refusal}");
    }

    #[test]
    fn bombs_are_stopped() {
        let zeros = usize::try_from(SMALL).unwrap() + 1;
        let artifact = gz(&tar(|builder| {
            builder.append_data(&mut header(zeros, EntryType::Regular), "zeros", io::repeat(0).take(zeros as u64)).unwrap();
            add(builder, MEMBER_NAME, PROGRAM);
        }));
        assert!(artifact.len() < zeros / 100);
        assert_eq!(member_of(&artifact).expect_err("too large").code, "SLW-A-ARCHIVE-BOMB");

        let mut promise = header(0, EntryType::Regular);
        promise.set_size(MEMBER_LIMIT + 1);
        promise.set_path(MEMBER_NAME).unwrap();
        promise.set_cksum();
        let artifact = gz(promise.as_bytes());
        assert_eq!(member_of(&artifact).expect_err("too large").code, "SLW-A-ARCHIVE-BOMB");
    }

    /// Seen to fail where what the release says was not asked.
    #[test]
    fn no_more_is_unpacked_than_the_release_says() {
        let artifact = gz(&tar(|builder| add(builder, MEMBER_NAME, PROGRAM)));
        let size = PROGRAM.len() as u64;
        let what = |unpacked| Packed { unpacked, ..packed(&artifact, Some(MEMBER_NAME)) };
        for enough in [None, Some(size), Some(size + 1)] {
            assert_eq!(run(&artifact, &what(enough)).as_deref(), Ok(PROGRAM), "{enough:?}");
        }
        let refusal = run(&artifact, &what(Some(size - 1))).expect_err("too large");
        assert_eq!(refusal.code, "SLW-A-ARCHIVE-BOMB");
    }

    #[test]
    fn format_and_member_must_agree() {
        let both = Packed { format: Format::File, ..packed(PROGRAM, Some("a")) };
        let neither = Packed { format: Format::TarGz, ..packed(PROGRAM, None) };
        for what in [both, neither] {
            assert_eq!(run(PROGRAM, &what).expect_err("impossible").code, "SLW-A-ARCHIVE-MEMBER");
        }
    }
}
