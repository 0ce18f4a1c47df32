//! What the gate lets through of statements by a grammar, run on PostgreSQL and MariaDB: asked, the
//! server says what was touched, and that is no more than is granted. Needs both servers installed;
//! they are started once, on loopback.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_tests::statements::{Case, MariaDbJudge, PostgresJudge, Server};
use std::sync::{Mutex, OnceLock};
use tokio::runtime::{Builder, Runtime};

struct Servers {
    runtime: Runtime,
    postgres: PostgresJudge,
    mariadb: MariaDbJudge,
}

impl Servers {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (postgres, mariadb) = runtime.block_on(async { (PostgresJudge::start().await, MariaDbJudge::start().await) });
        Self { runtime, postgres, mariadb }
    }

    /// The first byte chooses the server, the others the statement.
    fn judge(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (first, choices) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
        let judged = if first % 2 == 0 {
            self.runtime.block_on(self.postgres.judge(&Case::new(Server::Postgres, choices)))
        } else {
            self.runtime.block_on(self.mariadb.judge(&Case::new(Server::MariaDb, choices)))
        };
        judged.map(|_| ())
    }
}

static SERVERS: OnceLock<Mutex<Servers>> = OnceLock::new();

fuzz_target!(
    init: {
        let _ = SERVERS.set(Mutex::new(Servers::start()));
    },
    |bytes: &[u8]| {
        let mut servers = SERVERS.get().expect("they were started").lock().expect("a finding ends the process");
        if let Err(strange) = servers.judge(bytes) {
            panic!("{strange}");
        }
    }
);
