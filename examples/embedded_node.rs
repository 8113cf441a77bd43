//! Postrider inside a program of one's own: a node that runs, sends, and hears what happens.
//!
//!     cargo run --example embedded_node

use std::{path::Path, sync::Arc};

use postrider::{
    daemon::{Daemon, DaemonOptions},
    desk::{AddRequest, Desk, Failure, FailureKind, InitRequest, SendRequest, Silent},
};
use tokio::runtime::Runtime;

pub(crate) fn main() -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("postrider-embedded-{}", std::process::id()));
    let outcome = run(&folder);
    std::fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, error))?;
    outcome
}

fn run(folder: &Path) -> Result<(), Failure> {
    // A node is a key in a home directory. The desk is what can be asked of it; all its methods
    // block, and any thread may call them.
    let (shop, depot) = (node(folder, "Shop")?, node(folder, "Depot")?);
    for (one, other) in [(&shop, &depot), (&depot, &shop)] {
        one.add(&AddRequest { card: other.home().card.clone(), name: None })?;
    }

    // A daemon keeps links for as long as it lives. It works on a runtime that the program owns.
    let runtime = Runtime::new().map_err(|error| failed("no runtime").because(error))?;
    let listen = "tls://127.0.0.1:0".parse().map_err(|_| failed("no address"))?;
    let at_depot = Daemon::start(
        Arc::clone(&depot),
        &DaemonOptions { listen: vec![listen], ..DaemonOptions::default() },
        &runtime,
    )?;
    let port = at_depot.listening()[0].port();
    let at_shop = Daemon::start(
        Arc::clone(&shop),
        &DaemonOptions {
            peers: vec![format!("tls://127.0.0.1:{port}#Depot")],
            ..DaemonOptions::default()
        },
        &runtime,
    )?;

    // Who listens before it sends misses nothing.
    let mut shop_hears = at_shop.node().board.listen();
    let mut depot_hears = at_depot.node().board.listen();
    let order = shop.send(&order("Depot", "two boxes of nails"), &Silent)?;

    runtime.block_on(async {
        // Happenings say that there is something to look at; the desk has it, and keeps it.
        while let Ok(happening) = depot_hears.recv().await {
            if happening.what == "message" {
                let message = at_depot.node().ask(|desk| desk.inbox(&Silent)).await?.remove(0);
                println!("{} writes: {}", message.from, message.text);
                break;
            }
        }
        while let Ok(happening) = shop_hears.recv().await {
            if happening.what == "delivered" && happening.id.as_ref() == Some(&order.id) {
                println!("the order is delivered");
                break;
            }
        }
        at_shop.stop().await;
        at_depot.stop().await;
        Ok(())
    })
}

fn node(folder: &Path, name: &str) -> Result<Arc<Desk>, Failure> {
    let home = folder.join(name);
    let request =
        InitRequest { home: home.clone(), name: Some(name.into()), even_if_public: false };
    Desk::init(&request)?;
    // What a node does by itself is in its settings: this one has links that it is told of alone.
    let settings = "media = false\noutbox = false\nygg = false\n";
    let path = home.join("config.toml");
    std::fs::write(&path, settings).map_err(|error| Failure::file("write", &path, error))?;
    Ok(Arc::new(Desk::open(&home)?))
}

fn order(to: &str, text: &str) -> SendRequest {
    SendRequest {
        to: to.into(),
        text: Some(text.into()),
        files: vec![],
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    }
}

fn failed(what: &str) -> Failure {
    Failure::new(FailureKind::Failed, what)
}
