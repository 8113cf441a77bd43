//! What the task needs of a radio: the transport is one, and tests have a room full of them.

use postrider_engine::near::advert::Said;
use postrider_transports::{
    bluetooth::{Addresses, Bluetooth, Place},
    contract::{BoxFuture, Link, TransportError},
};

/// Says, listens and dials; what it hears and takes comes as events.
pub(super) trait Radio: Send + Sync + 'static {
    /// Says this from now on; `None`: nothing.
    fn say(&self, adapter: u16, said: Option<Said>);

    /// Listens, or does not.
    fn listen(&self, adapter: u16, on: bool);

    /// Where an adapter takes links, once it does.
    fn channel(&self, adapter: u16) -> Option<u8>;

    /// What an adapter that can be used cannot do, for people.
    fn lacks(&self, adapter: u16) -> Vec<String>;

    /// One attempt; dropping it cancels it.
    fn dial(
        &self,
        adapter: u16,
        to: Place,
        channel: u8,
    ) -> BoxFuture<'_, Result<Link, TransportError>>;
}

impl Radio for Bluetooth {
    fn say(&self, adapter: u16, said: Option<Said>) {
        self.say(adapter, said);
    }

    fn listen(&self, adapter: u16, on: bool) {
        self.listen(adapter, on);
    }

    fn channel(&self, adapter: u16) -> Option<u8> {
        self.channel(adapter)
    }

    fn lacks(&self, adapter: u16) -> Vec<String> {
        let Some(facts) = self.facts(adapter) else { return Vec::new() };
        let mut lacks = Vec::new();
        lacks.extend(facts.name.map(|name| format!("everybody near can read its name, {name:?}")));
        match facts.addresses {
            Addresses::Changing => {}
            Addresses::Slow => lacks.push(
                "its address changes every quarter of an hour, but not with what it says"
                    .to_owned(),
            ),
            _ => lacks.push(
                "its address never changes, so whoever listens knows this machine again; \
                 `Privacy = device` under [General] in /etc/bluetooth/main.conf changes that"
                    .to_owned(),
            ),
        }
        lacks
    }

    fn dial(
        &self,
        adapter: u16,
        to: Place,
        channel: u8,
    ) -> BoxFuture<'_, Result<Link, TransportError>> {
        Box::pin(self.dial(adapter, to, channel))
    }
}
