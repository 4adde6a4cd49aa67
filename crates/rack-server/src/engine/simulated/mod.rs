//! The simulated engine: in memory, deterministic, with faults by name.
