//! The process's buffer pool.
