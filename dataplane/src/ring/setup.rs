//! Setting a ring up, and telling the operator what to change when the kernel refuses.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// Entries of the submission queue; a full queue is submitted at once.
const SUBMISSIONS: u32 = 1024;

/// Entries of the completion queue: what one turn can bring under load.
const COMPLETIONS: u32 = 8192;

/// Why there is no ring. Each text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// ENOSYS.
    #[error("this kernel has no io_uring: sipcast needs Linux 6.1 or newer with CONFIG_IO_URING")]
    Missing,
    /// EPERM.
    #[error(
        "io_uring is forbidden here: set sysctl kernel.io_uring_disabled=0, or allow io_uring_setup, \
         io_uring_enter and io_uring_register in the container's seccomp profile"
    )]
    Forbidden,
    /// EINVAL: an unknown flag.
    #[error("this kernel lacks IORING_SETUP_{0}: sipcast needs Linux 6.1 or newer")]
    Flag(&'static str),
    /// An opcode is missing.
    #[error("this kernel's io_uring lacks IORING_OP_{0}: sipcast needs Linux 6.1 or newer")]
    Opcode(&'static str),
    /// A provided buffer ring could not be registered.
    #[error(
        "this kernel's io_uring lacks provided buffer rings (IORING_REGISTER_PBUF_RING): sipcast needs Linux 6.1 or newer"
    )]
    BufferRing,
    /// ENOMEM.
    #[error(
        "the ring does not fit in the locked-memory limit: raise it by 1 MiB a shard \
         (ulimit -l, or LimitMEMLOCK= in the service), or use fewer shards"
    )]
    LockedMemory,
    /// Anything else.
    #[error("io_uring cannot be set up: {0}")]
    Other(io::Error),
}

impl SetupError {
    fn from_setup(error: io::Error, flag: &'static str) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::EINVAL) => Self::Flag(flag),
            Some(libc::ENOMEM) => Self::LockedMemory,
            _ => Self::Other(error),
        }
    }

    pub(super) fn from_buffers(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINVAL) => Self::BufferRing,
            Some(libc::ENOMEM) => Self::LockedMemory,
            _ => Self::Other(error),
        }
    }
}

/// A ring for one thread: its completions run when that thread waits, never by interrupting it.
pub fn ring() -> Result<IoUring, SetupError> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_submit_all().setup_cqsize(COMPLETIONS).dontfork();
    let with_deferral = builder.clone().setup_defer_taskrun().setup_taskrun_flag().build(SUBMISSIONS);
    let ring = match with_deferral {
        Ok(ring) => ring,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Tell which of the two is missing: SINGLE_ISSUER came with 6.0, DEFER_TASKRUN with 6.1.
            return Err(match builder.build(SUBMISSIONS) {
                Ok(_) => SetupError::Flag("DEFER_TASKRUN"),
                Err(error) => SetupError::from_setup(error, "SINGLE_ISSUER"),
            });
        }
        Err(error) => return Err(SetupError::from_setup(error, "DEFER_TASKRUN")),
    };
    if !ring.params().is_feature_ext_arg() {
        return Err(SetupError::Flag("EXT_ARG (waiting with a time-out)"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(SetupError::Other)?;
    for (code, name) in [
        (opcode::RecvMsgMulti::CODE, "RECVMSG"),
        (opcode::SendMsg::CODE, "SENDMSG"),
        (opcode::Connect::CODE, "CONNECT"),
        (opcode::Read::CODE, "READ"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    ] {
        if !probe.is_supported(code) {
            return Err(SetupError::Opcode(name));
        }
    }
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_remedy() {
        let text = |errno| SetupError::from_setup(io::Error::from_raw_os_error(errno), "X").to_string();
        assert!(text(libc::ENOSYS).contains("Linux 6.1"));
        assert!(text(libc::EPERM).contains("io_uring_disabled"));
        assert!(text(libc::ENOMEM).contains("LimitMEMLOCK"));
        assert!(text(libc::EINVAL).contains("IORING_SETUP_X"));
        let buffers = SetupError::from_buffers(io::Error::from_raw_os_error(libc::EINVAL));
        assert!(buffers.to_string().contains("PBUF_RING"));
    }
}
