//! Every limit of meeting, with its reason.

/// Sessions of one node on one segment. With 40 nodes that all hear each other, all pairs would be
/// 39 each; eight keep everybody reachable within a few hops and cost 1 MiB of buffers.
pub const SESSIONS_MAX: usize = 8;
/// Sessions beyond the ring for nodes that we have mail for, at a time.
pub const WANTED_SESSIONS_MAX: usize = 2;
/// Wanted nodes looked at: the first ones that are here count.
pub const WANTED_MAX: usize = 64;
/// Network interfaces. A laptop with containers has a dozen.
pub const INTERFACES_MAX: usize = 64;
/// Neighbours remembered on one segment: a large hall. About 300 bytes each.
pub const NEIGHBOURS_MAX: usize = 1024;
/// Contacts whose beacons are resolved: one hash each for every new beacon, 0.5 ms for all.
pub const CONTACTS_MAX: usize = 4096;

/// From one beacon to the next after coming up; from then on every [`BEACON_EVERY_MS`].
pub const BEACON_GAPS_MS: [u64; 7] = [200, 500, 1_000, 2_000, 4_000, 8_000, 15_000];
/// The longest pause between two beacons: 12 bytes/s, as much as other programs do.
pub const BEACON_EVERY_MS: u64 = 15_000;
/// Somebody unknown is answered within this; drawn, so that a crowd does not answer at once.
pub const ANSWER_MS: u64 = 100;
/// Answers keep this distance, however many unknown ones there are.
pub const ANSWER_GAP_MS: u64 = 200;
/// A neighbour is gone when three beacons did not come.
pub const EXPIRES_MS: u64 = 50_000;
/// Nonce, tags and guest key serve no longer than this.
pub const NONCE_LIFE_MS: u64 = 15 * 60_000;
/// For so long after coming up beacons say that links from before are gone.
pub const FRESH_MS: u64 = 2_500;
/// A link is as old as this when its other end is heard to have come up anew after it: beacons go out
/// at once, and the first of them may be lost.
pub const RESTART_MS: u64 = 500;

/// New beacons looked into, per segment, at once and per second: a hall of 500 that comes up
/// together, and hardly any work for a flood.
pub const NEWS_BURST: u64 = 512;
/// See [`NEWS_BURST`].
pub const NEWS_PER_S: u64 = 100;

/// Beacons that come within this are planned for together: a crowd makes them all at once.
pub const NEWS_PLAN_MS: u64 = 20;

/// Dials at once and per second, on all segments together: a node needs eight, and what forged
/// beacons can make it dial is a few packets a second.
pub const DIALS_BURST: u64 = 12;
/// See [`DIALS_BURST`].
pub const DIALS_PER_S: u64 = 4;
/// Dials that strangers leave to those we know.
pub const DIALS_KEPT: u64 = 4;
/// Before the first dial to somebody new: others are still making themselves heard.
pub const SETTLE_MS: u64 = 100;
/// When the end whose turn it is has not dialled by then, the other one does.
pub const TURN_MS: u64 = 2_000;
/// The same for an end that has just come up: the other may still believe in a link that is gone,
/// or be dialling where nobody was.
pub const FRESH_TURN_MS: u64 = 400;
/// The same where only this end may know that a link is wanted.
pub const WANTED_TURN_MS: u64 = 250;
/// After a failed dial, while beacons are still heard. Up to a quarter is taken off.
pub const RETRY_MS: [u64; 6] = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
/// A link that ends sooner was not wanted at the other end, and counts as a failed dial.
pub const SHORT_MS: u64 = 10_000;
/// A session may be given to somebody of the same worth when it is as old as this.
pub const HOLD_MS: u64 = 10_000;
