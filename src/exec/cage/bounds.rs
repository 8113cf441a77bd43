//! The limits that the kernel keeps for each process, and the capabilities that a command does not have.

use std::fs;

use rustix::{
    process::{
        Resource, Rlimit, geteuid, getpriority_process, getrlimit, setpriority_process, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

use crate::contract::Limits;

/// Open files of one process: what systems give by default.
const FILES_MAX: u64 = 1024;
/// Seconds between the signal that a process can catch and the one that it cannot.
const CPU_GRACE_S: u64 = 2;

/// How far a command stands back for everything else on the machine, the daemon first of all: as far as
/// what is started with `nice`.
pub(super) const NICE: i32 = 10;
/// Behind everything that is not as far back.
const NICE_MOST: i32 = 19;

/// Sets everything but memory: that comes last, for it binds the cell too.
pub(super) fn limit(limits: &Limits, processes: Option<u64>) -> rustix::io::Result<()> {
    let cpu = u64::from(limits.cpu_s);
    lower(Resource::Cpu, cpu, cpu + CPU_GRACE_S)?;
    lower(Resource::Fsize, limits.scratch_bytes, limits.scratch_bytes)?;
    lower(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    lower(Resource::Core, 0, 0)?;
    stand_back()?;
    if let Some(processes) = processes {
        lower(Resource::Nproc, processes, processes)?;
    }
    Ok(())
}

/// From now on this process stands back for everything else.
pub(super) fn stand_back() -> rustix::io::Result<()> {
    if getpriority_process(None).is_ok_and(|nice| nice < NICE) {
        setpriority_process(None, NICE)?;
    }
    // Where the kernel shares out time by session, as on desktops, nice alone counts within ours.
    let _ = fs::write("/proc/self/autogroup", NICE.to_string());
    Ok(())
}

/// From now on this process runs where nobody else wants to; how it stood before, for [`come_back`]. Nothing
/// where it could not come back.
pub(super) fn step_aside() -> Option<i32> {
    let before = getpriority_process(None).ok().filter(|_| geteuid().is_root())?;
    stand(NICE_MOST);
    Some(before)
}

/// Somebody waits for it again.
pub(super) fn come_back(to: Option<i32>) {
    if let Some(nice) = to {
        stand(nice);
    }
}

fn stand(nice: i32) {
    let _ = setpriority_process(None, nice);
    let _ = fs::write("/proc/self/autogroup", nice.to_string());
}

/// The address space of each process.
pub(super) fn limit_memory(bytes: u64) -> rustix::io::Result<()> {
    lower(Resource::As, bytes, bytes)
}

/// What is lower already stays: that is a bound too.
fn lower(resource: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let now = getrlimit(resource);
    let hard = now.maximum.map_or(hard, |most| most.min(hard));
    setrlimit(resource, Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) })
}

/// Takes away what running a program could give. Before the user is changed: it needs a right itself.
pub(super) fn bar_privileges() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    // Each number up to the first that this kernel does not know; without the right to remove them
    // there is nothing that could be gained.
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) => {
                if remove_capability_from_bounding_set(one).is_err() {
                    break;
                }
            }
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// Gives up every capability for good.
pub(super) fn give_up_privileges() -> rustix::io::Result<()> {
    // Older than 4.3 has none.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
