//! The bundled plugin `grpc`: the health of services (`grpc.health.v1`).

mod health;

runbook_sdk::plugin! { probes: {
    "health" => health::health,
} }
