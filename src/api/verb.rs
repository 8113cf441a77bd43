//! What a verb is: a request that knows how to run, and a row in the table of them all.
//!
//! The table is made from the same lines as the requests, so the router, the description and the
//! command line cannot disagree about what there is.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use super::wire::{Out, Reply};
use crate::{
    daemon::Node,
    desk::{Desk, Failure, FailureKind, Watch},
};

/// Where a verb runs: at a desk, and in a daemon beside its node.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The desk.
    pub desk: &'a Desk,
    /// The running node, if there is one, and how to wait for it.
    pub node: Option<(&'a Arc<Node>, &'a Handle)>,
    /// Who watches.
    pub watch: &'a dyn Watch,
}

impl<'a> At<'a> {
    /// At a desk, without a daemon.
    pub fn desk(desk: &'a Desk, watch: &'a dyn Watch) -> Self {
        Self { desk, node: None, watch }
    }

    /// The running node, or the failure that says how to get one.
    pub(super) fn live(&self) -> Result<(&'a Arc<Node>, &'a Handle), Failure> {
        self.node.ok_or_else(|| {
            Failure::new(FailureKind::NeedsDaemon, "this needs the daemon, and none is running")
                .next("start it: postrider up")
        })
    }

    /// After the contacts were changed.
    pub(super) fn people_changed(&self) -> Result<(), Failure> {
        self.node.map_or(Ok(()), |(node, handle)| handle.block_on(node.people_changed()))
    }
}

/// A request that knows how to run.
pub trait Verb: Clone + Serialize + DeserializeOwned {
    /// Its path below `/v1/`.
    const NAME: &'static str;
    /// What comes back.
    type Reply: Reply;

    /// Runs it.
    fn run(self, at: &At<'_>) -> Result<Self::Reply, Failure>;
}

/// One verb, as the router and the description see it.
pub struct Row {
    /// Its path below `/v1/`.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it wants to know.
    pub fields: &'static [Field],
    /// The `type` of the objects that come back.
    pub reply: &'static str,
    /// Whether there may be any number of them, and a summary.
    pub list: bool,
    pub(super) answer: fn(&At<'_>, &[u8], Out<'_>) -> Result<(), Failure>,
}

/// One field of a request.
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// Its type, as Rust writes it.
    pub kind: &'static str,
    /// What it means.
    pub about: &'static str,
    /// Whether it may be left out although its type knows no nothing.
    pub has_default: bool,
}

/// Reads a request, runs it, writes the reply.
pub(super) fn answer<V: Verb>(at: &At<'_>, body: &[u8], out: Out<'_>) -> Result<(), Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    // A list would be taken for the fields in their order.
    let body = if body.trim_ascii_start().starts_with(b"{") { body } else { b"" };
    let verb: V = serde_json::from_slice(body).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("that is no request for {}: {error}", V::NAME))
            .next("nothing was changed; GET /v1/openapi.json describes every request")
    })?;
    verb.run(at)?.tell(V::NAME, out)
}

/// Makes a request of each entry, and the table of them all.
macro_rules! verbs {
    ($(
        $(#[doc = $about:literal])+
        $verb:ident $name:literal {
            $($(#[doc = $field_about:literal])+ $field:ident: $kind:ty $(= $default:ident)?,)*
        } -> $reply:ty: |$request:ident, $at:ident| $run:expr;
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, Default, Deserialize, Serialize)]
            #[serde(deny_unknown_fields)]
            pub struct $verb {
                $($(#[doc = $field_about])+ $(#[serde($default)])? pub $field: $kind,)*
            }

            impl $crate::api::verb::Verb for $verb {
                const NAME: &'static str = $name;
                type Reply = $reply;

                fn run(
                    self,
                    $at: &$crate::api::verb::At<'_>,
                ) -> Result<Self::Reply, $crate::desk::Failure> {
                    let $request = self;
                    $run
                }
            }
        )+

        /// Every verb.
        pub static TABLE: &[$crate::api::verb::Row] = &[$($crate::api::verb::Row {
            name: $name,
            about: concat!($($about),+),
            fields: &[$($crate::api::verb::Field {
                name: stringify!($field),
                kind: stringify!($kind),
                about: concat!($($field_about),+),
                has_default: !concat!("" $(, stringify!($default))?).is_empty(),
            }),*],
            reply: <$reply as $crate::api::wire::Reply>::TYPE,
            list: <$reply as $crate::api::wire::Reply>::LIST,
            answer: $crate::api::verb::answer::<$verb>,
        }),+];
    };
}

pub(super) use verbs;
