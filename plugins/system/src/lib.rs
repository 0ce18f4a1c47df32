//! The bundled plugin `system`: this machine, by parts.

mod disks;
mod identity;
mod memory;
mod port;
mod processes;
mod processors;
mod thresholds;
mod uptime;
mod users;

runbook_sdk::plugin! { probes: {
    "cpu" => processors::cpu,
    "load" => processors::load,
    "memory" => memory::memory,
    "disks" => disks::disks,
    "uptime" => uptime::uptime,
    "processes" => processes::processes,
    "port" => port::port,
    "users" => users::users,
    "identity" => identity::identity,
} }
