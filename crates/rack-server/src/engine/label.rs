//! Names of the labels every container, network and volume of ours carries.
//!
//! Objects without [`SERVER`] and [`RACK_ID`] of this server are never touched.

/// Random id of the server that made the object.
pub const SERVER: &str = "twinrack.server";
/// Random id of the rack.
pub const RACK_ID: &str = "twinrack.rack-id";
/// Name of the rack, for people.
pub const RACK: &str = "twinrack.rack";
/// App name.
pub const APP: &str = "twinrack.app";
/// `service`, `run`, `init` or `resource`.
pub const KIND: &str = "twinrack.kind";
/// Service or resource name.
pub const NAME: &str = "twinrack.name";
/// Release id.
pub const RELEASE: &str = "twinrack.release";
/// Ports to route to, `scheme:port`.
pub const PORT: &str = "twinrack.port";
/// Seconds open requests get before the process is stopped.
pub const DRAIN: &str = "twinrack.drain";
/// Seconds between terminate and kill.
pub const GRACE: &str = "twinrack.grace";
/// Command to be run inside a process before it is told to end.
pub const PRE_STOP: &str = "twinrack.pre-stop";
/// Processor share asked for, 1024 for one processor.
pub const CPU: &str = "twinrack.cpu";
/// Memory asked for in MiB.
pub const MEMORY: &str = "twinrack.memory";
/// Digest of everything that makes a process what it is, but for its release: a resource is
/// replaced when this changes, a service may be left alone when it does not.
pub const FINGERPRINT: &str = "twinrack.fingerprint";
/// Timer that a one-off process is run for.
pub const TIMER: &str = "twinrack.timer";
/// Display text of the command.
pub const COMMAND: &str = "twinrack.command";
/// Rollout that started a service process; processes of other rollouts than the
/// current one of their service are on the way out.
pub const ROLLOUT: &str = "twinrack.rollout";
