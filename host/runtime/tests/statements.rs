//! Runs generated statements that the gate allows on real servers, which report the touched
//! relations. A case is generated from bytes, so that a fuzzer can generate cases too.
//!
//! `RUNBOOK_SEED` and `RUNBOOK_CASES` select other cases than the default.

use runbook_tests::statements::{
    Case, CaseOutcome, MAX_CHOICES, MariaDbJudge, PostgresJudge, Server, Tally,
};

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A generator of pseudo-random bytes (xorshift).
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

/// Checks cases until enough statements were allowed and run. Otherwise a grammar whose statements
/// are all denied would pass.
async fn check_cases(
    server: Server,
    mut judge: impl AsyncFnMut(&Case) -> Result<CaseOutcome, String>,
) {
    let (seed, cases) =
        (from_environment("RUNBOOK_SEED", 7), from_environment("RUNBOOK_CASES", 300));
    let mut choices = Choices::new(seed);
    let mut tally = Tally::default();
    while tally.ran < cases {
        let case = Case::new(server, &choices.for_one_case());
        match judge(&case).await {
            Ok(outcome) => tally.count(outcome),
            Err(strange) => panic!("seed {seed}: {strange}"),
        }
    }
    println!("{server:?}, seed {seed}: {tally:?}");
}

#[tokio::test]
async fn what_the_gate_lets_through_touches_nothing_else_on_postgresql() {
    let mut server = PostgresJudge::start().await;
    check_cases(Server::Postgres, async |case| server.judge(case).await).await;
}

#[tokio::test]
async fn what_the_gate_lets_through_touches_nothing_else_on_mariadb() {
    let mut server = MariaDbJudge::start().await;
    check_cases(Server::MariaDb, async |case| server.judge(case).await).await;
}
