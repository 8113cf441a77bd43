//! Figures in the text format of Prometheus (version 0.0.4).

use std::{fmt::Write, sync::atomic::Ordering};

use crate::{daemon::LinkRow, desk::Figures};

/// The `Content-Type` of it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the figures. A link is named by its number and its peer's id: names that people gave
/// each other do not leave the machine by this way.
pub(super) fn text(figures: &Figures, links: &[LinkRow]) -> String {
    let mut out = String::new();
    family(
        &mut out,
        "postrider_links",
        "gauge",
        "Links that are up.",
        [(String::new(), links.len() as u64)],
    );
    let traffic = links.iter().flat_map(|row| {
        let peer = row.facts.peer.map_or_else(String::new, |peer| peer.to_string());
        let number = row.link.0;
        let label = move |direction: &str| {
            format!("{{link=\"{number}\",peer=\"{peer}\",direction=\"{direction}\"}}")
        };
        [
            (label("in"), row.traffic.received_bytes.load(Ordering::Relaxed)),
            (label("out"), row.traffic.sent_bytes.load(Ordering::Relaxed)),
        ]
    });
    family(&mut out, "postrider_link_bytes_total", "counter", "Bytes over a link.", traffic);
    let class = |name: &str| format!("{{class=\"{name}\"}}");
    let bundles = figures.classes.iter().map(|(name, bundles, _)| (class(name), *bundles));
    family(&mut out, "postrider_bundles", "gauge", "Bundles that wait here.", bundles);
    let bytes = figures.classes.iter().map(|(name, _, bytes)| (class(name), *bytes));
    family(&mut out, "postrider_bundle_bytes", "gauge", "Bytes of bundles that wait here.", bytes);
    for (name, help, value) in [
        ("postrider_messages", "Messages that arrived and are kept.", figures.messages),
        ("postrider_receipts", "Receipts that are handed on.", figures.receipts),
        ("postrider_disk_free_bytes", "Bytes that can still be written.", figures.disk_free),
    ] {
        family(&mut out, name, "gauge", help, [(String::new(), value)]);
    }
    out
}

fn family(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_belongs_to_a_family_that_was_described() {
        let figures = Figures {
            classes: [("own", 1, 2), ("contact", 3, 4), ("friend", 7, 8), ("stranger", 5, 6)],
            messages: 7,
            receipts: 8,
            disk_free: 9,
        };
        let text = text(&figures, &[]);
        assert!(text.contains("postrider_bundles{class=\"contact\"} 3\n"), "{text}");
        assert!(text.contains("\npostrider_disk_free_bytes 9\n"), "{text}");
        let mut described = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(of) => described = of.split(' ').next().unwrap(),
                None if line.starts_with('#') => {}
                None => {
                    let name = line.split(['{', ' ']).next().unwrap();
                    assert_eq!(name, described);
                    assert!(line.rsplit(' ').next().unwrap().parse::<u64>().is_ok(), "{line}");
                }
            }
        }
    }
}
