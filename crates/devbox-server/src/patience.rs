//! How long a slow peer is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// What a peer has to move within each pause of the patience with it: who moves less is as good as silent, and would hold on
/// to its connection and its places for as long as it likes.
const LEAST_BYTES: usize = 1 << 10;

/// Counts the time that a peer was waited for against the bytes that it moved meanwhile.
///
/// Only waiting counts: while nobody wants anything of the peer, because the box is slow or the key's rate is used up, its
/// time does not run. A value that is told bytes and time; whoever holds it has the timer.
#[derive(Debug)]
pub(crate) struct Patience {
    pause: Duration,
    /// Since when the peer is waited for, if it is.
    since: Option<Instant>,
    /// How long it was waited for since it last moved enough.
    waited: Duration,
    /// How much it moved since then.
    moved: usize,
}

impl Patience {
    /// Waits at most `pause` for each [`LEAST_BYTES`].
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, since: None, waited: Duration::ZERO, moved: 0 }
    }

    /// The peer is waited for, from now on if it was not already; until when.
    pub(crate) fn wait(&mut self, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        since + self.pause.saturating_sub(self.waited)
    }

    /// The peer is not waited for any more. Looks at the clock only if it was.
    pub(crate) fn rest(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// The peer moved something.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.rest();
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= LEAST_BYTES {
            self.moved = 0;
            self.waited = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    async fn wait(patience: &mut Patience, time: Duration) -> bool {
        let until = patience.wait(Instant::now());
        advance(time).await;
        Instant::now() >= until
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let mut patience = Patience::new(PAUSE);
        assert!(!wait(&mut patience, PAUSE / 2).await);
        assert!(wait(&mut patience, PAUSE / 2).await, "asking again does not begin anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_as_good_as_silence() {
        let mut patience = Patience::new(PAUSE);
        for _ in 0..5 {
            assert!(!wait(&mut patience, PAUSE / 6).await);
            patience.moved(1);
        }
        assert!(wait(&mut patience, PAUSE / 6).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_enough_may_go_on_for_ever() {
        let mut patience = Patience::new(PAUSE);
        for _ in 0..1_000 {
            assert!(!wait(&mut patience, PAUSE / 2).await);
            patience.moved(LEAST_BYTES);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_pays_for_time_in_which_nothing_was_asked_of_him() {
        let mut patience = Patience::new(PAUSE);
        assert!(!wait(&mut patience, PAUSE / 2).await);
        patience.moved(1);
        advance(PAUSE * 10).await;
        assert!(!wait(&mut patience, PAUSE / 4).await);
    }
}
