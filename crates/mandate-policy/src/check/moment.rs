//! Moments as bundles write them.

use mandate_model::Timestamp;

/// A moment in RFC 3339 with `Z`: `2026-12-01T00:00:00Z`, or a whole day: `2026-12-01`.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let secs = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    in_range.then(|| Timestamp::from_secs(secs))
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts: [&str; 3] = parts.try_into().ok()?;
    let mut found = [0; 3];
    for ((part, width), number) in parts.iter().zip(widths).zip(&mut found) {
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    Some(found)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|y| 365 + u64::from(is_leap(y))).sum();
    let months: u64 = (1..month).map(|m| days_of_month(year, m)).sum();
    years + months + day.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339() {
        let day = |text| parse_time(text).map(|t| t.to_string());
        assert_eq!(day("2026-11-24").unwrap(), "2026-11-24T00:00:00.000Z");
        assert_eq!(
            day("2024-02-29T23:59:59Z").unwrap(),
            "2024-02-29T23:59:59.000Z"
        );
        for bad in [
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "2026-11-24T00:00:00",
            "tomorrow",
            "2026-11-24T24:00:00Z",
        ] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }
}
