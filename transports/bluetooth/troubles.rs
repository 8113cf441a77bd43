//! Why Bluetooth cannot be used, and what helps.

/// Why an adapter, or all of Bluetooth, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// BlueZ's daemon does not answer.
    #[error("the Bluetooth service does not run; `systemctl start bluetooth` starts it")]
    NoService,
    /// The service knows of no adapter, or of none that was asked for.
    #[error("there is no Bluetooth adapter; plug one in, or look whether its driver is there")]
    NoAdapter,
    /// The adapter is switched off.
    #[error("Bluetooth is switched off; `bluetoothctl power on` switches it on")]
    Off,
    /// A switch of the machine, or a flight mode, keeps the adapter off.
    #[error(
        "Bluetooth is blocked; `rfkill unblock bluetooth` or the machine's own switch frees it"
    )]
    Blocked,
    /// This user may not use the service.
    #[error("this user may not use Bluetooth; the group `bluetooth` may, or root")]
    Forbidden,
    /// The adapter is too old to be heard without pairing.
    #[error("this Bluetooth adapter has no Low Energy; one made after 2012 has")]
    NoLe,
    /// The adapter was unplugged.
    #[error("the Bluetooth adapter is gone; plug it in again")]
    Gone,
}
