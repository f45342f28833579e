//! The fuzzer's bytes, read as decisions. A tape that has ended says zero, so every tape is complete.

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    /// A tape of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which must be more than zero; of two bytes, so that every place of a large document can be reached.
    pub fn below(&mut self, bound: usize) -> usize {
        let high = usize::from(self.byte());
        (high * 256 + usize::from(self.byte())) % bound.max(1)
    }

    /// One of these, unless there are none.
    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}
