//! Where there are no words to sleep on: looking again and again, less and less often.

use std::time::Duration;

const LONGEST: Duration = Duration::from_millis(50);

/// How long to sleep after having found nothing `quiet` times in a row: 1 ms at first, doubled every fourth time, 50 ms
/// after a quarter of a second.
pub(super) fn step(quiet: u32) -> Duration {
    Duration::from_millis(1 << (quiet / 4).min(6)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_from_1_to_50_ms() {
        let steps: Vec<u128> = [0, 3, 4, 8, 20, 24, u32::MAX].map(|quiet| step(quiet).as_millis()).into();
        assert_eq!(steps, [1, 1, 2, 4, 32, 50, 50]);
    }
}
