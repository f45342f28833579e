//! Decides what a server's answer to a request for an artifact means. Pure.
//!
//! A range is asked for with `If-Range` on the strong entity tag that came with the bytes we have, and only of the server that
//! gave it: another mirror has other tags. Whatever the answer claims, the digest of the whole file decides in the end.

use super::checks;
use jiff::Timestamp;
use slipway_protocol::Refusal;

/// What was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RangeRequest {
    /// Bytes that we have; a range from here on was asked for unless it is 0.
    pub offset: u64,
    /// The authorised size.
    pub size: u64,
    /// The strong entity tag sent as `If-Range`.
    pub etag: Option<String>,
}

/// The head of the answer, as far as it matters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// `Content-Length`, if it is a number.
    pub length: Option<u64>,
    /// `Content-Range`.
    pub range: Option<String>,
    /// `ETag`, weak or strong.
    pub etag: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`, to make sense of a `Retry-After` that is a date: our own clock may be wrong.
    pub date: Option<String>,
}

/// What to do with it.
#[derive(Clone, Debug, PartialEq)]
pub enum ResumeDecision {
    /// The body goes on where our bytes end.
    Append,
    /// The body is the whole file: forget our bytes and begin at 0.
    Restart,
    /// Our bytes are of no use here: forget them, ask again for the whole.
    AskAgain,
    /// Not now; perhaps after that many seconds.
    Later(Refusal, Option<u64>),
    /// This address will not do.
    Refuse(Refusal),
}

/// The longest wait that a server may impose: it must not be able to keep a device from updates forever.
pub const LONGEST_WAIT: u64 = 24 * 60 * 60;

/// Decides what `answer` to `asked` means.
#[must_use]
pub fn judge(asked: &RangeRequest, answer: &ResponseHead) -> ResumeDecision {
    match answer.status {
        200 => full_response(asked, answer),
        206 if asked.offset > 0 => part(asked, answer),
        416 if asked.offset > 0 => ResumeDecision::AskAgain,
        status => refused(status, answer),
    }
}

/// What a status that brings no bytes means: temporary or not.
#[must_use]
pub fn refused(status: u16, answer: &ResponseHead) -> ResumeDecision {
    match status {
        408 | 425 | 429 | 500..=599 => ResumeDecision::Later(checks::UNAVAILABLE.with(status, "200 or 206"), wait(answer)),
        _ => ResumeDecision::Refuse(checks::STATUS.with(status, "200 or 206")),
    }
}

fn full_response(asked: &RangeRequest, answer: &ResponseHead) -> ResumeDecision {
    match answer.length {
        Some(length) if length != asked.size => ResumeDecision::Refuse(wrong_size(length, asked.size)),
        _ => ResumeDecision::Restart,
    }
}

fn part(asked: &RangeRequest, answer: &ResponseHead) -> ResumeDecision {
    let Some(range) = answer.range.as_deref().and_then(ContentRange::parse) else { return ResumeDecision::AskAgain };
    if let Some(total) = range.total
        && total != asked.size
    {
        return ResumeDecision::Refuse(wrong_size(total, asked.size));
    }
    // A server that ignores If-Range and has another file now.
    let changed = matches!((&asked.etag, &answer.etag), (Some(ours), Some(theirs)) if ours != theirs);
    // The body must be exactly what the range says, and lie within what was authorised.
    let length = range.last.checked_sub(range.first).and_then(|n| n.checked_add(1));
    let contradicts = length.is_none() || range.last >= asked.size || answer.length.is_some_and(|n| Some(n) != length);
    if changed || contradicts || range.first != asked.offset { ResumeDecision::AskAgain } else { ResumeDecision::Append }
}

fn wrong_size(seen: u64, size: u64) -> Refusal {
    let check = if seen > size { checks::ENDLESS } else { checks::SIZE };
    check.with(format_args!("{seen} bytes"), format_args!("{size} bytes"))
}

/// `bytes first-last/total`; the total may be unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct ContentRange {
    first: u64,
    last: u64,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let total = if total == "*" { None } else { Some(number(total)?) };
        Some(Self { first: number(first)?, last: number(last)?, total })
    }
}

/// Digits only: `parse` alone would also take a plus sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// An entity tag that identifies bytes: weak ones (`W/"…"`) only identify the meaning.
#[must_use]
pub fn strong(etag: &str) -> Option<&str> {
    let opaque = etag.strip_prefix('"')?.strip_suffix('"')?;
    let good = opaque.len() <= 256 && opaque.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    good.then_some(etag)
}

/// `Retry-After` in seconds, at most [`LONGEST_WAIT`].
fn wait(answer: &ResponseHead) -> Option<u64> {
    let text = answer.retry_after.as_deref()?.trim();
    let seconds = number(text).or_else(|| {
        let until = http_date(text)?.as_second();
        let from = http_date(answer.date.as_deref()?)?.as_second();
        Some(u64::try_from(until.saturating_sub(from)).unwrap_or(0))
    })?;
    Some(seconds.min(LONGEST_WAIT))
}

fn http_date(text: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1000;

    fn asked(offset: u64, etag: Option<&str>) -> RangeRequest {
        RangeRequest { offset, size: SIZE, etag: etag.map(str::to_owned) }
    }

    fn named(verdict: &ResumeDecision) -> String {
        match verdict {
            ResumeDecision::Append => "append".to_owned(),
            ResumeDecision::Restart => "restart".to_owned(),
            ResumeDecision::AskAgain => "ask again".to_owned(),
            ResumeDecision::Later(_, after) => after.map_or_else(|| "later".to_owned(), |secs| format!("later {secs}")),
            ResumeDecision::Refuse(refusal) => format!("refuse {}", refusal.code),
        }
    }

    /// Ours: bytes we have and the tag sent. Theirs: status, Content-Length, Content-Range, ETag.
    #[test]
    fn every_answer_has_one_meaning() {
        type Theirs = (u16, Option<u64>, Option<&'static str>, Option<&'static str>);
        let (a, b) = (Some("\"a\""), Some("\"b\""));
        let table: &[(u64, Option<&str>, Theirs, &str, &str)] = &[
            (0, None, (200, Some(1000), None, a), "restart", "the plain case"),
            (0, None, (200, None, None, None), "restart", "no length: the reader bounds it"),
            (0, None, (200, Some(1001), None, a), "refuse SLW-A-ENDLESS", "longer than authorised"),
            (0, None, (200, Some(u64::MAX), None, a), "refuse SLW-A-ENDLESS", "as long as can be"),
            (0, None, (200, Some(999), None, a), "refuse SLW-A-SIZE", "shorter than authorised"),
            (0, None, (206, Some(1000), Some("bytes 0-999/1000"), a), "refuse SLW-A-STATUS", "a range nobody asked for"),
            (0, None, (416, None, Some("bytes */1000"), None), "refuse SLW-A-STATUS", "a range nobody asked for"),
            (100, a, (206, Some(900), Some("bytes 100-999/1000"), a), "append", "the same file goes on"),
            (100, a, (206, Some(900), Some("bytes 100-999/1000"), None), "append", "tag not repeated"),
            (100, None, (206, Some(900), Some("bytes 100-999/1000"), a), "append", "another mirror: the digest decides"),
            (100, a, (206, None, Some("bytes 100-999/1000"), a), "append", "chunked"),
            (100, a, (206, Some(900), Some("BYTES 100-999/1000"), a), "append", "units ignore case"),
            (100, a, (206, Some(900), Some("bytes 100-999/*"), a), "append", "total unknown"),
            (100, a, (206, Some(50), Some("bytes 100-149/1000"), a), "append", "less than asked: another request follows"),
            (100, a, (206, Some(900), Some("bytes 100-999/1000"), b), "ask again", "If-Range ignored, file changed"),
            (100, a, (206, Some(900), Some("bytes 100-999/1000"), Some("W/\"a\"")), "ask again", "the tag became weak"),
            (100, a, (206, Some(901), Some("bytes 99-999/1000"), a), "ask again", "starts before"),
            (100, a, (206, Some(899), Some("bytes 101-999/1000"), a), "ask again", "starts after: a hole"),
            (100, a, (206, Some(1000), Some("bytes 0-999/1000"), a), "ask again", "starts at 0"),
            (100, a, (206, Some(901), Some("bytes 100-1000/*"), a), "ask again", "ends past the size"),
            (100, a, (206, Some(800), Some("bytes 100-999/1000"), a), "ask again", "length and range disagree"),
            (100, a, (206, None, Some("bytes 100-99/1000"), a), "ask again", "ends before it starts"),
            (100, a, (206, None, Some("bytes 0-18446744073709551615/*"), a), "ask again", "overflow"),
            (100, a, (206, None, Some("bytes +100-999/1000"), a), "ask again", "not a number"),
            (100, a, (206, None, Some("items 100-999/1000"), a), "ask again", "not bytes"),
            (100, a, (206, None, Some("bytes 100-999"), a), "ask again", "no total"),
            (100, a, (206, Some(900), None, a), "ask again", "no range, as with multipart"),
            (100, a, (206, Some(901), Some("bytes 100-1000/1001"), a), "refuse SLW-A-ENDLESS", "a longer file"),
            (100, a, (206, Some(899), Some("bytes 100-998/999"), a), "refuse SLW-A-SIZE", "a shorter file"),
            (100, a, (200, Some(1000), None, b), "restart", "file changed, If-Range honoured"),
            (100, a, (200, Some(1000), None, a), "restart", "ranges not supported"),
            (100, a, (200, Some(1001), None, b), "refuse SLW-A-ENDLESS", "changed and longer"),
            (100, a, (416, None, Some("bytes */50"), a), "ask again", "shorter than what we have"),
            (100, a, (404, None, None, None), "refuse SLW-A-STATUS", "gone"),
            (100, a, (401, None, None, None), "refuse SLW-A-STATUS", "not for us"),
            (0, None, (403, None, None, None), "refuse SLW-A-STATUS", "not for us"),
            (0, None, (410, None, None, None), "refuse SLW-A-STATUS", "gone"),
            (0, None, (304, None, None, None), "refuse SLW-A-STATUS", "nothing was conditional"),
            (0, None, (204, None, None, None), "refuse SLW-A-STATUS", "no content"),
            (0, None, (408, None, None, None), "later", "too slow for the server"),
            (0, None, (429, None, None, None), "later", "too many"),
            (0, None, (500, None, None, None), "later", "broken"),
            (100, a, (503, None, None, None), "later", "busy"),
            (0, None, (504, None, None, None), "later", "a proxy gave up"),
        ];
        for (offset, sent, (status, length, range, etag), wanted, why) in table {
            let answer = ResponseHead {
                status: *status,
                length: *length,
                range: range.map(str::to_owned),
                etag: etag.map(str::to_owned),
                ..ResponseHead::default()
            };
            assert_eq!(named(&judge(&asked(*offset, *sent), &answer)), *wanted, "{why}: {answer:?}");
        }
    }

    #[test]
    fn the_server_may_say_when_but_not_never() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (retry_after, date, wanted) in [
            ("120", None, "later 120"),
            (" 0 ", None, "later 0"),
            ("99999999", None, "later 86400"),
            ("99999999999999999999999", None, "later"),
            ("Sun, 06 Nov 1994 08:51:37 GMT", date, "later 120"),
            ("Sun, 06 Nov 1994 08:40:00 GMT", date, "later 0"),
            ("Fri, 06 Nov 2099 08:49:37 GMT", date, "later 86400"),
            ("Sun, 06 Nov 1994 08:51:37 GMT", None, "later"),
            ("soon", date, "later"),
            ("-5", None, "later"),
        ] {
            let answer = ResponseHead {
                status: 503,
                retry_after: Some(retry_after.to_owned()),
                date: date.map(str::to_owned),
                ..ResponseHead::default()
            };
            assert_eq!(named(&judge(&asked(0, None), &answer)), wanted, "{retry_after}");
        }
    }

    #[test]
    fn only_strong_tags_identify_bytes() {
        assert_eq!(strong("\"abc\""), Some("\"abc\""));
        assert_eq!(strong("\"\""), Some("\"\""));
        for weak in ["W/\"abc\"", "abc", "\"", "", "\"a\nb\"", "\"a\"b\"", "\"a b\""] {
            assert_eq!(strong(weak), None, "{weak}");
        }
        assert_eq!(strong(&format!("\"{}\"", "a".repeat(257))), None);
    }
}
