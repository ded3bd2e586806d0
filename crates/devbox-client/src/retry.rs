//! When a call is sent again, and after how long.

use std::time::Duration;

/// How often and how patiently a call is repeated.
///
/// Repeated is only what cannot do harm twice: a call that never reached the server, one that the server turned away
/// (429, 503), and calls that are idempotent by their nature or by an `Idempotency-Key`: batches have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is sent at the most; 1 means never again.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause. A `Retry-After` that asks for more ends the attempts.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// Four attempts within about a second and a half: long enough for a server that restarts, short enough for a person
    /// who mistyped an address.
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// Every call is sent once.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// The pause after the attempt number `attempt` (the first is 1) failed; `None`: give up.
    ///
    /// `retry_after` is what the server asked for; it is the least pause. `jitter` (0 to 255) shortens a pause of ours
    /// by up to a half, so that many clients do not come back in step.
    #[must_use]
    pub fn pause_after(&self, attempt: u32, retry_after: Option<Duration>, jitter: u8) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
        let ours = doubled.min(self.longest_pause).mul_f64(1.0 - f64::from(jitter) / 512.0);
        match retry_after {
            Some(asked) if asked > self.longest_pause => None,
            Some(asked) => Some(asked.max(ours)),
            None => Some(ours),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
        let pauses: Vec<_> = (1..=4).map(|attempt| policy.pause_after(attempt, None, 0)).collect();
        let milliseconds = |count| Some(Duration::from_millis(count));
        assert_eq!(pauses, [milliseconds(200), milliseconds(400), milliseconds(800), None]);
    }

    #[test]
    fn the_server_can_ask_for_more_patience_but_not_for_too_much() {
        let policy = RetryPolicy::default();
        let seconds = Duration::from_secs;
        assert_eq!(policy.pause_after(1, Some(seconds(7)), 0), Some(seconds(7)));
        assert_eq!(policy.pause_after(1, Some(seconds(0)), 0), Some(policy.first_pause));
        assert_eq!(policy.pause_after(1, Some(seconds(31)), 0), None);
    }

    #[test]
    fn jitter_never_shortens_by_more_than_half() {
        let policy = RetryPolicy::default();
        let shortest = policy.pause_after(1, None, u8::MAX).expect("a pause");
        assert!(shortest >= policy.first_pause / 2 && shortest < policy.first_pause);
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let policy = RetryPolicy { attempts: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.pause_after(1000, None, 0), Some(policy.longest_pause));
    }
}
