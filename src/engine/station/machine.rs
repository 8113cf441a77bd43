//! The machine of a station: inputs in, outputs out.

use std::collections::VecDeque;

use thiserror::Error;

use super::{
    MTU_LEAST,
    contract::{Input, Now, Output, Settings},
};
use crate::air::ledger::Ledger;

/// Why there is no such station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Frames below [`MTU_LEAST`].
    #[error("frames of {0} bytes are too short, a station needs {MTU_LEAST}")]
    Mtu(usize),
}

/// One radio channel. After each input take outputs until there are none, and come back when
/// `poll_timeout` says.
#[derive(Debug)]
pub struct Station {
    outputs: VecDeque<Output>,
}

impl Station {
    /// Begins. `seed` is random.
    pub fn new(settings: Settings, _seed: [u8; 32], _now: Now) -> Result<Self, SettingsError> {
        if settings.mtu_bytes < MTU_LEAST {
            return Err(SettingsError::Mtu(settings.mtu_bytes));
        }
        Ok(Self { outputs: VecDeque::new() })
    }

    /// Takes in what happened.
    pub fn handle(&mut self, _now: Now, _ledger: &mut Ledger, _input: Input<'_>) {}

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, by [`Now::us`]; `u64::MAX` for never.
    pub fn poll_timeout(&self) -> u64 {
        u64::MAX
    }
}
