//! Spans: sets of keys, as intervals.

use bytes::Bytes;

use super::command::Span;

impl Span {
    /// The span that etcd's `key` and `range_end` name: no end is one key, an end of one zero byte is all from the key on.
    #[must_use]
    pub fn of(key: Bytes, range_end: Bytes) -> Self {
        match &range_end[..] {
            [] => Self::Key(key),
            [0] => Self::From(key),
            _ => Self::Range(key, range_end),
        }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: Bytes) -> Self {
        match super::layout::after_prefix(&prefix) {
            Some(end) => Self::Range(prefix, Bytes::from(end)),
            None => Self::From(prefix),
        }
    }

    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self::From(Bytes::new())
    }

    /// The first key that the span may hold.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        match self {
            Self::Key(key) => key,
            Self::Range(start, _) | Self::From(start) => start,
        }
    }

    /// Whether the span can hold no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Range(start, end) if end <= start)
    }

    /// Whether the span holds `key`.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Range(start, end) => &start[..] <= key && key < &end[..],
            Self::From(start) => &start[..] <= key,
        }
    }

    /// Whether some key may be in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(key), span) | (span, Self::Key(key)) => span.contains(key),
            _ => {
                !self.is_empty()
                    && !other.is_empty()
                    && self.ends_after(other.start())
                    && other.ends_after(self.start())
            }
        }
    }

    fn ends_after(&self, key: &Bytes) -> bool {
        match self {
            Self::Key(own) => own >= key,
            Self::Range(_, end) => end > key,
            Self::From(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_span_means_what_etcd_means_by_key_and_range_end() {
        assert_eq!(Span::of(bytes("a"), bytes("")), Span::Key(bytes("a")));
        assert_eq!(Span::of(bytes("a"), bytes("\0")), Span::From(bytes("a")));
        assert_eq!(Span::of(bytes("a"), bytes("b")), Span::Range(bytes("a"), bytes("b")));
        assert_eq!(Span::prefix(bytes("ab")), Span::Range(bytes("ab"), bytes("ac")));
        assert_eq!(Span::prefix(Bytes::from_static(b"a\xff")), Span::Range(Bytes::from_static(b"a\xff"), bytes("b")));
        assert_eq!(Span::prefix(Bytes::from_static(b"\xff")), Span::From(Bytes::from_static(b"\xff")));
    }

    #[test]
    fn two_spans_meet_exactly_when_they_share_a_key() {
        let key = |index: u8| Bytes::copy_from_slice(&[b'a' + index]);
        let mut spans = alloc::vec::Vec::new();
        for start in 0..5 {
            spans.push(Span::Key(key(start)));
            spans.push(Span::From(key(start)));
            spans.extend((0..5).map(|end| Span::Range(key(start), key(end))));
        }
        for one in &spans {
            for other in &spans {
                let shared = (0..6).any(|index| one.contains(&key(index)) && other.contains(&key(index)));
                assert_eq!(one.meets(other), shared, "{one:?} and {other:?}");
            }
        }
    }
}
