//! A unit as bytes.
//!
//! A unit is a type byte and a body. The body is one item of strict canonical CBOR, but for
//! [`Unit::Data`] and [`Unit::Sketch`], whose bodies are raw. `docs/exchange.md` is the
//! specification. Here bytes become values and every bound that needs no memory of what was said
//! before is checked.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use postrider_base::{
    bundle::{HEAD_MAX, Hop, PAYLOAD_MAX, RECEIPT_BYTES, Receipt, SMALL_PAYLOAD_MAX},
    wire,
};
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::{Begin, Hello, Offered, Unit, UnitError, VERSION};
use crate::{
    exchange::limits::{CHUNK_MIN, OFFERS_MAX, RECEIPTS_MAX, UNIT_MAX},
    node::{Instance, Reason, Seen, ShortId, Verdict},
    router::{MEETS_MAX, NodeHint},
};

/// Bytes of the longest unit that is neither data nor the beginning of a bundle: 256 offers of the
/// longest take 9 KiB.
const CONTROL_MAX: usize = 16 << 10;
/// Bytes of the longest beginning: a head, a small payload, and the numbers around them.
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BEGIN_MAX: usize = HEAD_MAX + SMALL_PAYLOAD_MAX as usize + 64;
/// The first number of "later": seconds are added to it.
const LATER: u64 = 256;

type HelloWire = (u8, u64, ByteBuf, Option<ByteBuf>, u64, u64, u8, u8);
type BeginWire = (u32, u8, u8, u32, u8, ByteBuf, ByteBuf);

impl Unit {
    /// The unit's bytes in two pieces: a chunk of a body is passed on, not copied.
    pub fn encode(&self) -> (Bytes, Bytes) {
        let head = match self {
            Self::Hello(hello) => tagged(0, &hello.to_wire()),
            Self::Offer(entries) => {
                let entry = |e: &Offered| (ByteBuf::from(e.id.0), e.nice, e.length);
                tagged(1, &entries.iter().map(entry).collect::<Vec<_>>())
            }
            Self::Want(wants) => tagged(2, &flat(wants.iter().copied())),
            Self::Begin(begin) => {
                let Begin { handle, hop, head, payload } = begin;
                let bytes = (serde_bytes::Bytes::new(head), serde_bytes::Bytes::new(payload));
                let Hop { tokens, hops, age_s, level } = hop;
                tagged(3, &(handle, tokens, hops, age_s, level, bytes.0, bytes.1))
            }
            Self::Brief { handle, form } => tagged(19, &(handle, serde_bytes::Bytes::new(form))),
            Self::Ear(key) => tagged(20, &ByteBuf::from(*key)),
            Self::Data { handle, bytes } => {
                let mut head = vec![4];
                head.extend(handle.to_be_bytes());
                return (head.into(), bytes.clone());
            }
            Self::Settle(list) => {
                tagged(5, &flat(list.iter().map(|(handle, verdict)| (*handle, number(*verdict)))))
            }
            Self::Receipt(list) => {
                let all: Vec<u8> = list.iter().flat_map(Receipt::encode).collect();
                tagged(6, &ByteBuf::from(all))
            }
            Self::Mark { bundles, receipts } => tagged(7, &(bundles, receipts)),
            Self::Sketch(bytes) => return (Bytes::from_static(&[8]), bytes.clone()),
            Self::Ping(nonce) => tagged(9, nonce),
            Self::Pong(nonce) => tagged(10, nonce),
            Self::Halt { reason, retry_after_s } => tagged(11, &(reason, retry_after_s)),
            Self::Stop(handles) => tagged(12, handles),
            Self::Withdraw(handles) => tagged(13, handles),
            Self::Have { handle, at } => tagged(21, &(handle, at)),
            Self::Reach(node) => tagged(16, &ByteBuf::from(*node)),
            Self::Introduce { node, at } => {
                let ip = match at.ip() {
                    IpAddr::V4(ip) => ByteBuf::from(ip.octets()),
                    IpAddr::V6(ip) => ByteBuf::from(ip.octets()),
                };
                tagged(17, &(ByteBuf::from(*node), ip, at.port()))
            }
            Self::Meets(list) => {
                let all = list.iter().flat_map(|(hint, level)| hint.iter().chain([level]));
                tagged(18, &ByteBuf::from(all.copied().collect::<Vec<u8>>()))
            }
        };
        (head, Bytes::new())
    }

    /// Reads one unit.
    pub fn decode(unit: &Bytes) -> Result<Self, UnitError> {
        let kind = *unit.first().ok_or(UnitError::Empty)?;
        let most = match kind {
            4 => UNIT_MAX,
            3 | 19 => BEGIN_MAX,
            _ => CONTROL_MAX,
        };
        if unit.len() > most {
            return Err(UnitError::TooLong(kind, unit.len()));
        }
        let body = &unit[1..];
        Ok(match kind {
            0 => Self::Hello(Hello::from_wire(wire::decode(body)?)?),
            1 => {
                let entries: Vec<(ByteBuf, u8, u64)> = wire::decode(body)?;
                bounded(entries.len(), OFFERS_MAX, "offers")?;
                let entries: Result<_, _> = entries.into_iter().map(Offered::from_wire).collect();
                Self::Offer(entries?)
            }
            2 => Self::Want(pairs(&wire::decode::<Vec<u64>>(body)?)?),
            3 => Self::Begin(Begin::from_wire(wire::decode(body)?)?),
            4 => {
                let handle = body.first_chunk().ok_or(UnitError::Field("handle"))?;
                let bytes = unit.slice(5..);
                if bytes.is_empty() {
                    return Err(UnitError::Field("data"));
                }
                Self::Data { handle: u32::from_be_bytes(*handle), bytes }
            }
            5 => {
                let list = pairs(&wire::decode::<Vec<u64>>(body)?)?.into_iter();
                let read = |(handle, n)| verdict(n).map(|v| (handle, v));
                let list: Option<_> = list.map(read).collect();
                Self::Settle(list.ok_or(UnitError::Field("verdict"))?)
            }
            6 => {
                let all: ByteBuf = wire::decode(body)?;
                bounded(all.len().div_ceil(RECEIPT_BYTES), RECEIPTS_MAX, "receipts")?;
                let list: Result<_, _> = all.chunks(RECEIPT_BYTES).map(Receipt::decode).collect();
                Self::Receipt(list.map_err(|_| UnitError::Field("receipts"))?)
            }
            7 => {
                let (bundles, receipts) = wire::decode(body)?;
                Self::Mark { bundles, receipts }
            }
            8 => Self::Sketch(unit.slice(1..)),
            9 => Self::Ping(wire::decode(body)?),
            10 => Self::Pong(wire::decode(body)?),
            11 => {
                let (reason, retry_after_s) = wire::decode(body)?;
                Self::Halt { reason, retry_after_s }
            }
            12 => Self::Stop(handles(body)?),
            13 => Self::Withdraw(handles(body)?),
            16 => Self::Reach(key(&wire::decode::<ByteBuf>(body)?)?),
            17 => {
                let (node, ip, port): (ByteBuf, ByteBuf, u16) = wire::decode(body)?;
                Self::Introduce { node: key(&node)?, at: SocketAddr::new(address(&ip)?, port) }
            }
            18 => Self::Meets(meets(&wire::decode::<ByteBuf>(body)?)?),
            19 => {
                let (handle, form): (u32, ByteBuf) = wire::decode(body)?;
                Self::Brief { handle, form: form.into_vec().into() }
            }
            20 => {
                let key: ByteBuf = wire::decode(body)?;
                Self::Ear(key.into_vec().try_into().map_err(|_| UnitError::Field("ear"))?)
            }
            21 => {
                let (handle, at) = wire::decode(body)?;
                if !(1..=PAYLOAD_MAX).contains(&at) {
                    return Err(UnitError::Field("have"));
                }
                Self::Have { handle, at }
            }
            other => return Err(UnitError::Type(other)),
        })
    }

    /// Whether the beginning of a unit that was cut can stand for itself: data, with a byte of it.
    pub fn is_usable_when_cut(beginning: &[u8]) -> bool {
        beginning.first() == Some(&4) && beginning.len() > 5
    }

    /// What is at the start of a unit, for traces; `None` for types that are not known.
    pub fn name(unit: &[u8]) -> Option<&'static str> {
        const NAMES: [&str; 22] = [
            "Hello",
            "Offer",
            "Want",
            "Begin",
            "Data",
            "Settle",
            "Receipt",
            "Mark",
            "Sketch",
            "Ping",
            "Pong",
            "Halt",
            "Stop",
            "Withdraw",
            "?",
            "?",
            "Reach",
            "Introduce",
            "Meets",
            "Brief",
            "Ear",
            "Have",
        ];
        NAMES.get(usize::from(*unit.first()?)).copied()
    }
}

impl Hello {
    fn to_wire(self) -> HelloWire {
        let seen = self.seen.unwrap_or_default();
        (
            VERSION,
            self.features,
            ByteBuf::from(self.instance.0),
            self.seen.map(|seen| ByteBuf::from(seen.instance.0)),
            seen.bundles,
            seen.receipts,
            self.chunk_log2,
            self.nice_max,
        )
    }

    fn from_wire(w: HelloWire) -> Result<Self, UnitError> {
        if w.0 != VERSION {
            return Err(UnitError::Version(w.0));
        }
        let instance =
            |bytes: &[u8]| bytes.try_into().map(Instance).map_err(|_| UnitError::Field("instance"));
        let seen = match &w.3 {
            Some(bytes) => Some(Seen { instance: instance(bytes)?, bundles: w.4, receipts: w.5 }),
            None if (w.4, w.5) == (0, 0) => None,
            None => return Err(UnitError::Field("seen")),
        };
        let chunk = 1_usize.checked_shl(u32::from(w.6)).unwrap_or(0);
        if !(CHUNK_MIN..UNIT_MAX).contains(&chunk) {
            return Err(UnitError::Field("chunk"));
        }
        Ok(Self { features: w.1, instance: instance(&w.2)?, seen, chunk_log2: w.6, nice_max: w.7 })
    }
}

impl Offered {
    fn from_wire((id, nice, length): (ByteBuf, u8, u64)) -> Result<Self, UnitError> {
        let id = id.as_slice().try_into().map_err(|_| UnitError::Field("id"))?;
        if nice == 0 {
            return Err(UnitError::Field("niceness"));
        }
        if length == 0 || length > PAYLOAD_MAX {
            return Err(UnitError::Field("length"));
        }
        Ok(Self { id: ShortId(id), nice, length })
    }
}

impl Begin {
    fn from_wire(w: BeginWire) -> Result<Self, UnitError> {
        let (handle, tokens, hops, age_s, level, head, payload) = w;
        if head.len() > HEAD_MAX {
            return Err(UnitError::Field("head"));
        }
        let hop = Hop { tokens, hops, age_s, level };
        Ok(Self { handle, hop, head: head.into_vec().into(), payload: payload.into_vec().into() })
    }
}

/// The number of a verdict on the wire; one each, so that an answer takes a byte.
fn number(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Kept => 0,
        Verdict::Known => 1,
        Verdict::Damaged => 2,
        Verdict::Forged => 3,
        Verdict::Refused(reason) => match reason {
            Reason::Other => 8,
            Reason::Nice => 9,
            Reason::Size => 10,
            Reason::Transit => 11,
            Reason::Blocked => 12,
            Reason::Hops => 13,
            Reason::Expired => 14,
        },
        Verdict::Later(seconds) => LATER + u64::from(seconds),
    }
}

fn verdict(number: u64) -> Option<Verdict> {
    Some(match number {
        0 => Verdict::Kept,
        1 => Verdict::Known,
        2 => Verdict::Damaged,
        3 => Verdict::Forged,
        8 => Verdict::Refused(Reason::Other),
        9 => Verdict::Refused(Reason::Nice),
        10 => Verdict::Refused(Reason::Size),
        11 => Verdict::Refused(Reason::Transit),
        12 => Verdict::Refused(Reason::Blocked),
        13 => Verdict::Refused(Reason::Hops),
        14 => Verdict::Refused(Reason::Expired),
        LATER.. => Verdict::Later(u32::try_from(number - LATER).ok()?),
        _ => return None,
    })
}

/// Pairs in a row: a pair of its own would cost a byte each.
fn flat(pairs: impl Iterator<Item = (u32, u64)>) -> Vec<u64> {
    pairs.flat_map(|(handle, value)| [u64::from(handle), value]).collect()
}

fn pairs(flat: &[u64]) -> Result<Vec<(u32, u64)>, UnitError> {
    bounded(flat.len() / 2, OFFERS_MAX, "handles")?;
    let (pairs, odd) = flat.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(UnitError::Field("handles"));
    }
    let handle = |[handle, value]: &[u64; 2]| Some((u32::try_from(*handle).ok()?, *value));
    pairs.iter().map(handle).collect::<Option<_>>().ok_or(UnitError::Field("handle"))
}

fn meets(bytes: &[u8]) -> Result<Vec<(NodeHint, u8)>, UnitError> {
    let (all, odd) = bytes.as_chunks::<9>();
    bounded(all.len(), MEETS_MAX, "meetings")?;
    let one = |[hint @ .., level]: &[u8; 9]| (*level > 0).then_some((*hint, *level));
    let list: Option<_> = all.iter().map(one).collect();
    list.filter(|_| odd.is_empty()).ok_or(UnitError::Field("meetings"))
}

fn key(bytes: &[u8]) -> Result<[u8; 32], UnitError> {
    bytes.try_into().map_err(|_| UnitError::Field("node"))
}

fn address(bytes: &[u8]) -> Result<IpAddr, UnitError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| UnitError::Field("address"))
}

fn handles(body: &[u8]) -> Result<Vec<u32>, UnitError> {
    let handles: Vec<u32> = wire::decode(body)?;
    bounded(handles.len(), OFFERS_MAX, "handles")?;
    Ok(handles)
}

/// No list is empty: that would be a way to say nothing at the other's cost.
fn bounded(count: usize, most: usize, what: &'static str) -> Result<(), UnitError> {
    if (1..=most).contains(&count) { Ok(()) } else { Err(UnitError::Field(what)) }
}

fn tagged(kind: u8, body: &(impl Serialize + ?Sized)) -> Bytes {
    let mut bytes = vec![kind];
    bytes.extend(wire::encode(&body));
    bytes.into()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn whole(unit: &Unit) -> Bytes {
        let (head, body) = unit.encode();
        [head, body].concat().into()
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        let fixed = (0_u64..15).prop_filter_map("no verdict", verdict);
        prop_oneof![fixed, any::<u32>().prop_map(Verdict::Later)]
    }

    fn any_unit() -> impl Strategy<Value = Unit> {
        let seen = (any::<[u8; 4]>(), any::<u64>(), any::<u64>())
            .prop_map(|(i, bundles, receipts)| Seen { instance: Instance(i), bundles, receipts });
        let hello =
            (any::<u64>(), any::<[u8; 4]>(), proptest::option::of(seen), 9_u8..=20, any::<u8>())
                .prop_map(|(features, i, seen, chunk_log2, nice_max)| {
                    Unit::Hello(Hello {
                        features,
                        instance: Instance(i),
                        seen,
                        chunk_log2,
                        nice_max,
                    })
                });
        let offered = (any::<[u8; 16]>(), 1_u8.., 1..=PAYLOAD_MAX)
            .prop_map(|(id, nice, length)| Offered { id: ShortId(id), nice, length });
        let offer = vec(offered, 1..=OFFERS_MAX).prop_map(Unit::Offer);
        let bytes = |most| vec(any::<u8>(), 1..most).prop_map(Bytes::from);
        let begin = (any::<u32>(), any::<[u8; 3]>(), any::<u32>(), bytes(HEAD_MAX), bytes(4096))
            .prop_map(|(handle, [tokens, hops, level], age_s, head, payload)| {
                let hop = Hop { tokens, hops, age_s, level };
                Unit::Begin(Begin { handle, hop, head, payload })
            });
        let receipt = (any::<[u8; 8]>(), any::<[u8; 16]>())
            .prop_map(|(id_prefix, r)| Receipt { id_prefix, r });
        let handles = || vec(any::<u32>(), 1..=OFFERS_MAX);
        prop_oneof![
            hello,
            offer,
            vec(any::<(u32, u64)>(), 1..=OFFERS_MAX).prop_map(Unit::Want),
            vec((any::<NodeHint>(), 1..=u8::MAX), 1..=MEETS_MAX).prop_map(Unit::Meets),
            begin,
            (any::<u32>(), bytes(9000)).prop_map(|(handle, bytes)| Unit::Data { handle, bytes }),
            (any::<u32>(), bytes(4000)).prop_map(|(handle, form)| Unit::Brief { handle, form }),
            vec((any::<u32>(), any_verdict()), 1..=OFFERS_MAX).prop_map(Unit::Settle),
            vec(receipt, 1..=RECEIPTS_MAX).prop_map(Unit::Receipt),
            any::<(u64, u64)>().prop_map(|(bundles, receipts)| Unit::Mark { bundles, receipts }),
            bytes(CONTROL_MAX).prop_map(Unit::Sketch),
            any::<u64>().prop_map(Unit::Ping),
            any::<u64>().prop_map(Unit::Pong),
            any::<(u8, u32)>()
                .prop_map(|(reason, retry_after_s)| Unit::Halt { reason, retry_after_s }),
            handles().prop_map(Unit::Stop),
            handles().prop_map(Unit::Withdraw),
            any::<[u8; 16]>().prop_map(Unit::Ear),
            (any::<u32>(), 1..=PAYLOAD_MAX).prop_map(|(handle, at)| Unit::Have { handle, at }),
            any::<[u8; 32]>().prop_map(Unit::Reach),
            any::<([u8; 32], [u8; 4], u16)>().prop_map(|(node, ip, port)| Unit::Introduce {
                node,
                at: SocketAddr::new(ip.into(), port),
            }),
            any::<([u8; 32], [u8; 16], u16)>().prop_map(|(node, ip, port)| Unit::Introduce {
                node,
                at: SocketAddr::new(ip.into(), port),
            }),
        ]
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(unit in any_unit()) {
            prop_assert_eq!(Unit::decode(&whole(&unit)), Ok(unit));
        }

        #[test]
        fn what_decodes_has_one_spelling(unit in any_unit(), at: usize, bit in 0_u8..8, cut: bool) {
            let mut bytes = whole(&unit).to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if cut {
                bytes.truncate(at);
            }
            let bytes = Bytes::from(bytes);
            if let Ok(unit) = Unit::decode(&bytes) {
                prop_assert_eq!(whole(&unit), bytes);
            }
        }

        #[test]
        fn noise_never_panics(bytes in vec(any::<u8>(), 0..200), kind in 0_u8..22) {
            let bytes = Bytes::from([vec![kind], bytes].concat());
            if let Ok(unit) = Unit::decode(&bytes) {
                prop_assert_eq!(whole(&unit), bytes);
            }
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        let hello = |version: u8, chunk: u8, bundles: u64| {
            let i = ByteBuf::from([0; 4]);
            tagged(0, &(version, 0, i, None::<ByteBuf>, bundles, 0, chunk, 0))
        };
        let offer =
            |nice: u8, length: u64| tagged(1, &vec![(ByteBuf::from([0; 16]), nice, length)]);
        let introduce = |node: usize, ip: usize| {
            tagged(17, &(ByteBuf::from(vec![1; node]), ByteBuf::from(vec![1; ip]), 1))
        };
        for (bytes, why) in [
            (Bytes::new(), UnitError::Empty),
            (Bytes::from_static(&[14]), UnitError::Type(14)),
            (hello(2, 18, 0), UnitError::Version(2)),
            (hello(1, 8, 0), UnitError::Field("chunk")),
            (hello(1, 64, 0), UnitError::Field("chunk")),
            (hello(1, 18, 1), UnitError::Field("seen")),
            (offer(0, 1), UnitError::Field("niceness")),
            (offer(1, 0), UnitError::Field("length")),
            (offer(1, PAYLOAD_MAX + 1), UnitError::Field("length")),
            (tagged(2, &[0_u64]), UnitError::Field("handles")),
            (tagged(2, &[1_u64 << 32, 0]), UnitError::Field("handle")),
            (tagged(5, &[0, 4_u64]), UnitError::Field("verdict")),
            (tagged(6, &ByteBuf::from([1; 26])), UnitError::Field("receipts")),
            (tagged(12, &Vec::<u32>::new()), UnitError::Field("handles")),
            (Bytes::from_static(&[4, 0, 0, 0, 1]), UnitError::Field("data")),
            (tagged(16, &ByteBuf::from([1; 31])), UnitError::Field("node")),
            (introduce(33, 4), UnitError::Field("node")),
            (introduce(32, 5), UnitError::Field("address")),
            (tagged(20, &ByteBuf::from([1; 15])), UnitError::Field("ear")),
            (tagged(21, &(0, 0)), UnitError::Field("have")),
            (tagged(21, &(0, PAYLOAD_MAX + 1)), UnitError::Field("have")),
            (vec![9; CONTROL_MAX + 1].into(), UnitError::TooLong(9, CONTROL_MAX + 1)),
        ] {
            assert_eq!(Unit::decode(&bytes), Err(why), "{bytes:02x?}");
        }
    }
}
