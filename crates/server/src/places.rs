//! Places for connections: so many, and nobody keeps one by doing nothing.
//!
//! A connection is *waiting* until a request has come whole and was let in: its head is incomplete, its body trickles, or
//! it idles between two requests. It is *under way* from then until its answer was handed on, and *writing* until the
//! caller has taken the rest. When all places are taken, whoever waits longest goes to make room for the one that comes;
//! if nobody waits, whoever has been writing longest. Requests under way are never cut off: there are fewer places for
//! them than for connections, so that there is always somebody else to go.
//!
//! So slow callers, however many, push out each other, and somebody who sends a request at once is answered at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long to wait for somebody to go before looking for another one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    room: Arc<Semaphore>,
    order: Mutex<Order>,
}

/// Who may be sent away, the first one first.
#[derive(Debug, Default)]
struct Order {
    next: u64,
    resting: BTreeMap<Turn, CancellationToken>,
}

/// When somebody has to go: those who wait before those who write, and of each the longest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    rest: Rest,
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    Waiting,
    Writing,
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// Its turn in the order; `None` while a request is under way.
    turn: Mutex<Option<Turn>>,
    evicted: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// A request under way: while this lives, its connection keeps its place.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Place>);

/// Nothing here panics half-way, so that what is behind a lock is right even if somebody else did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Order {
    fn add(&mut self, rest: Rest, evicted: &CancellationToken) -> Turn {
        let turn = Turn { rest, since: self.next };
        self.next += 1;
        self.resting.insert(turn, evicted.clone());
        turn
    }
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(most)), order: Mutex::default() }
    }

    /// A place for a new connection, if need be that of somebody else; `None` at the end of the server.
    pub(crate) async fn enter(self: &Arc<Self>) -> Option<Arc<Place>> {
        let permit = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        let evicted = CancellationToken::new();
        let turn = lock(&self.order).add(Rest::Waiting, &evicted);
        let places = Arc::clone(self);
        Some(Arc::new(Place { places, turn: Mutex::new(Some(turn)), evicted, _permit: permit }))
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let first = lock(&self.order).resting.pop_first();
            if let Some((turn, evicted)) = first {
                tracing::debug!(?turn, "a connection was closed to make room");
                evicted.cancel();
            }
            // If all had requests under way, one of them may have ended meanwhile.
            if let Ok(permit) = timeout(LOOK_AGAIN, Arc::clone(&self.room).acquire_owned()).await {
                return permit.ok();
            }
        }
    }
}

impl Place {
    /// A request has come whole; `None` if its connection had to go at this very moment.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<UnderWay> {
        if let Some(turn) = lock(&self.turn).take() {
            lock(&self.places.order).resting.remove(&turn)?;
        }
        Some(UnderWay(Arc::clone(self)))
    }

    /// All that was to be written has been written.
    pub(crate) fn written(&self) {
        let mut turn = lock(&self.turn);
        if let Some(Turn { rest: Rest::Writing, .. }) = *turn {
            *turn = self.rest(*turn, Rest::Waiting);
        }
    }

    /// When the connection has to go.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Takes another turn; none if the connection has to go already.
    fn rest(&self, before: Option<Turn>, rest: Rest) -> Option<Turn> {
        let mut order = lock(&self.places.order);
        if let Some(before) = before {
            order.resting.remove(&before)?;
        }
        Some(order.add(rest, &self.evicted))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut turn = lock(&self.0.turn);
        if turn.is_none() {
            *turn = self.0.rest(None, Rest::Writing);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(turn) = lock(&self.turn).take() {
            lock(&self.places.order).resting.remove(&turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn three() -> (Arc<Places>, [Arc<Place>; 3]) {
        let places = Arc::new(Places::new(3));
        let enter = async || places.enter().await.unwrap();
        let three = [enter().await, enter().await, enter().await];
        (places, three)
    }

    /// Lets one more in, and tells which of the others had to go.
    async fn who_goes(places: &Arc<Places>, mut others: Vec<Arc<Place>>) -> usize {
        let entering = tokio::spawn({
            let places = Arc::clone(places);
            async move { places.enter().await }
        });
        let [a, b, c] = [0, 1, 2].map(|n| Arc::clone(&others[n]));
        let gone = tokio::select! {
            () = a.evicted() => 0,
            () = b.evicted() => 1,
            () = c.evicted() => 2,
        };
        drop((a, b, c));
        drop(others.remove(gone));
        assert!(entering.await.unwrap().is_some());
        gone
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_goes_first() {
        let (places, [a, b, c]) = three().await;
        assert_eq!(who_goes(&places, vec![a, b, c]).await, 0);
        let (places, [a, b, c]) = three().await;
        drop(a.begin().unwrap());
        a.written();
        assert_eq!(who_goes(&places, vec![a, b, c]).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_under_way_stay_and_answers_being_written_go_last() {
        let (places, [a, b, c]) = three().await;
        let _under_way = a.begin().unwrap();
        drop(b.begin().unwrap());
        assert_eq!(who_goes(&places, vec![Arc::clone(&a), Arc::clone(&b), c]).await, 2);

        let (places, [a, b, c]) = three().await;
        let _under_way = [a.begin().unwrap(), c.begin().unwrap()];
        drop(b.begin().unwrap());
        let held = Arc::clone(&b);
        drop(b);
        let entering = tokio::spawn(async move { places.enter().await.is_some() });
        held.evicted().await;
        assert!(held.begin().is_none(), "who has to go begins nothing");
        drop(held);
        assert!(entering.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_are_under_way_the_first_to_end_makes_room() {
        let (places, [a, b, c]) = three().await;
        let [_of_a, of_b, _of_c] = [&a, &b, &c].map(|place| place.begin().unwrap());
        let entering = tokio::spawn(async move { places.enter().await.is_some() });
        tokio::time::sleep(LOOK_AGAIN * 5).await;
        assert!(!entering.is_finished());
        drop(of_b);
        b.evicted().await;
        drop(b);
        assert!(entering.await.unwrap());
    }
}
