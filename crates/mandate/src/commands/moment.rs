//! Moments and spans as people read them. JSON keeps milliseconds.

use std::time::Duration;

use mandate_model::Timestamp;

/// A moment and how far it is from `now`: `2026-11-24T06:25:22.123Z (3 s ago)`.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("{at} (in {})", span(at.since(now)))
    } else {
        format!("{at} ({} ago)", span(now.since(at)))
    }
}

/// The two largest units, rounded down: `3 s`, `2 min 5 s`, `1 h 30 min`, `4 d 6 h`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let [days, hours, minutes] = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60];
    let seconds = seconds % 60;
    let (large, small) = match (days, hours, minutes) {
        (0, 0, 0) => return format!("{seconds} s"),
        (0, 0, minutes) => ((minutes, "min"), (seconds, "s")),
        (0, hours, minutes) => ((hours, "h"), (minutes, "min")),
        (days, hours, _) => ((days, "d"), (hours, "h")),
    };
    let ((large, unit), (small, smaller)) = (large, small);
    if small == 0 {
        format!("{large} {unit}")
    } else {
        format!("{large} {unit} {small} {smaller}")
    }
}

/// `1 record`, `2 records`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// A moment as people write it: RFC 3339 with an offset, `30m` ago (`s`, `m`, `h` or `d`), or
/// milliseconds since the epoch.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(millis) = text.parse() {
        return Ok(Timestamp::from_millis(millis));
    }
    if let Some(ago) = ago(text) {
        return Ok(now.minus(ago));
    }
    Timestamp::parse(text).map_err(|_| {
        format!("`{text}` is no moment: write 2026-11-24T06:25:22Z, or 30m for half an hour ago")
    })
}

fn ago(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_moment_says_how_long_ago_it_was_or_is_to_come() {
        let text = |at| moment(at, NOW);
        assert_eq!(
            text(NOW.minus(Duration::from_millis(3_900))),
            "2027-01-15T07:59:56.100Z (3 s ago)"
        );
        assert_eq!(
            text(NOW.plus(Duration::from_secs(300))),
            "2027-01-15T08:05:00.000Z (in 5 min)"
        );
    }

    #[test]
    fn a_span_has_two_units_at_most() {
        let text = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(text(0), "0 s");
        assert_eq!(text(125), "2 min 5 s");
        assert_eq!(text(5_400), "1 h 30 min");
        assert_eq!(text(3_600 + 59), "1 h");
        assert_eq!(text(4 * 86_400 + 6 * 3_600 + 7), "4 d 6 h");
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let read = |text| parse(text, NOW).ok();
        let day = Duration::from_secs(86_400);
        assert_eq!(read("2027-01-15T08:00:00Z"), Some(NOW));
        assert_eq!(read("2027-01-15T09:00:00+01:00"), Some(NOW));
        assert_eq!(read("30m"), Some(NOW.minus(Duration::from_secs(1_800))));
        assert_eq!(read("2d"), Some(NOW.minus(day * 2)));
        assert_eq!(read("1800000000000"), Some(NOW));
        for bad in ["", "m", "-3m", "yesterday", "2027-01-15", "3w", "é"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
