//! Durations as people write them: `300ms`, `30s`, `5m`, `2h`, `1h30m`, `7d`.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// Reads a duration that isn't negative.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let read = text.parse::<SignedDuration>().or_else(|e| {
        // Days mean 24 hours here: nobody waits by the calendar.
        let span = text.parse::<Span>().map_err(|_| e)?;
        span.to_duration(SpanRelativeTo::days_are_24_hours())
    });
    match read {
        Ok(duration) => Duration::try_from(duration).map_err(|_| format!("{text:?} is negative")),
        Err(_) => Err(format!("{text:?} is no duration: write a number with a unit, like 300ms, 30s, 5m, 2h or 7d")),
    }
}

/// Reads a duration for the library, which counts in milliseconds.
pub(crate) fn parse_ms(text: &str) -> Result<i64, String> {
    let ms = parse(text)?.as_millis();
    i64::try_from(ms).map_err(|_| format!("{text:?} is too long"))
}

/// A moment in the past: a duration before now, or a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Ago(i64),
    At(i64),
}

impl Since {
    /// In milliseconds since 1970.
    pub(crate) fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Ago(ms) => now_ms.saturating_sub(ms),
            Self::At(ms) => ms,
        }
    }
}

/// Reads `30m`, or `2024-02-28T10:18:00Z`.
pub(crate) fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(ms) = parse_ms(text) {
        return Ok(Since::Ago(ms));
    }
    match text.parse::<Timestamp>() {
        Ok(at) => Ok(Since::At(at.as_millisecond())),
        Err(_) => Err(format!(
            "{text:?} is neither a duration (30m, 2h, 7d) nor a timestamp with a zone (2024-02-28T10:18:00Z)"
        )),
    }
}

/// How long ago something was, for people.
pub(crate) fn ago(then_ms: i64, now_ms: i64) -> String {
    format!("{} ago", length(now_ms - then_ms))
}

/// A moment by the clock on the wall: the time if it is of today, else with the date.
pub(crate) fn moment(then_ms: i64, now_ms: i64) -> String {
    let zone = TimeZone::system();
    let local = |ms| Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned_datetime(zone.clone());
    let (then, now) = (local(then_ms), local(now_ms));
    let format = if then.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    then.strftime(format).to_string()
}

/// A length of time in its largest whole unit.
pub(crate) fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_a_unit() {
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(7 * 86400)));
        for wrong in ["", "30", "-5s", "soon", "5x"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn since_takes_a_duration_or_a_timestamp() {
        assert_eq!(parse_since("10m").map(|s| s.at_ms(1_000_000)), Ok(400_000));
        assert_eq!(parse_since("1970-01-01T00:00:05Z").map(|s| s.at_ms(0)), Ok(5000));
        assert!(parse_since("yesterday").is_err());
    }

    #[test]
    fn ages_use_their_largest_unit() {
        assert_eq!(ago(0, 30_000), "30s ago");
        assert_eq!(ago(0, 8 * 60_000), "8m ago");
        assert_eq!(ago(0, 2 * 3_600_000), "2h ago");
        assert_eq!(ago(0, 3 * 86_400_000), "3d ago");
        assert_eq!(ago(5000, 0), "0s ago");
    }
}
