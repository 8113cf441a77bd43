//! What a radio may spend in money: booked and durable before each frame, as airtime is.
//!
//! The station knows airtime alone. So a frame for which there is no money left today is refused here, as by a
//! modem that has sent as much as it may, and goes when there is some again.

use std::sync::Arc;

use postrider_base::{air::Tariff, link::Address};
use postrider_engine::air::{
    Lane, May, Span,
    cost::Price,
    ledger::{Booking, Limit},
};

use super::{air_ledger::AirLedger, node::Node};
use crate::desk::Failure;

/// The money of one radio.
pub(super) struct Purse {
    ledger: Arc<AirLedger>,
    limit: Limit,
    price: Price,
    /// For the frame that is on its way.
    booking: Option<Booking>,
}

impl Purse {
    pub async fn open(node: &Node, at: &Address, tariff: Tariff) -> Result<Self, Failure> {
        let ledger = node.air(Span::Day).await?;
        let Tariff { frame, unit_bytes, unit, day_most } = tariff;
        // Whose money it is: one account for each way, whatever is said of it otherwise.
        let place = at.as_str().split('?').next().unwrap_or_default();
        let [a, b, ..] = *blake3::hash(place.as_bytes()).as_bytes();
        let limit = Limit::new(u16::from_be_bytes([a, b]).max(1), Some(day_most.into()));
        ledger.begin(node.desk.held_ms(), limit);
        Ok(Self { ledger, limit, price: Price { frame, unit_bytes, unit }, booking: None })
    }

    /// Books a frame. Make the ledger durable before it is sent.
    pub fn book(&mut self, now_ms: u64, bytes: usize) -> Result<(), May> {
        let amount = self.price.of(bytes as u64);
        // What is kept for calls for help is for the station to say, and it speaks of airtime alone: so
        // money has no lanes.
        let booked = self.ledger.lock().book(now_ms, self.limit, Lane::Sos, amount);
        self.booking = Some(booked?);
        Ok(())
    }

    /// The frame has gone, or was never sent and cost nothing.
    pub fn settle(&mut self, now_ms: u64, sent: bool) {
        if let Some(booking) = self.booking.take() {
            let spent = if sent { booking.amount() } else { 0 };
            self.ledger.lock().settle(now_ms, booking, spent);
        }
    }

    pub fn ledger(&self) -> Arc<AirLedger> {
        Arc::clone(&self.ledger)
    }
}
