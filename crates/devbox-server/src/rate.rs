//! How much may pass in how much time.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// So many units a second, in the long run, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU64,
    burst: NonZeroU64,
}

impl Rate {
    /// A burst of this many seconds' worth, unless something else is said: a client that was quiet may catch up a little.
    const BURST_SECONDS: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);

    /// So many a second, and at once as many as in two seconds.
    #[must_use]
    pub fn per_second(per_second: NonZeroU64) -> Self {
        Self { per_second, burst: per_second.saturating_mul(Self::BURST_SECONDS) }
    }

    /// The same, but so many at once.
    #[must_use]
    pub fn with_burst(self, burst: NonZeroU64) -> Self {
        Self { burst, ..self }
    }

    /// In how much time so many units are earned, in nanoseconds.
    fn time_of(self, units: u64) -> u64 {
        const SECOND: u128 = 1_000_000_000;
        let time = (u128::from(units) * SECOND).div_ceil(u128::from(self.per_second.get()));
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

/// Holds takers to a [`Rate`]: the generic cell rate algorithm, in one number.
///
/// The number is when all that was taken will have been earned. Taking moves it on; it may be as far ahead of the clock as a
/// burst is worth. What lies beyond that is *debt*: units that were taken because they had passed already.
#[derive(Debug)]
pub(crate) struct Meter {
    rate: Rate,
    began: Instant,
    settled: AtomicU64,
}

impl Meter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, began: Instant::now(), settled: AtomicU64::new(0) }
    }

    /// Takes one unit, or says how long it takes until there is one.
    pub(crate) fn take_one(&self) -> Result<(), Duration> {
        let limit = self.limit();
        let taken = self.advance(1, |settled| settled <= limit);
        taken.map(drop).map_err(|settled| Duration::from_nanos(settled.saturating_sub(limit)))
    }

    /// Takes units that have passed already, and says how long to wait before the next ones.
    pub(crate) fn charge(&self, units: u64) -> Duration {
        let (Ok(settled) | Err(settled)) = self.advance(units, |_| true);
        Duration::from_nanos(settled.saturating_sub(self.limit()))
    }

    /// How long it takes until what was taken beyond the burst is earned.
    pub(crate) fn debt(&self) -> Duration {
        Duration::from_nanos(self.settled.load(Ordering::Relaxed).saturating_sub(self.limit()))
    }

    /// Moves on by `units` if that is allowed; in any case the point that this reaches, or would.
    fn advance(&self, units: u64, allowed: impl Fn(u64) -> bool) -> Result<u64, u64> {
        let (now, time) = (self.now(), self.rate.time_of(units));
        let next = |settled: u64| settled.max(now).saturating_add(time);
        let moved = self.settled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |settled| {
            Some(next(settled)).filter(|&next| allowed(next))
        });
        moved.map(next).map_err(next)
    }

    /// How far the clock and a burst allow to go.
    fn limit(&self) -> u64 {
        self.now().saturating_add(self.rate.time_of(self.rate.burst.get()))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn meter(per_second: u64, burst: u64) -> Meter {
        let number = |number| NonZeroU64::new(number).expect("not zero");
        Meter::new(Rate::per_second(number(per_second)).with_burst(number(burst)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_at_a_time() {
        let meter = meter(10, 3);
        assert!((0..3).all(|_| meter.take_one().is_ok()));
        assert_eq!(meter.take_one(), Err(Duration::from_millis(100)));
        assert_eq!(meter.take_one(), Err(Duration::from_millis(100)), "a refusal takes nothing");
        advance(Duration::from_millis(100)).await;
        assert_eq!(meter.take_one(), Ok(()));
        assert!(meter.take_one().is_err());
        advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| meter.take_one().is_ok()).count(), 3, "quiet hours earn one burst");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_passed_is_paid_for_later() {
        let meter = meter(1_000, 500);
        assert_eq!(meter.charge(500), Duration::ZERO);
        assert_eq!(meter.charge(2_000), Duration::from_secs(2));
        assert_eq!(meter.debt(), Duration::from_secs(2));
        assert!(meter.take_one().is_err());
        advance(Duration::from_millis(1_500)).await;
        assert_eq!(meter.debt(), Duration::from_millis(500));
        advance(Duration::from_secs(1)).await;
        assert_eq!(meter.debt(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_passes_in_the_long_run_than_the_rate_allows() {
        let meter = meter(7, 2);
        let mut passed = 0;
        for _ in 0..1_000 {
            passed += u64::from(meter.take_one().is_ok());
            advance(Duration::from_millis(13)).await;
        }
        assert!((90..=93).contains(&passed), "13 seconds at 7 a second and a burst of 2, not {passed}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_numbers_overflow_nothing() {
        let meter = Meter::new(Rate::per_second(NonZeroU64::MAX));
        assert_eq!(meter.take_one(), Ok(()));
        let slow = self::meter(1, 1);
        assert!(slow.charge(u64::MAX) > Duration::from_secs(1 << 33));
        assert!(slow.charge(u64::MAX) > Duration::from_secs(1 << 33));
    }
}
