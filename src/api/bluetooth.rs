//! What is told of Bluetooth: by `status`, by `doctor`, and by a test.

use tokio::time::{Duration, sleep};

use super::At;
use crate::{
    daemon::probe_bluetooth,
    desk::{
        Failure, FailureKind,
        reply::{BluetoothLine, Finding, LinkLine},
    },
};

/// How long a test listens: adverts go out every second or two, and controllers miss some.
const LISTEN: Duration = Duration::from_secs(8);
/// Until it is known whether there is an adapter.
const LOOK: Duration = Duration::from_secs(2);

/// Whether a test of Bluetooth is meant.
pub(super) fn is_bluetooth(uri: &str) -> bool {
    ["bluetooth", "bluetooth:"].contains(&uri)
}

/// Why there are no links over it, if something is wrong.
pub(super) fn ill(at: &At<'_>) -> Option<String> {
    let line = at.node?.0.bluetooth.line();
    (line.state == "trouble").then(|| format!("no link over Bluetooth: {}", line.why))
}

/// How it stands.
pub(super) fn doctor(at: &At<'_>) -> Result<Finding, Failure> {
    let BluetoothLine { state, why, .. } = found(at, LOOK, false)?;
    let is_well = state != "trouble";
    Ok(Finding {
        check: "bluetooth".into(),
        verdict: if is_well { "ok" } else { "warn" }.into(),
        detail: why,
        next: (!is_well).then(|| "postrider link test bluetooth".to_owned()),
    })
}

/// Listens for a while and says what was found.
pub(super) fn test(at: &At<'_>, uri: &str) -> Result<LinkLine, Failure> {
    let line = found(at, LISTEN, true)?;
    let up = line.near.iter().any(|near| near.linked);
    // That it works is the answer, whoever else is here.
    let state = if line.state == "on" { "reached" } else { "tested" };
    let detail = Some(match &*line.state {
        "on" => format!("it works {}", line.why),
        state => format!("{state}: {}", line.why),
    });
    let (uri, state) = (uri.to_owned(), state.into());
    Ok(LinkLine { uri, state, up, detail, port: None, bluetooth: Some(line) })
}

fn found(at: &At<'_>, listen: Duration, search: bool) -> Result<BluetoothLine, Failure> {
    let failed = |error| Failure::new(FailureKind::Failed, "the test cannot run").because(error);
    if let Some((node, handle)) = at.node {
        if search && node.bluetooth.line().state == "on" {
            node.bluetooth.search();
            handle.block_on(sleep(listen));
        }
        return Ok(node.bluetooth.line());
    }
    if !at.desk.home().config.bluetooth.is_on() {
        return Ok(crate::daemon::BluetoothState::default().line());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(failed)?.block_on(probe_bluetooth(at.desk, listen)))
}
