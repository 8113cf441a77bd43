//! A stick that nobody mounted: it is mounted, visited and unmounted again, so that "safe to remove"
//! leaves nothing to do by hand where nobody is.

use std::sync::Arc;

use postrider_transports::media::{Mount, MountTable, Refusal, Stick, Udisks, is_ours};
use tokio::time::{Duration, sleep};

use super::{
    media::{summary, visit_medium},
    node::Node,
    plugs::Ended,
};

/// How often unmounting is tried: what looks into everything that is mounted, as indexers do, is
/// through with it soon.
const UNMOUNT_TRIES: u32 = 3;
/// How long after the one before.
const UNMOUNT_PAUSE: Duration = Duration::from_secs(2);

/// How the table of mounts shows a stick that was mounted.
enum Shown {
    /// With our marker on it.
    Ours(Mount),
    /// Without.
    Unmarked,
    /// Not at all.
    Nowhere,
}

/// Has a stick mounted, visits it, and has it unmounted if it was mounted for that.
pub(super) async fn mount_and_visit(node: &Arc<Node>, udisks: &Udisks, stick: &Stick) -> Ended {
    let asked = tokio::select! {
        // Whoever stops does not wait for an answer.
        () = node.stop.cancelled() => return not("the daemon was stopped".to_owned()),
        asked = udisks.mount(&stick.node) => asked,
    };
    let by_us = match asked {
        Ok(()) => true,
        // Somebody was a moment quicker. It is theirs to unmount.
        Err(Refusal::Mounted) => false,
        Err(refusal) => return refused(&refusal),
    };
    let device = stick.node.display();
    match shown(stick).await {
        Shown::Ours(mount) => visit(node, udisks, stick, mount, by_us).await,
        unusable => {
            if by_us && let Err(refusal) = unmount(udisks, stick).await {
                tracing::warn!(%device, %refusal, "a stick of no use stays mounted");
            }
            not(match unusable {
                Shown::Unmarked => format!(
                    "it has our label and not our marker; mount it (udisksctl mount -b {device}) and \
                     run postrider toss DIR, once"
                ),
                _ => "udisks2 mounted it where this process sees nothing; see docs/operations.md"
                    .to_owned(),
            })
        }
    }
}

async fn visit(
    node: &Arc<Node>,
    udisks: &Udisks,
    stick: &Stick,
    mount: Mount,
    by_us: bool,
) -> Ended {
    let place = mount.place.display().to_string();
    let tossed = visit_medium(node, mount.place.clone()).await;
    let mut word = "it is safe to remove";
    if by_us {
        let unmounted = unmount(udisks, stick).await;
        // Of one that was pulled out udisks2 knows nothing any more, and there is nothing to undo.
        if let Err(refusal) = unmounted
            && !matches!(shown(stick).await, Shown::Nowhere)
        {
            let told = format!(
                "it was mounted for this visit and stays so: {refusal}; before it is pulled out: \
                 udisksctl unmount -b {}",
                stick.node.display()
            );
            node.board.happened("media-trouble", None, Some(place), Some(told));
            return Ended::Visited(Some(mount));
        }
        node.board.happened("media-gone", None, Some(place.clone()), None);
        word = "it is unmounted and safe to remove";
    }
    match tossed {
        Ok(tossed) => {
            let detail = format!("{}; {word}", summary(&tossed));
            node.board.happened("safe-to-remove", None, Some(place), Some(detail));
            Ended::Visited((!by_us).then_some(mount))
        }
        Err(()) if !by_us => Ended::Visited(Some(mount)),
        Err(()) => {
            let why = "the exchange with it did not end well; plug it in again".to_owned();
            Ended::Not { why, may_change: false, is_told: true }
        }
    }
}

async fn shown(stick: &Stick) -> Shown {
    let stick = stick.clone();
    // The marker is read from the stick.
    let looked = tokio::task::spawn_blocking(move || {
        // Pulled out; udisks2 takes the mount away in a moment.
        if !stick.node.exists() {
            return Shown::Nowhere;
        }
        let mounts = MountTable::open().and_then(|mut table| table.read()).unwrap_or_default();
        let mut mounts: Vec<Mount> =
            mounts.into_iter().filter(|mount| mount.is_of(&stick)).collect();
        match mounts.iter().position(|mount| is_ours(&mount.place)) {
            Some(at) => Shown::Ours(mounts.swap_remove(at)),
            None if mounts.is_empty() => Shown::Nowhere,
            None => Shown::Unmarked,
        }
    });
    looked.await.unwrap_or(Shown::Nowhere)
}

async fn unmount(udisks: &Udisks, stick: &Stick) -> Result<(), Refusal> {
    let mut tries = 1;
    loop {
        match udisks.unmount(&stick.node).await {
            Err(Refusal::Busy) if tries < UNMOUNT_TRIES => {
                tries += 1;
                sleep(UNMOUNT_PAUSE).await;
            }
            ended => return ended,
        }
    }
}

fn not(why: String) -> Ended {
    Ended::Not { why, may_change: false, is_told: false }
}

fn refused(refusal: &Refusal) -> Ended {
    let next = match refusal {
        Refusal::Missing => "mount it by hand, or install udisks2 and plug it in again",
        Refusal::NotThere(_) => "mount it by hand, or start udisks2 and plug it in again",
        Refusal::NotAuthorised => "docs/operations.md has the rule that permits it",
        _ => "mount it by hand, or plug it in again",
    };
    let may_change = matches!(refusal, Refusal::NotThere(_));
    Ended::Not { why: format!("{refusal}; {next}"), may_change, is_told: false }
}
