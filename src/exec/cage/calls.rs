//! Which system calls a command has: a list of those that it has not, put on for ever.
//!
//! Known for three kinds of machine; elsewhere nothing is taken away, and that is said.

/// Which families of sockets a command may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    /// All: it has a network.
    All,
    /// Those of this machine: it sees none but its own.
    Local,
    /// None: it would see those of the whole machine, and what listens there obeys its user.
    None,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub(super) use known::Bar;

/// Nothing is known of this kind of machine.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) struct Bar;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
impl Bar {
    pub(super) fn new(_: Sockets, _: bool) -> Result<Self, std::convert::Infallible> {
        Ok(Self)
    }

    pub(super) fn is_for(&self, _: Sockets, _: bool) -> bool {
        true
    }

    pub(super) fn put_on(&self) -> Result<bool, std::convert::Infallible> {
        Ok(false)
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod known {
    use std::collections::BTreeMap;

    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter, sock_filter,
    };

    use super::Sockets;

    /// What takes system calls away: programs of the kernel, in this order. Making them takes longer than
    /// putting them on.
    pub(in super::super) struct Bar {
        sockets: Sockets,
        memory_counted: bool,
        programs: Vec<Vec<sock_filter>>,
    }

    impl Bar {
        /// For a command that may open these sockets, and whose memory is counted or not.
        pub(in super::super) fn new(
            sockets: Sockets,
            memory_counted: bool,
        ) -> Result<Self, seccompiler::Error> {
            Ok(Self { sockets, memory_counted, programs: programs(sockets, memory_counted)? })
        }

        /// Whether it is that of [`new`](Self::new) with these.
        pub(in super::super) fn is_for(&self, sockets: Sockets, memory_counted: bool) -> bool {
            (self.sockets, self.memory_counted) == (sockets, memory_counted)
        }

        /// Takes them away; `false` on a machine whose calls are not known here.
        pub(in super::super) fn put_on(&self) -> Result<bool, seccompiler::Error> {
            self.programs.iter().try_for_each(|program| apply_filter(program))?;
            Ok(!self.programs.is_empty())
        }
    }

    fn programs(
        sockets: Sockets,
        memory_counted: bool,
    ) -> Result<Vec<Vec<sock_filter>>, seccompiler::Error> {
        let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(Vec::new()) };
        let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
            DENIED.iter().map(|call| (*call, Vec::new())).collect();
        let flags = SeccompCmpOp::MaskedEq;
        // Each kind of namespace by itself: a mask with several bits would want all of them.
        let namespaces = NAMESPACES.iter().map(|bit| rule(0, flags(*bit), *bit));
        denied.insert(libc::SYS_clone, namespaces.collect::<Result<_, _>>()?);
        match sockets {
            Sockets::All => {}
            Sockets::Local => {
                let family = u64::from(libc::AF_UNIX.unsigned_abs());
                denied.insert(libc::SYS_socket, vec![rule(0, SeccompCmpOp::Ne, family)?]);
            }
            Sockets::None => {
                denied.insert(libc::SYS_socket, Vec::new());
            }
        }
        if !memory_counted {
            // Memory that no address space counts.
            denied.insert(libc::SYS_memfd_create, Vec::new());
            denied.insert(libc::SYS_shmget, Vec::new());
        }
        // As if the kernel did not know it: then the C library takes the call whose flags can be read.
        let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let mut all =
            vec![program(unknown, libc::ENOSYS, arch)?, program(denied, libc::EPERM, arch)?];
        if arch == TargetArch::x86_64 {
            all.push(NO_X32.to_vec());
        }
        Ok(all)
    }

    fn rule(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::Error> {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    }

    fn program(
        calls: BTreeMap<i64, Vec<SeccompRule>>,
        errno: i32,
        arch: TargetArch,
    ) -> Result<Vec<sock_filter>, seccompiler::Error> {
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(calls, SeccompAction::Allow, answer, arch)?;
        Ok(filter.try_into()?)
    }

    /// Calls of the third ABI of x86-64 have other numbers, from here on, and would pass by every list.
    const X32_FROM: u32 = 0x4000_0000;
    /// Load the number; from there on answer that it is unknown (classic BPF, linux/filter.h).
    const NO_X32: [sock_filter; 4] = [
        sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        sock_filter { code: 0x35, jt: 0, jf: 1, k: X32_FROM },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | 38 },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
    ];

    /// `CLONE_NEW*` of linux/sched.h.
    const NAMESPACES: [u64; 7] =
        [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

    /// What no job needs and what has opened cages before: other processes' memory, namespaces and mounts,
    /// keys, the kernel's own programs, clocks, modules and machinery for the whole system.
    #[rustfmt::skip]
    const DENIED: &[i64] = &[
        libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp,
        libc::SYS_pidfd_getfd, libc::SYS_process_madvise,
        libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root,
        libc::SYS_chroot, libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig,
        libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr,
        libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at, libc::SYS_fanotify_init,
        libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
        libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
        libc::SYS_kexec_load, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
        libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct, libc::SYS_quotactl,
        libc::SYS_syslog, libc::SYS_vhangup, libc::SYS_sethostname, libc::SYS_setdomainname,
        libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
        #[cfg(target_arch = "x86_64")] libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")] libc::SYS_ioperm,
    ];
}
