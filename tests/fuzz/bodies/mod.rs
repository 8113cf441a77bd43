//! What is done with bytes from outside, one plain function for each decoder.
//!
//! The same functions run under two drivers: cargo-fuzz, whose targets in `../targets` call them
//! with what the fuzzer makes up, and `cargo test`, where `tests/properties.rs` calls them with
//! random and spoiled input. A body panics when a decoder does, or when what it accepted breaks a
//! rule of the format; it tells whether the input was accepted, so that the twins can see that
//! their good input really is good.
//!
//! Checks that chance cannot pass (signatures, seals, checksums) are passed on purpose: where the
//! interesting decoder lies behind one, the body makes the check of the input itself. That is not
//! cheating: whoever writes the input in earnest can do the same.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

pub mod envelope;
pub mod home;
pub mod link;
pub mod log;
pub mod medium;
pub mod modem;
pub mod radio;
pub mod reconciliation;
pub mod sealed;
pub mod seeds;
pub mod station;
pub mod trace;

/// A decoder under test: whether it accepted the input.
pub type Body = fn(&[u8]) -> bool;

/// How much work one input makes; decides how many a test run can afford.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Microseconds.
    Light,
    /// Public-key operations, or some 64 KiB moved.
    Keys,
    /// Files, or a whole spool.
    Files,
}

/// Makes valid inputs to start from.
pub type Seeds = fn() -> Vec<Vec<u8>>;

/// Every body by the name of its target, with its valid inputs.
pub const BODIES: &[(&str, Cost, Body, Seeds)] = &[
    ("wire", Cost::Light, envelope::wire, seeds::wire),
    ("header", Cost::Keys, envelope::header, seeds::header),
    ("head", Cost::Keys, envelope::head, seeds::head),
    ("small_bundle", Cost::Keys, envelope::small_bundle, seeds::small_bundle),
    ("receipt", Cost::Light, envelope::receipt, seeds::receipt),
    ("card", Cost::Keys, envelope::card, seeds::card),
    ("card_body", Cost::Keys, envelope::card_body, seeds::card_body),
    ("roster", Cost::Keys, envelope::roster, seeds::roster),
    ("roster_body", Cost::Keys, envelope::roster_body, seeds::roster_body),
    ("node_text", Cost::Keys, envelope::node_text, seeds::node_text),
    ("seal_key_text", Cost::Light, envelope::seal_key_text, seeds::seal_key_text),
    ("packet", Cost::Light, sealed::packet, seeds::packet),
    ("compressed", Cost::Light, sealed::compressed, seeds::compressed),
    ("manifest", Cost::Light, sealed::manifest, seeds::manifest),
    ("file_request", Cost::Light, sealed::file_request, seeds::file_request),
    ("job", Cost::Light, sealed::job, seeds::job),
    ("job_result", Cost::Light, sealed::job_result, seeds::job_result),
    ("job_word", Cost::Light, sealed::job_word, seeds::job_word),
    ("compact_inside", Cost::Keys, sealed::compact_inside, seeds::inside_compact),
    ("age_inside", Cost::Keys, sealed::age_inside, seeds::inside_age),
    ("compact_payload", Cost::Keys, sealed::compact_payload, seeds::compact_payload),
    ("age_file", Cost::Keys, sealed::age_file, seeds::age_file),
    ("container", Cost::Keys, medium::container, seeds::container),
    ("forged_container", Cost::Keys, medium::forged_container, seeds::forged_container),
    ("rest", Cost::Keys, medium::rest, seeds::rest),
    ("forged_rest", Cost::Keys, medium::forged_rest, seeds::forged_rest),
    ("notes", Cost::Light, medium::notes, seeds::notes),
    ("forged_notes", Cost::Light, medium::forged_notes, seeds::forged_notes),
    ("volume", Cost::Light, medium::volume, seeds::volume),
    ("file_name", Cost::Light, medium::file_name, seeds::file_name),
    ("unit", Cost::Light, link::unit, link::unit_seeds),
    ("beacon", Cost::Light, link::beacon, link::beacon_seeds),
    ("symbols", Cost::Light, link::symbols, link::symbol_seeds),
    (
        "reconciliation",
        Cost::Keys,
        reconciliation::reconciliation,
        reconciliation::reconciliation_seeds,
    ),
    ("noise_first", Cost::Keys, link::noise_first, link::first_seeds),
    ("noise_second", Cost::Keys, link::noise_second, link::second_seeds),
    ("noise_records", Cost::Keys, link::noise_records, link::record_seeds),
    ("line", Cost::Light, link::line, link::line_seeds),
    ("radio_frame", Cost::Keys, radio::radio_frame, radio::radio_frame_seeds),
    ("radio_pieces", Cost::Light, radio::radio_pieces, radio::radio_pieces_seeds),
    ("station", Cost::Keys, station::station, station::station_seeds),
    ("kiss_modem", Cost::Light, modem::kiss_modem, modem::kiss_seeds),
    ("rnode_board", Cost::Light, modem::rnode_board, modem::rnode_seeds),
    ("meshtastic_radio", Cost::Light, modem::meshtastic_radio, modem::meshtastic_seeds),
    ("at_modem", Cost::Light, modem::at_modem, modem::at_seeds),
    ("modem_profile", Cost::Light, modem::modem_profile, modem::profile_seeds),
    ("config", Cost::Light, home::config, seeds::config),
    ("allow_list", Cost::Light, home::allow_list, seeds::allow_list),
    ("allowed", Cost::Light, home::allowed, seeds::allowed),
    ("shares", Cost::Light, home::shares, seeds::shares),
    ("key_file", Cost::Files, home::key_file, seeds::key_file),
    ("contacts", Cost::Files, home::contacts, seeds::contacts),
    ("stream", Cost::Files, home::stream, seeds::stream),
    ("trace", Cost::Light, trace::trace, trace::trace_seeds),
    ("log_segment", Cost::Files, log::segment, seeds::log_segment),
    ("log_records", Cost::Files, log::records, seeds::log_records),
];

/// Runs the body of that name; an unknown name is a mistake in a target.
pub fn run(name: &str, data: &[u8]) -> bool {
    let Some((_, _, body, _)) = BODIES.iter().find(|body| body.0 == name) else {
        panic!("no body is called {name}")
    };
    body(data)
}
