//! What the gate lets through of statements that are made by a grammar, run on real servers, which
//! then say what was touched. A case is made from bytes, so that a fuzzer can choose them too.
//!
//! `RUNBOOK_SEED` and `RUNBOOK_CASES` choose others than those that always run.

use runbook_tests::statements::{Case, Judged, MAX_CHOICES, OnMariaDb, OnPostgres, Server, Tally};

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Bytes without end, by xorshift.
struct Choices(u64);

impl Choices {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn for_one_case(&mut self) -> [u8; MAX_CHOICES] {
        std::array::from_fn(|_| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_be_bytes()[3]
        })
    }
}

/// Judges cases until enough of them were let through and run: a grammar of which nothing passes
/// would prove nothing.
async fn judge_enough(server: Server, mut judge: impl AsyncFnMut(&Case) -> Result<Judged, String>) {
    let (seed, cases) =
        (from_environment("RUNBOOK_SEED", 7), from_environment("RUNBOOK_CASES", 300));
    let mut choices = Choices::new(seed);
    let mut tally = Tally::default();
    while tally.ran < cases {
        let case = Case::new(server, &choices.for_one_case());
        match judge(&case).await {
            Ok(judged) => tally.count(judged),
            Err(strange) => panic!("seed {seed}: {strange}"),
        }
    }
    println!("{server:?}, seed {seed}: {tally:?}");
}

#[tokio::test]
async fn what_the_gate_lets_through_touches_nothing_else_on_postgresql() {
    let mut server = OnPostgres::start().await;
    judge_enough(Server::Postgres, async |case| server.judge(case).await).await;
}

#[tokio::test]
async fn what_the_gate_lets_through_touches_nothing_else_on_mariadb() {
    let mut server = OnMariaDb::start().await;
    judge_enough(Server::MariaDb, async |case| server.judge(case).await).await;
}
