//! io_uring driver: one thread, one core, one ring per shard
