//! The offline bundle as a source: an uncompressed tar archive on a medium that may be removed any time.
//!
//! Nothing in it is trusted. It is read once for an index of names, and then by position: no path of it is ever used on the
//! device, every read is bounded, and a read that fails is a value. It is not mapped into memory, where a missing medium would
//! be a signal that kills.

use super::sink::Sink;
use super::{Download, Downloaded, FetchError, Small, checks};
use crate::storage::store::Mark;
use slipway_protocol::Refusal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files in a bundle: metadata, and a few per release. Generous.
const FILES: usize = 1024;
/// Longest name in bytes.
const NAME: usize = 512;
/// Bytes that hold such a name: with `./` before and a zero behind it.
const LONG_NAME: u64 = 515;
/// Bytes copied before looking whether anybody still wants them.
const STEP: u64 = 4 * 1024 * 1024;

/// An offline bundle that is open.
#[derive(Clone, Debug)]
pub struct TarSource {
    file: Arc<File>,
    path: PathBuf,
    index: Arc<BTreeMap<String, Member>>,
}

/// Where a file is in the archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Member {
    offset: u64,
    size: u64,
}

impl TarSource {
    /// Opens a bundle and reads its index. Blocks for as long as the medium takes.
    ///
    /// # Errors
    /// It cannot be read, or is no archive of regular files with different names.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let failed =
            |error: io::Error| checks::BUNDLE_READ.with(format_args!("{}: {error}", path.display()), "a file that can be read");
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(checks::BUNDLE.with(format_args!("{}: no file", path.display()), "a file"));
        }
        let index = index(&file, metadata.len()).map_err(|why| {
            checks::BUNDLE.with(format_args!("{}: {why}", path.display()), "a complete archive of regular files")
        })?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), index: Arc::new(index) })
    }

    /// The names in it, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// A small file, whole in memory. Blocks for as long as the medium takes.
    ///
    /// # Errors
    /// It is larger than `limit`, or the medium cannot be read.
    pub fn small(&self, name: &str, limit: u64) -> Result<Small, FetchError> {
        let Some(member) = self.index.get(name) else { return Ok(Small::Missing) };
        if member.size > limit {
            let seen = format_args!("{name}: {} bytes", member.size).to_string();
            return Err(FetchError::never(checks::ENDLESS.with(seen, format_args!("at most {limit} bytes"))));
        }
        let bytes = read(&self.file, member.offset, member.size).map_err(|error| self.unreadable(name, &error))?;
        Ok(Small::Bytes(bytes))
    }

    /// Copies an artifact to its part file exactly as [`super::Client::download`] would fetch it: bounded, hashed once as it is
    /// written, resumable, durable at the end.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn copy_to_part<P, C>(
        &self,
        name: &str,
        what: &Download,
        progress: P,
        checkpoint: C,
    ) -> Result<Downloaded, FetchError>
    where
        P: FnMut(u64),
        C: FnMut(Mark) -> Result<(), Refusal>,
    {
        let Some(member) = self.index.get(name).copied() else {
            return Err(FetchError::never(
                checks::BUNDLE_MEMBER.with(format_args!("no {name}"), format_args!("{} bytes", what.size)),
            ));
        };
        if member.size != what.size {
            let check = if member.size > what.size { checks::ENDLESS } else { checks::SIZE };
            let seen = format_args!("{name}: {} bytes", member.size).to_string();
            return Err(FetchError::never(check.with(seen, format_args!("{} bytes", what.size))));
        }
        let mut sink = Sink::open(what, progress, checkpoint).await.map_err(FetchError::later)?;
        let mut resumed = sink.position();
        let mut received = 0;
        loop {
            let filled = self.fill(name, member, &mut sink, &mut received).await;
            if let Err(error) = filled {
                // The medium's error is the one to report.
                let _ = sink.leave().await;
                return Err(FetchError { received, ..error });
            }
            let finished = sink.finish().await.map_err(|refusal| FetchError { received, ..FetchError::later(refusal) })?;
            let Some(refusal) = finished else { return Ok(Downloaded { received, resumed }) };
            sink.restart().await.map_err(FetchError::later)?;
            if resumed == 0 {
                sink.leave().await.map_err(FetchError::later)?;
                let refusal = Refusal { seen: format!("{} from {name} in {}", refusal.seen, self.path.display()), ..refusal };
                return Err(FetchError { received, ..FetchError::wrong_file(refusal) });
            }
            resumed = 0;
        }
    }

    async fn fill<P, C>(&self, name: &str, member: Member, sink: &mut Sink<P, C>, received: &mut u64) -> Result<(), FetchError>
    where
        P: FnMut(u64),
        C: FnMut(Mark) -> Result<(), Refusal>,
    {
        sink.reserve().await.map_err(FetchError::later)?;
        while sink.missing() > 0 {
            let (before, source, name) = (sink.position(), self.clone(), name.to_owned());
            let read = move |window: &mut [u8], at: u64| {
                let read = source.file.read_exact_at(window, member.offset.saturating_add(at));
                read.map_err(|error| source.unreadable(&name, &error).refusal)
            };
            let filled = sink.fill(sink.missing().min(STEP), read).await;
            *received = received.saturating_add(sink.position().saturating_sub(before));
            filled.map_err(FetchError::later)?;
        }
        Ok(())
    }

    fn unreadable(&self, name: &str, error: &io::Error) -> FetchError {
        let seen = format_args!("{name} in {}: {error}", self.path.display()).to_string();
        FetchError::later(checks::BUNDLE_READ.with(seen, "the file that was there when the bundle was opened"))
    }
}

/// Reads exactly that range; the caller has bounded it.
fn read(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Reads all headers. Long names are read here and not by the library, which would read one of any length into memory.
fn index(file: &File, total: u64) -> Result<BTreeMap<String, Member>, String> {
    let mut index = BTreeMap::new();
    let mut long_name: Option<Vec<u8>> = None;
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries_with_seek().map_err(|error| error.to_string())?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let name = match &long_name {
            Some(name) => name.clone(),
            None => entry.header().path_bytes().into_owned(),
        };
        let shown = slipway_protocol::refusal::printable(&String::from_utf8_lossy(&name));
        if offset.checked_add(size).is_none_or(|end| end > total) {
            return Err(format!("{shown} extends past the end of the archive: the copy is incomplete"));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() && long_name.is_none() {
            if size > LONG_NAME {
                return Err(format!("a name of {size} bytes"));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            while bytes.pop_if(|byte| *byte == 0).is_some() {}
            long_name = Some(bytes);
            continue;
        }
        long_name = None;
        if !kind.is_file() {
            return Err(format!("{shown} is not a regular file"));
        }
        let Some(name) = plain(&name) else { return Err(format!("the name {shown:?} is not allowed")) };
        if index.insert(name.to_owned(), Member { offset, size }).is_some() {
            return Err(format!("{shown} appears twice"));
        }
        if index.len() > FILES {
            return Err(format!("more than {FILES} files"));
        }
    }
    if long_name.is_some() { Err("it ends in the middle of a name".to_owned()) } else { Ok(index) }
}

/// A name that is a relative path going down only; a leading `./` does not count.
fn plain(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let good = name.len() <= NAME
        && !name.chars().any(char::is_control)
        && name.split('/').all(|piece| !matches!(piece, "" | "." | ".."));
    good.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Budget;
    use crate::storage::stamp::VerifiedFiles;
    use crate::storage::store::Account;
    use slipway_machine::RetryAdvice;
    use slipway_protocol::Sha256;
    use std::io::{Seek, Write};

    const SIZE: usize = 9 * 1024 * 1024 + 17;

    fn artifact() -> Vec<u8> {
        (0..SIZE).map(|i| u8::try_from((i / 7) % 251).unwrap() ^ u8::try_from(i / 65_536).unwrap()).collect()
    }

    fn archive(dir: &Path, build: impl FnOnce(&mut tar::Builder<File>)) -> PathBuf {
        let path = dir.join("bundle.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        build(&mut builder);
        builder.into_inner().unwrap();
        path
    }

    fn header(size: u64, kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        header
    }

    fn add(builder: &mut tar::Builder<File>, name: &str, bytes: &[u8]) {
        builder.append_data(&mut header(bytes.len() as u64, tar::EntryType::Regular), name, bytes).unwrap();
    }

    fn wanted(dir: &Path, bytes: &[u8], trusted_offset: u64) -> Download {
        Download {
            urls: Vec::new(),
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes),
            sha512: None,
            part: dir.join("artifact.part"),
            trusted_offset,
            budget: Budget::new(Account::new(jiff::Timestamp::UNIX_EPOCH), 0, 0),
            verified: VerifiedFiles::default(),
        }
    }

    #[test]
    fn names_of_every_length_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["bundle.json".to_owned(), format!("targets/{}.json", "x".repeat(90)), format!("targets/{}", "y".repeat(500))];
        let path = archive(dir.path(), |builder| {
            add(builder, "./empty", b"");
            names.iter().for_each(|name| add(builder, name, name.as_bytes()));
        });
        let source = TarSource::open(&path).unwrap();
        assert_eq!(source.names().count(), 4);
        assert_eq!(source.small("empty", 0), Ok(Small::Bytes(Vec::new())));
        for name in &names {
            assert_eq!(source.small(name, 600), Ok(Small::Bytes(name.as_bytes().to_vec())));
            assert_eq!(source.small(name, 10).unwrap_err().refusal.code, "SLW-A-ENDLESS");
        }
        assert_eq!(source.small("./empty", 0), Ok(Small::Missing), "one file has one name");
    }

    #[test]
    fn whatever_else_a_tar_can_hold_is_refused() {
        type Build = fn(&mut tar::Builder<File>);
        let kinds: [(&str, Build); 9] = [
            ("twice", |b| {
                add(b, "a", b"1");
                add(b, "a", b"2");
            }),
            ("twice", |b| {
                add(b, "a", b"1");
                add(b, "./a", b"2");
            }),
            ("regular", |b| b.append_link(&mut header(0, tar::EntryType::Symlink), "a", "/etc/passwd").unwrap()),
            ("regular", |b| b.append_link(&mut header(0, tar::EntryType::Link), "a", "b").unwrap()),
            ("regular", |b| b.append_data(&mut header(0, tar::EntryType::Directory), "a/", io::empty()).unwrap()),
            ("regular", |b| b.append_data(&mut header(3, tar::EntryType::XHeader), "a", &b"abc"[..]).unwrap()),
            ("not allowed", |b| {
                let mut up = header(0, tar::EntryType::Regular);
                up.as_gnu_mut().unwrap().name[..4].copy_from_slice(b"../a");
                up.set_cksum();
                b.append(&up, io::empty()).unwrap();
            }),
            ("a name of", |b| add(b, &"z/".repeat(2000), b"")),
            ("more than", |b| (0..=FILES).for_each(|i| add(b, &i.to_string(), b""))),
        ];
        for (why, build) in kinds {
            let dir = tempfile::tempdir().unwrap();
            let refusal = TarSource::open(&archive(dir.path(), build)).expect_err(why);
            assert!(refusal.code == "SLW-A-BUNDLE" && refusal.seen.contains(why), "{why}: {refusal}");
        }
    }

    #[test]
    fn an_invalid_or_truncated_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = archive(dir.path(), |builder| add(builder, "a", &[7; 100_000]));
        let whole = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(whole / 2).unwrap();
        assert!(TarSource::open(&path).unwrap_err().seen.contains("incomplete"));
        std::fs::write(&path, [b'x'; 4096]).unwrap();
        assert_eq!(TarSource::open(&path).unwrap_err().code, "SLW-A-BUNDLE");
        assert_eq!(TarSource::open(dir.path()).unwrap_err().code, "SLW-A-BUNDLE");
        assert_eq!(TarSource::open(&dir.path().join("missing")).unwrap_err().code, "SLW-A-BUNDLE-READ");
    }

    /// The bundle is 5 GiB long and takes a few blocks on the disk.
    #[tokio::test]
    async fn offsets_beyond_four_gibibytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.tar");
        let hole = 5 * 1024 * 1024 * 1024_u64;
        let mut file = File::create(&path).unwrap();
        let mut first = header(hole, tar::EntryType::Regular);
        first.set_path("huge").unwrap();
        first.set_cksum();
        file.write_all(first.as_bytes()).unwrap();
        file.seek(io::SeekFrom::Current(i64::try_from(hole).unwrap())).unwrap();
        let mut builder = tar::Builder::new(file);
        add(&mut builder, "artifact", b"behind the hole");
        builder.into_inner().unwrap();

        let source = TarSource::open(&path).unwrap();
        assert_eq!(source.small("artifact", 100), Ok(Small::Bytes(b"behind the hole".to_vec())));
        let what = wanted(dir.path(), b"behind the hole", 0);
        source.copy_to_part("artifact", &what, |_| {}, |_| Ok(())).await.unwrap();
        assert_eq!(std::fs::read(&what.part).unwrap(), b"behind the hole");
        assert_eq!(source.small("huge", 1000).unwrap_err().refusal.code, "SLW-A-ENDLESS");
    }

    #[tokio::test]
    async fn an_artifact_is_copied_resumed_and_compared() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = artifact();
        let mut wrong = bytes.clone();
        wrong[SIZE - 1] ^= 1;
        let path = archive(dir.path(), |builder| {
            add(builder, "good", &bytes);
            add(builder, "wrong", &wrong);
        });
        let source = TarSource::open(&path).unwrap();
        let (mut seen, mut cursors) = (Vec::new(), Vec::new());
        let what = wanted(dir.path(), &bytes, 0);
        let done = source
            .copy_to_part(
                "good",
                &what,
                |at| seen.push(at),
                |mark: Mark| {
                    cursors.push(mark.at);
                    Ok(())
                },
            )
            .await
            .unwrap();
        assert_eq!(done, Downloaded { received: SIZE as u64, resumed: 0 });
        assert!(std::fs::read(&what.part).unwrap() == bytes);
        assert!(seen.is_sorted() && cursors.is_sorted(), "{cursors:?}");
        assert_eq!((seen.last(), cursors.last()), (Some(&what.size), Some(&what.size)));

        let resumed = source.copy_to_part("good", &wanted(dir.path(), &bytes, 5000), |_| {}, |_| Ok(())).await.unwrap();
        assert_eq!(resumed, Downloaded { received: what.size - 5000, resumed: 5000 });

        let error = source.copy_to_part("wrong", &wanted(dir.path(), &bytes, 5000), |_| {}, |_| Ok(())).await.unwrap_err();
        assert_eq!((&*error.refusal.code, error.retry()), ("SLW-A-DIGEST", RetryAdvice::Never), "{error}");
        assert!(!what.part.exists(), "nothing of it is kept");
        for (name, size, code) in [
            ("missing", what.size, "SLW-A-BUNDLE-MEMBER"),
            ("good", what.size - 1, "SLW-A-ENDLESS"),
            ("good", what.size + 1, "SLW-A-SIZE"),
        ] {
            let what = Download { size, ..what.clone() };
            let error = source.copy_to_part(name, &what, |_| {}, |_| Ok(())).await.unwrap_err();
            assert_eq!((&*error.refusal.code, error.retry()), (code, RetryAdvice::Never), "{error}");
        }
    }

    #[tokio::test]
    async fn a_medium_that_is_pulled_out_is_an_error_and_no_loss() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = artifact();
        let path = archive(dir.path(), |builder| add(builder, "artifact", &bytes));
        let copy = std::fs::read(&path).unwrap();
        let source = TarSource::open(&path).unwrap();
        let half = 6 * 1024 * 1024;
        File::options().write(true).open(&path).unwrap().set_len(half).unwrap();
        let mut cursor = 0;
        let error = source
            .copy_to_part(
                "artifact",
                &wanted(dir.path(), &bytes, 0),
                |_| {},
                |mark: Mark| {
                    cursor = mark.at;
                    Ok(())
                },
            )
            .await
            .unwrap_err();
        assert_eq!((&*error.refusal.code, error.retry()), ("SLW-A-BUNDLE-READ", RetryAdvice::Later), "{error}");
        assert!(cursor > half / 2, "{cursor}");

        std::fs::write(&path, copy).unwrap();
        let done = source.copy_to_part("artifact", &wanted(dir.path(), &bytes, cursor), |_| {}, |_| Ok(())).await.unwrap();
        assert_eq!(done.resumed, cursor);
    }
}
