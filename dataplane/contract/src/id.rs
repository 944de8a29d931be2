//! Identities that cross the planes. Each is unique for the life of the process and never reused.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One broadcast: one SIP call in, any number of RTMP targets out.
    BroadcastId, u64
);
id!(
    /// One RTMP target of a broadcast.
    TargetId, u64
);
id!(
    /// One shard: a thread, a core, a ring. Counted from 0.
    ShardId, u16
);
