//! The bundled plugin `net`: servers over TCP, their certificates, and DNS records.

mod certificate;
mod dns;
mod tcp;

runbook_sdk::plugin! { probes: {
    "tcp" => tcp::tcp,
    "certificate" => certificate::certificate,
    "dns" => dns::dns,
} }
