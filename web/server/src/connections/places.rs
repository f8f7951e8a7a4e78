//! Who has a place. A *place* is what an open connection takes; this counts places and says who gives one up. Knows what each
//! connection is at, and nothing of sockets.
//!
//! - A client has a *share*, which shrinks as the places are taken. Beyond it, a connection takes the place of the oldest of the
//!   same client that *rests*: no request of it is under way.
//! - Where all places are taken, a connection that rests gives way to a client that has fewer: of the client that has most, the
//!   oldest. Where nobody with two more has one, so does one whose client is *waited for*, because a body does not come or an
//!   answer is not taken, and only then the single one of a client.
//! - A connection that the server works for gives way to nobody.
//!
//! Connections of trusted proxies are many clients', so they have no share, and each counts as a client with one connection.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ConnectionLimits;
use crate::client_address::{ClientKey, Network};

/// A client may have this part of the places that are free, or [`LEAST_SHARE`].
const SHARE_OF_FREE: usize = 4;
/// As many as a browser opens to one server, and two more.
const LEAST_SHARE: usize = 8;
/// A refusal is logged this often at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// All places of an address that is listened on.
pub(super) struct Places {
    limits: ConnectionLimits,
    trusted_proxies: Vec<Network>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    held: BTreeMap<u64, Held>,
    by_client: HashMap<ClientKey, usize>,
    /// Numbers connections, and orders what they do.
    next: u64,
    warned: Option<Instant>,
}

/// A place that is taken.
struct Held {
    client: Option<ClientKey>,
    /// Larger than that of whoever began earlier with what it is at.
    since: u64,
    is_under_way: bool,
    body_is_due: bool,
    takes_nothing: bool,
    /// Dropping it closes the connection.
    _alive: oneshot::Sender<()>,
}

impl Held {
    fn rests(&self) -> bool {
        !self.is_under_way && !self.takes_nothing
    }

    fn is_waited_for(&self) -> bool {
        self.body_is_due || self.takes_nothing
    }
}

impl Open {
    fn count(&self, client: Option<ClientKey>) -> usize {
        client.map_or(1, |client| {
            self.by_client.get(&client).copied().unwrap_or(0)
        })
    }

    /// How many one client may have now.
    fn share(&self, limits: &ConnectionLimits) -> usize {
        let free = limits.most.saturating_sub(self.held.len());
        let share = (free / SHARE_OF_FREE).max(LEAST_SHARE);
        share.min(limits.most_per_client)
    }

    /// Frees the place of the oldest connection of this client that rests; false when none does.
    fn free_own(&mut self, client: ClientKey) -> bool {
        let own = self.held.iter();
        let own = own.filter(|(_, held)| held.client == Some(client) && held.rests());
        let oldest = own.min_by_key(|(_, held)| held.since).map(|(id, _)| *id);
        oldest.is_some_and(|id| self.free(id))
    }

    /// Frees a place for a client that has `own` connections; false when none gives way to it.
    fn free_for(&mut self, own: usize) -> bool {
        let of_most = |gives_way: &dyn Fn(&Held, usize) -> bool| {
            let held = self.held.iter();
            let held = held.map(|(id, held)| (*id, held, self.count(held.client)));
            held.filter(|(_, held, count)| gives_way(held, *count))
                .max_by_key(|(_, held, count)| (*count, Reverse(held.since)))
                .map(|(id, ..)| id)
        };
        // One that has a single connection, which has perhaps not been used yet, comes last: before it, whoever has more loses even
        // one that it is waited for.
        let chosen = of_most(&|held, count| held.rests() && count > own + 1)
            .or_else(|| of_most(&|held, count| held.is_waited_for() && count > own + 1))
            .or_else(|| of_most(&|held, count| held.rests() && count > own));
        chosen.is_some_and(|id| self.free(id))
    }

    /// Takes a connection out, which closes it unless it is closed already.
    fn free(&mut self, id: u64) -> bool {
        let Some(held) = self.held.remove(&id) else {
            return false;
        };
        if let Some(client) = held.client
            && let Some(count) = self.by_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
        true
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn warn(&mut self, peer: IpAddr, of_client: usize) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            let all = self.held.len();
            tracing::warn!(address = %peer, of_client, all, "too many connections; more are closed");
        }
    }
}

impl Places {
    pub fn new(limits: ConnectionLimits, trusted_proxies: Vec<Network>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            trusted_proxies,
            open: Mutex::default(),
        })
    }

    pub fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// A place for a connection from this address, if there is one or can be one. The receiver ends when another gets it; both
    /// connections are open until the earlier one has noticed.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> io::Result<(Place, oneshot::Receiver<()>)> {
        let mut proxies = self.trusted_proxies.iter();
        let client = match proxies.any(|network| network.contains(peer)) {
            true => None,
            false => Some(ClientKey::of(peer)),
        };
        let mut open = self.lock();
        let own = client.map_or(0, |client| open.count(Some(client)));
        let is_admitted = match client {
            Some(client) if own >= open.share(&self.limits) => open.free_own(client),
            _ => open.held.len() < self.limits.most || open.free_for(own),
        };
        if !is_admitted {
            open.warn(peer, own);
            return Err(io::Error::other("too many connections"));
        }
        let (alive, lost) = oneshot::channel();
        let id = open.number();
        let held = Held {
            client,
            since: id,
            is_under_way: false,
            body_is_due: false,
            takes_nothing: false,
            _alive: alive,
        };
        open.held.insert(id, held);
        if let Some(client) = client {
            *open.by_client.entry(client).or_default() += 1;
        }
        let places = Arc::clone(self);
        Ok((Place { places, id }, lost))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something of a connection. Whose place is another's already is not there.
    fn change(&self, id: u64, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.lock().held.get_mut(&id) {
            change(held);
        }
    }

    /// Notes that a request began or ended.
    fn turn(&self, id: u64, is_under_way: bool) {
        let mut open = self.lock();
        let since = open.number();
        if let Some(held) = open.held.get_mut(&id) {
            held.is_under_way = is_under_way;
            held.since = since;
        }
    }
}

/// The place of a connection; dropping it gives it back.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Place {
    /// What tells of requests on this connection.
    pub fn requests(&self) -> Requests {
        Requests {
            places: Arc::clone(&self.places),
            id: self.id,
        }
    }

    /// Notes whether the client takes what is written.
    pub fn takes(&self, takes: bool) {
        self.places
            .change(self.id, |held| held.takes_nothing = !takes);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().free(self.id);
    }
}

/// Notes the requests of one connection.
#[derive(Clone)]
pub(super) struct Requests {
    places: Arc<Places>,
    id: u64,
}

impl Requests {
    /// A request is under way until what is returned is dropped.
    pub fn begin(&self) -> UnderWay {
        self.places.turn(self.id, true);
        UnderWay(self.clone())
    }

    /// The body of the request is due until what is returned is dropped.
    pub fn await_body(&self) -> BodyDue {
        self.places.change(self.id, |held| held.body_is_due = true);
        BodyDue(self.clone())
    }
}

/// A request that is under way.
pub(super) struct UnderWay(Requests);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Requests { places, id } = &self.0;
        places.turn(*id, false);
    }
}

/// A body that is due.
pub(super) struct BodyDue(Requests);

impl Drop for BodyDue {
    fn drop(&mut self) {
        let Requests { places, id } = &self.0;
        places.change(*id, |held| held.body_is_due = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Taken = (Place, oneshot::Receiver<()>);

    fn places(most: usize, most_per_client: usize) -> Arc<Places> {
        let limits = ConnectionLimits {
            most,
            most_per_client,
            ..ConnectionLimits::default()
        };
        Places::new(limits, vec!["10.0.0.0/8".parse().unwrap()])
    }

    fn take(places: &Arc<Places>, address: &str) -> Option<Taken> {
        places.take(address.parse().unwrap()).ok()
    }

    /// A connection that the server works for.
    fn busy(places: &Arc<Places>, address: &str) -> Option<(Taken, UnderWay)> {
        let taken = take(places, address)?;
        let under_way = taken.0.requests().begin();
        Some((taken, under_way))
    }

    fn is_closed((_, lost): &mut Taken) -> bool {
        lost.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn one_client_cannot_take_all_places_and_proxies_are_many_clients() {
        let places = places(5, 2);
        let first = busy(&places, "192.0.2.1").unwrap();
        let _second = busy(&places, "::ffff:192.0.2.1").unwrap();
        assert!(busy(&places, "192.0.2.1").is_none());
        let proxied: Vec<_> = (0..3).map(|_| busy(&places, "10.0.0.1").unwrap()).collect();
        assert!(busy(&places, "192.0.2.2").is_none(), "all are taken");
        assert!(busy(&places, "10.0.0.1").is_none());
        drop(first);
        let _other = busy(&places, "192.0.2.2").unwrap();
        drop(proxied);
        let _third = busy(&places, "192.0.2.1").unwrap();
        assert!(busy(&places, "192.0.2.1").is_none());
        let open = places.lock();
        assert_eq!((open.held.len(), open.by_client.len()), (3, 2));
    }

    #[test]
    fn beyond_its_share_a_client_loses_its_oldest_connection_that_rests() {
        let places = places(100, 2);
        let mut mine = take(&places, "192.0.2.9").unwrap();
        let mut first = take(&places, "192.0.2.1").unwrap();
        let mut second = take(&places, "192.0.2.1").unwrap();
        // A request makes it the one that was used last.
        drop(first.0.requests().begin());
        let mut third = take(&places, "192.0.2.1").unwrap();
        let closed = [&mut mine, &mut first, &mut second, &mut third].map(is_closed);
        assert_eq!(closed, [false, false, true, false]);
    }

    #[test]
    fn the_share_shrinks_as_places_are_taken() {
        let places = places(100, 64);
        let count = |address: &str| {
            let taken: Vec<_> = std::iter::from_fn(|| busy(&places, address)).collect();
            let count = taken.len();
            std::mem::forget(taken);
            count
        };
        let counts: Vec<usize> = (1..9).map(|n| count(&format!("192.0.2.{n}"))).collect();
        assert_eq!(counts, [20, 16, 13, 10, 8, 8, 8, 8]);
    }

    #[test]
    fn a_full_house_makes_room_for_whoever_has_fewer() {
        let places = places(6, 4);
        let mut of_two: Vec<Taken> = (0..2)
            .map(|_| take(&places, "192.0.2.1").unwrap())
            .collect();
        let mut of_four: Vec<Taken> = (0..4)
            .map(|_| take(&places, "192.0.2.2").unwrap())
            .collect();
        let mut newcomer = take(&places, "192.0.2.3").unwrap();
        assert!(is_closed(&mut of_four[0]) && !is_closed(&mut of_two[0]));
        let _second = take(&places, "192.0.2.3").unwrap();
        assert!(is_closed(&mut of_four[1]) && !is_closed(&mut newcomer));
        // All have two now, so that nobody has more than a third connection would make.
        assert!(take(&places, "192.0.2.3").is_none());
        assert!(of_two.iter_mut().all(|taken| !is_closed(taken)));
    }

    #[test]
    fn whoever_is_waited_for_gives_way_after_those_that_rest_and_whoever_is_served_does_not() {
        let places = places(4, 4);
        let address = "192.0.2.1";
        let stalled = || {
            let (taken, under_way) = busy(&places, address).unwrap();
            let body = taken.0.requests().await_body();
            (taken, under_way, body)
        };
        let (mut first, _first_request, _first_body) = stalled();
        let (mut second, _second_request, second_body) = stalled();
        let mut resting = take(&places, address).unwrap();
        let (mut third, _third_request) = busy(&places, address).unwrap();
        let _a = busy(&places, "192.0.2.2").unwrap();
        assert!(is_closed(&mut resting) && !is_closed(&mut first));
        let _b = busy(&places, "192.0.2.3").unwrap();
        assert!(is_closed(&mut first) && !is_closed(&mut second));
        drop(second_body);
        assert!(busy(&places, "192.0.2.4").is_none(), "all are served");
        // One that takes nothing of its answer is waited for, too.
        third.0.takes(false);
        assert!(busy(&places, "192.0.2.4").is_some());
        assert!(is_closed(&mut third) && !is_closed(&mut second));
    }

    #[test]
    fn a_newcomer_whose_request_has_not_come_yet_does_not_lose_its_place_to_the_next_ones() {
        let places = places(6, 4);
        let _stalled: Vec<_> = (0..4)
            .map(|_| {
                let (taken, under_way) = busy(&places, "192.0.2.1").unwrap();
                let body = taken.0.requests().await_body();
                (taken, under_way, body)
            })
            .collect();
        let _one = busy(&places, "192.0.2.2").unwrap();
        let mut newcomer = take(&places, "192.0.2.3").unwrap();
        for n in 4..7 {
            std::mem::forget(take(&places, &format!("192.0.2.{n}")).unwrap());
            assert!(!is_closed(&mut newcomer), "{n}");
        }
    }
}
