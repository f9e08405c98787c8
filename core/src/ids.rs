//! Randomness as an input, and the short ids made from it.

/// Where the library takes random bytes from. [`SystemRandom`] is the real one.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's random bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// Lower-case letters and digits without those that are read for one another (0 o, 1 l i, u v).
const ALPHABET: &[u8; 29] = b"23456789abcdefghjkmnpqrstwxyz";

/// `length` random characters that are easy to read out and type.
pub(crate) fn short(random: &dyn Random, length: usize) -> String {
    let mut id = String::with_capacity(length);
    let mut bytes = [0u8; 32];
    while id.len() < length {
        random.fill(&mut bytes);
        // 232 = 8 × 29: what is above would make the first letters likelier.
        let letters = bytes.iter().filter(|b| **b < 232).map(|b| char::from(ALPHABET[usize::from(b % 29)]));
        id.extend(letters.take(length - id.len()));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_have_their_length_and_alphabet() {
        for length in [1, 5, 33] {
            let id = short(&SystemRandom, length);
            assert_eq!(id.len(), length);
            assert!(id.bytes().all(|b| ALPHABET.contains(&b)));
        }
    }
}
