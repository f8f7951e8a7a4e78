//! Times as people read them: groups of the conversation list, short dates, durations, sizes.
//!
//! Pure: now and the offset of the local time zone are arguments.

use web_api::UnixMs;

const DAY_MS: i64 = 86_400_000;

/// A group of the conversation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Age {
    /// Since local midnight.
    Today,
    /// The day before.
    Yesterday,
    /// Up to seven days ago.
    Week,
    /// Everything before that.
    Older,
}

impl Age {
    /// Heading of the group.
    pub fn title(self) -> &'static str {
        match self {
            Age::Today => "Today",
            Age::Yesterday => "Yesterday",
            Age::Week => "Last 7 days",
            Age::Older => "Older",
        }
    }
}

/// The clock of the person in front of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalClock {
    /// The present.
    pub now: UnixMs,
    /// What local time is ahead of UTC, in minutes.
    pub ahead_of_utc_min: i64,
}

impl LocalClock {
    /// Days since the epoch of the local calendar.
    fn day(&self, time: UnixMs) -> i64 {
        (time + self.ahead_of_utc_min * 60_000).div_euclid(DAY_MS)
    }

    /// The group of a time. Times ahead of `now` (clocks differ) count as today.
    pub fn age(&self, time: UnixMs) -> Age {
        match self.day(self.now) - self.day(time) {
            ..=0 => Age::Today,
            1 => Age::Yesterday,
            2..=7 => Age::Week,
            _ => Age::Older,
        }
    }

    /// `2026-03-09 14:05`, local.
    pub fn date_time(&self, time: UnixMs) -> String {
        let local = time + self.ahead_of_utc_min * 60_000;
        let (year, month, day) = civil(local.div_euclid(DAY_MS));
        let minutes = local.rem_euclid(DAY_MS) / 60_000;
        format!(
            "{year:04}-{month:02}-{day:02} {:02}:{:02}",
            minutes / 60,
            minutes % 60
        )
    }
}

/// Year, month, day of a day number since 1970-01-01 (Howard Hinnant, `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Consecutive items of the same group, in the order given.
pub fn group_by_age<T>(
    items: Vec<T>,
    clock: LocalClock,
    time: impl Fn(&T) -> UnixMs,
) -> Vec<(Age, Vec<T>)> {
    let mut groups: Vec<(Age, Vec<T>)> = Vec::new();
    for item in items {
        let age = clock.age(time(&item));
        match groups.last_mut() {
            Some((last, members)) if *last == age => members.push(item),
            _ => groups.push((age, vec![item])),
        }
    }
    groups
}

/// `640 ms`, `4.2 s`, `1 min 5 s`.
pub fn duration(milliseconds: f64) -> String {
    let seconds = milliseconds / 1000.0;
    if seconds < 0.9995 {
        format!("{milliseconds:.0} ms")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// `812 B`, `14 kB`, `2.3 MB`, `1.1 GB`; powers of 1000.
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..=999 => format!("{count} B"),
        1_000..=999_499 => format!("{:.0} kB", value / 1e3),
        999_500..=999_949_999 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}

/// `1 document`, `1,204 documents`.
pub fn count(number: u64, singular: &str, plural: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { singular } else { plural }
    )
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-09 12:00 UTC.
    const NOON: UnixMs = 1_773_057_600_000;
    const HOUR: i64 = 3_600_000;

    fn clock(ahead_of_utc_min: i64) -> LocalClock {
        LocalClock {
            now: NOON,
            ahead_of_utc_min,
        }
    }

    #[test]
    fn days_end_at_local_midnight() {
        let table = [
            (0, 0, Age::Today),
            (0, -12 * HOUR, Age::Today),
            (0, -12 * HOUR - 1, Age::Yesterday),
            (0, -36 * HOUR, Age::Yesterday),
            (0, -36 * HOUR - 1, Age::Week),
            (0, -7 * 24 * HOUR, Age::Week),
            (0, -8 * 24 * HOUR, Age::Older),
            (0, HOUR, Age::Today),
            (120, -14 * HOUR, Age::Today),
            (120, -14 * HOUR - 1, Age::Yesterday),
            (-600, -2 * HOUR - 1, Age::Yesterday),
        ];
        for (ahead, ago, age) in table {
            assert_eq!(clock(ahead).age(NOON + ago), age, "{ahead} {ago}");
        }
    }

    #[test]
    fn grouping_keeps_the_order_and_loses_nothing() {
        let times = vec![NOON, NOON - HOUR, NOON - 20 * HOUR, NOON - 24 * 30 * HOUR];
        let groups = group_by_age(times.clone(), clock(0), |time| *time);
        let ages: Vec<Age> = groups.iter().map(|(age, _)| *age).collect();
        assert_eq!(ages, [Age::Today, Age::Yesterday, Age::Older]);
        let flat: Vec<UnixMs> = groups
            .into_iter()
            .flat_map(|(_, members)| members)
            .collect();
        assert_eq!(flat, times);
    }

    #[test]
    fn dates_are_written_in_local_time() {
        assert_eq!(clock(0).date_time(NOON), "2026-03-09 12:00");
        assert_eq!(clock(780).date_time(NOON), "2026-03-10 01:00");
        assert_eq!(clock(0).date_time(0), "1970-01-01 00:00");
        assert_eq!(clock(-60).date_time(0), "1969-12-31 23:00");
        assert_eq!(clock(0).date_time(951_782_400_000), "2000-02-29 00:00");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(duration(640.0), "640 ms");
        assert_eq!(duration(4_240.0), "4.2 s");
        assert_eq!(duration(65_000.0), "1 min 5 s");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(14_200), "14 kB");
        assert_eq!(bytes(2_300_000), "2.3 MB");
        assert_eq!(bytes(999_700), "1.0 MB");
        assert_eq!(count(1, "document", "documents"), "1 document");
        assert_eq!(
            count(1_204_000, "document", "documents"),
            "1,204,000 documents"
        );
    }
}
