//! Bytes of a fuzzer as decisions, and memory as a C caller has it.

/// Takes decisions off a string of bytes; when it is used up, every decision is 0.
pub struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let two = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(two) % bound
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A length that tests bounds: mostly small, sometimes beyond all memory.
    pub fn length(&mut self) -> u64 {
        match self.byte() {
            0..=239 => u64::from(self.byte()),
            240..=247 => u64::MAX - u64::from(self.byte()),
            _ => 1 << (u32::from(self.byte()) % 24 + 40),
        }
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }
}

/// A caller's memory: every piece an allocation of its own, so that an address sanitizer sees each byte past its end.
#[derive(Default)]
pub struct Arena(Vec<Vec<u8>>);

impl Arena {
    /// Puts bytes somewhere. The pointer is good until the arena is dropped.
    pub fn put(&mut self, bytes: Vec<u8>) -> *mut u8 {
        self.0.push(bytes);
        self.0.last_mut().map_or(std::ptr::null_mut(), |last| last.as_mut_ptr())
    }

    /// A pointer and a length as callers have them: right, NULL with nothing, NULL with something, or of a length that no memory has.
    pub fn pointer(&mut self, dice: &mut Dice<'_>, len_max: usize) -> (*mut u8, u64) {
        match dice.byte() {
            0..=15 => (std::ptr::null_mut(), 0),
            16..=31 => (std::ptr::null_mut(), dice.length()),
            32..=47 => (self.put(vec![0; 8]), u64::MAX - u64::from(dice.byte())),
            _ => {
                let len = dice.below(len_max + 1);
                (self.put(vec![dice.byte(); len]), len as u64)
            }
        }
    }
}
