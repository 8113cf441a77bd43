//! CBOR by hand: what the crate's own encoder would never write must be written here.

/// An item; `Raw` stands for bytes that need not be one.
#[derive(Clone, Debug)]
pub(crate) enum V {
    U(u64),
    B(Vec<u8>),
    T(String),
    A(Vec<V>),
    Null,
    Raw(Vec<u8>),
}

pub(crate) fn b(bytes: impl AsRef<[u8]>) -> V {
    V::B(bytes.as_ref().to_vec())
}

pub(crate) fn t(text: impl Into<String>) -> V {
    V::T(text.into())
}

impl V {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::U(value) => head(0, *value),
            Self::B(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Self::T(text) => [head(3, text.len() as u64), text.clone().into_bytes()].concat(),
            Self::A(items) => {
                let mut out = head(4, items.len() as u64);
                items.iter().for_each(|item| out.extend(item.bytes()));
                out
            }
            Self::Null => vec![0xf6],
            Self::Raw(bytes) => bytes.clone(),
        }
    }

    /// The item with a head of `size` argument bytes (1, 2, 4 or 8), longer than it needs.
    pub(crate) fn long(&self, size: u32) -> Self {
        let bytes = self.bytes();
        let (major, info) = (bytes[0] & 0xe0, bytes[0] & 0x1f);
        let used = if info < 24 { 0 } else { 1 << (info - 24) };
        let argument = bytes[1..=used].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let argument = if info < 24 { u64::from(info) } else { argument };
        let mut out = vec![major | u8::try_from(24 + size.ilog2()).unwrap()];
        out.extend_from_slice(&argument.to_be_bytes()[8 - size as usize..]);
        out.extend_from_slice(&bytes[1 + used..]);
        Self::Raw(out)
    }
}

fn head(major: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (info, size) = match value {
        0..24 => return vec![major << 5 | bytes[7]],
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    [&[major << 5 | info], &bytes[8 - size..]].concat()
}
