//! Every limit of being near, with its reason.

/// Adapters of one node. A laptop has one, with dongles three.
pub const ADAPTERS_MAX: usize = 8;
/// Contacts that are resolved: one hash each for what was not heard before.
pub const CONTACTS_MAX: usize = 4_096;
/// Wanted nodes looked at, and nodes reached elsewhere.
pub const WANTED_MAX: usize = 1_024;

/// Links on one adapter that stay, and dials. Controllers carry seven: that is how many a piconet
/// addresses (Core specification, volume 2, part B, 4.2), and Android's stack has so many places
/// (`GATT_MAX_PHY_CHANNEL`). Two of them are for those who come.
pub const LINKS_KEPT: usize = 5;
/// Accepted links on one adapter that have proven nobody yet.
pub const UNPROVEN_MAX: usize = 2;
/// A link proves who is there within this: four messages of a handshake on a slow link take three
/// seconds.
pub const UNPROVEN_MS: u64 = 15_000;
/// An unproven link as old as this makes room for another that comes.
pub const UNPROVEN_OLD_MS: u64 = 5_000;

/// Neighbours that we know, heard or linked at once: a hall. About 500 bytes each.
pub const NEIGHBOURS_MAX: usize = 256;
/// Places where one neighbour is believed to be: two adapters of it heard by two of ours, and as many
/// where its words are only repeated.
pub const SPOTS_MAX: usize = 8;
/// Whoever was heard from somewhere else after so much more listening is there no more: three adverts in a
/// row, which come every 1.28 s. Two adapters of one neighbour are both heard all the time.
pub const LEFT_MS: u64 = 4_000;
/// Adverts of nobody we know that are remembered, so that they cost one look-up each.
pub const STRANGERS_MAX: usize = 1_024;
/// Resolved adverts that are remembered.
pub const RESOLVED_MAX: usize = 1_024;
/// Hashes for look-ups, at once and per second: a tenth of a slow core while somebody floods, whoever says
/// however much.
pub const LOOKUPS_BURST: u64 = 800_000;
/// See [`LOOKUPS_BURST`].
pub const LOOKUPS_PER_S: u64 = 400_000;
/// What is said serves no longer than this; then come another nonce and another address. As beacons of
/// local networks, and as kernels change random addresses.
pub const NONCE_LIFE_MS: u64 = 15 * 60_000;
/// An advert that was heard first so long ago is repeated by somebody else: nobody says anything for
/// longer than [`NONCE_LIFE_MS`].
pub const BELIEVED_MS: u64 = NONCE_LIFE_MS + 2 * 60_000;

/// When the end whose turn it is has not dialled by then, the other one does. A dial takes two adverts, which
/// come every 1.28 s, and hellos; and many controllers that dial cannot be dialled, so that two who dial each
/// other are both in vain: 10,000 simulated pairs with mail took 13,277 dials with 2 s here, 10,358 with 3 s,
/// 10,004 with 5 s.
pub const TURN_MS: u64 = 5_000;
/// When somebody has connected it may be whoever this end would dial, and the channel, the hellos and the
/// handshake are on their way, which take a second or so: nobody is dialled for so long, or until it is known who
/// came. Not again for as long after that, so that whoever only connects cannot keep an adapter from dialling.
/// Without it 10,000 pairs took 16,374 dials.
pub const CALLER_MS: u64 = 3_000;
/// After a dial in vain. Up to a quarter is taken off.
pub const RETRY_MS: [u64; 6] = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
/// The longest of them for a neighbour that had a link, and is heard.
pub const RETRY_PROVEN_MS: u64 = 8_000;
/// Whoever is heard so much stronger than at the dials in vain has come nearer. Strength varies by
/// half of that where nobody moves.
pub const STRONGER_DB: i16 = 10;
/// Dials in vain take so much of an adapter's time at once, and a quarter of it in the long run; else
/// whoever repeats the words of many keeps it from listening.
pub const VAIN_MS: u64 = 24_000;
/// See [`VAIN_MS`].
pub const VAIN_ONE_IN: u64 = 4;
/// And after each it dials nobody for so long, and up to as long again: who else is there says so every
/// second, and some controllers that dial cannot be dialled.
pub const VAIN_PAUSE_MS: u64 = 1_000;
/// A dial that nobody tells the end of has failed.
pub const DIAL_MS: u64 = 60_000;
/// Who was not dialled for so long, though it was due, comes first.
pub const OVERDUE_MS: u64 = 30_000;

/// A link that ends sooner was not wanted at the other end, and counts as a dial in vain.
pub const SHORT_MS: u64 = 5_000;
/// A link gives its place to another neighbour when it is as old as this and has nothing to say.
pub const HOLD_MS: u64 = 10_000;
/// A link has nothing to say when so long nothing moved.
pub const IDLE_MS: u64 = 5_000;
/// The same where it has mail that the other end does not take.
pub const IDLE_WANTED_MS: u64 = 30_000;
/// A link that still has something to say gives its place when it is as old as this; what was begun
/// goes on at the next one.
pub const SLICE_MS: u64 = 60_000;
/// Whoever waits so long gets such a place.
pub const PATIENCE_MS: u64 = 10_000;
/// Of two links to one neighbour an accepted one takes the place of one as old as this, of which the
/// other end knows nothing any more. Longer than a dial and a handshake.
pub const STALE_MS: u64 = 30_000;
/// After a visit that left mail behind; doubled each time, up to the profile's pause.
pub const STUCK_MS: u64 = 15_000;
