//! Postrider as a library: two nodes, one directory as the stick, one message.
//!
//!     cargo run --example send_by_stick

use postrider::desk::{
    AddRequest, Desk, Failure, InitRequest, SendRequest, Silent, TossDirection, TossRequest,
};

pub(crate) fn main() -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("postrider-example-{}", std::process::id()));
    let stick = folder.join("stick");
    std::fs::create_dir_all(&stick).map_err(|error| Failure::file("create", &stick, error))?;

    // A node is a key in a home directory.
    let node = |name: &str| {
        Desk::init(&InitRequest {
            home: folder.join(name),
            name: Some(name.to_owned()),
            even_if_public: false,
        })
    };
    let (alice, _) = node("Alice")?;
    let (bob, _) = node("Bob")?;

    // To write to somebody, have their card.
    alice.add(&AddRequest { card: bob.home().card.clone(), name: None })?;

    // When `send` returns, the message is durable.
    let sent = alice.send(
        &SendRequest {
            to: "Bob".into(),
            text: Some("hello by stick".into()),
            files: vec![],
            nice: None,
            lifetime: None,
            hidden: None,
            reply_to: None,
            supersede: None,
        },
        &Silent,
    )?;

    // Whoever has the stick tosses: both ways, as often as they like.
    let exchange = TossRequest {
        path: stick,
        direction: TossDirection::Both,
        dry_run: false,
        budget: None,
        init: false,
        with_card: false,
    };
    alice.toss(&exchange, &Silent)?;
    for message in bob.toss(&exchange, &Silent)?.messages {
        println!("Bob reads: {}", message.text);
    }
    alice.toss(&exchange, &Silent)?;
    println!("Alice sees: {}", alice.sent_state(&sent.id, &Silent)?.state);

    std::fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, error))
}
