//! What a request asks for, and what a good server answers: pure, but for the look at the file.

use super::fault::Fault;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// The head of a request, as far as a file server cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    headers: BTreeMap<String, String>,
}

impl Head {
    /// `None` when it is not HTTP.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        words.next()?.strip_prefix("HTTP/1.")?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        Some(Self { method: method.to_owned(), path, headers })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// The file a path means; `None` for everything that leaves the folder.
pub(super) fn file_of(dir: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.strip_prefix('/')?);
    let tame = relative.components().all(|c| matches!(c, Component::Normal(_)));
    (tame && !path.contains('%')).then(|| dir.join(relative))
}

/// The part of a file to send: first byte, and the one after the last.
pub(super) type Span = (u64, u64);

/// What to answer to a range.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RangeReply {
    Whole,
    Partial(Span),
    Unsatisfiable,
}

/// Decides on `Range` and `If-Range` (RFC 9110, section 14). Several ranges at once are answered with the whole, as servers may.
pub(super) fn range_reply(head: &Head, size: u64, etag: Option<&str>) -> RangeReply {
    let Some(range) = head.header("range") else { return RangeReply::Whole };
    if let Some(condition) = head.header("if-range")
        && Some(condition) != etag
    {
        return RangeReply::Whole;
    }
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else { return RangeReply::Whole };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= size => RangeReply::Unsatisfiable,
        (Ok(first), Ok(last)) if last >= first => RangeReply::Partial((first, size.min(last.saturating_add(1)))),
        (Ok(first), Err(_)) if last.is_empty() => RangeReply::Partial((first, size)),
        (Err(_), Ok(tail)) if first.is_empty() && (tail == 0 || size == 0) => RangeReply::Unsatisfiable,
        (Err(_), Ok(tail)) if first.is_empty() => RangeReply::Partial((size.saturating_sub(tail), size)),
        _ => RangeReply::Whole,
    }
}

/// Strong tags: hashes of the content, computed once per version of a file.
#[derive(Debug, Default)]
pub(super) struct Etags {
    known: BTreeMap<PathBuf, (SystemTime, u64, String)>,
}

impl Etags {
    pub(super) fn of(&mut self, file: &Path) -> std::io::Result<String> {
        let metadata = std::fs::metadata(file)?;
        let (modified, size) = (metadata.modified()?, metadata.len());
        if let Some((then, length, etag)) = self.known.get(file)
            && *then == modified
            && *length == size
        {
            return Ok(etag.clone());
        }
        let mut hash = Sha256::new();
        let mut reader = std::fs::File::open(file)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                got => hash.update(&buffer[..got]),
            }
        }
        let etag = format!("\"{}\"", hex::encode(&hash.finalize()[..12]));
        self.known.insert(file.to_owned(), (modified, size, etag.clone()));
        Ok(etag)
    }
}

/// The tag to send, faults applied.
pub(super) fn etag_with(etag: String, faults: &[Fault]) -> Option<String> {
    match faults.iter().filter(|f| **f == Fault::NewEtag).count() {
        0 => Some(etag),
        n => Some(format!("\"{}-{n}\"", etag.trim_matches('"'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &str) -> Head {
        Head::parse(&format!("GET /a/b?c HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n")).unwrap()
    }

    #[test]
    fn heads_are_parsed() {
        let head = ask("RANGE: bytes=1-2");
        assert_eq!((head.method.as_str(), head.path.as_str()), ("GET", "/a/b"));
        assert_eq!(head.header("range"), Some("bytes=1-2"));
        assert_eq!(Head::parse("nonsense"), None);
    }

    #[test]
    fn ranges_are_decided_as_the_standard_says() {
        let table = [
            ("", RangeReply::Whole),
            ("Range: bytes=0-", RangeReply::Partial((0, 10))),
            ("Range: bytes=4-", RangeReply::Partial((4, 10))),
            ("Range: bytes=4-5", RangeReply::Partial((4, 6))),
            ("Range: bytes=4-99", RangeReply::Partial((4, 10))),
            ("Range: bytes=-3", RangeReply::Partial((7, 10))),
            ("Range: bytes=-99", RangeReply::Partial((0, 10))),
            ("Range: bytes=10-", RangeReply::Unsatisfiable),
            ("Range: bytes=-0", RangeReply::Unsatisfiable),
            ("Range: bytes=5-4", RangeReply::Whole),
            ("Range: bytes=1-2,4-5", RangeReply::Whole),
            ("Range: lines=1-2", RangeReply::Whole),
            ("Range: bytes=4-\r\nIf-Range: \"tag\"", RangeReply::Partial((4, 10))),
            ("Range: bytes=4-\r\nIf-Range: \"old\"", RangeReply::Whole),
        ];
        for (headers, wanted) in table {
            assert_eq!(range_reply(&ask(headers), 10, Some("\"tag\"")), wanted, "{headers}");
        }
        assert_eq!(range_reply(&ask("Range: bytes=-3"), 0, None), RangeReply::Unsatisfiable);
        assert_eq!(range_reply(&ask("Range: bytes=4-\r\nIf-Range: \"tag\""), 10, None), RangeReply::Whole);
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let dir = Path::new("/srv");
        assert_eq!(file_of(dir, "/a/b.tar.gz"), Some(PathBuf::from("/srv/a/b.tar.gz")));
        for path in ["/../etc/passwd", "/a/../../b", "//etc/passwd", "a", "/%2e%2e/a"] {
            assert_eq!(file_of(dir, path), None, "{path}");
        }
    }
}
