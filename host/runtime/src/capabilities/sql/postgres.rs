//! PostgreSQL.
//!
//! A read: `BEGIN READ ONLY`; `SELECT 1`, after which the mode cannot be changed; a cursor declared over the guest's text by the
//! extended protocol, which takes exactly one statement, and of a kind that a cursor can read; `FETCH` by the simple protocol, so
//! that every type arrives as text with its name; `ROLLBACK`. Tried against the corpus in `tests/`.

use super::{Access, Budget, fault_of, mismatch, size_of, unsupported, within};
use crate::bindings::runbook::sql::types::{Column, Element, Rows, Statement, Value};
use crate::fault::{Fault, FaultClass};
use runbook_authority::target::{SqlAddress, TlsMode};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow, PgSslMode, PgValueFormat};
use sqlx::types::{BigDecimal, Json, Uuid};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _, ValueRef as _,
};
use std::str::FromStr as _;

/// Rows of one FETCH.
const BATCH: u32 = 500;

pub(super) async fn query(access: &Access, statement: &str, parameters: &[Value]) -> Result<Rows, Fault> {
    within(access, async {
        let mut connection = connect(access).await?;
        run(&mut connection, "BEGIN READ ONLY").await?;
        run(&mut connection, "SELECT 1").await?;
        let rows = read(&mut connection, access, statement, parameters).await;
        let _ = run(&mut connection, "ROLLBACK").await;
        let _ = connection.close().await;
        rows
    })
    .await
}

async fn read(connection: &mut PgConnection, access: &Access, statement: &str, parameters: &[Value]) -> Result<Rows, Fault> {
    let prepared =
        connection.prepare(AssertSqlSafe(statement.to_owned()).into_sql_str()).await.map_err(|error| fault_of(&error))?;
    let columns = prepared
        .columns()
        .iter()
        .map(|column| Column { name: column.name().to_owned(), type_name: column.type_info().name().to_owned() })
        .collect();
    let arguments = arguments(&prepared, parameters)?;
    let declare = format!("DECLARE runbook_cursor NO SCROLL CURSOR FOR {statement}");
    sqlx::query_with(AssertSqlSafe(declare), arguments)
        .persistent(false)
        .execute(&mut *connection)
        .await
        .map_err(|error| not_readable(&error))?;
    let mut budget = Budget::new(access.sql());
    let mut rows = Rows { columns, rows: Vec::new(), truncated: false };
    loop {
        let fetch = format!("FETCH {BATCH} FROM runbook_cursor");
        let batch = sqlx::raw_sql(AssertSqlSafe(fetch)).fetch_all(&mut *connection).await.map_err(|error| fault_of(&error))?;
        let count = batch.len();
        for row in &batch {
            let values = values(row)?;
            if !budget.take(values.iter().map(size_of).sum()) {
                rows.truncated = true;
                return Ok(rows);
            }
            rows.rows.push(values);
        }
        if count < BATCH as usize {
            return Ok(rows);
        }
    }
}

/// A cursor takes SELECT, VALUES and TABLE only, so a syntax error near another word is a write in disguise.
fn not_readable(error: &sqlx::Error) -> Fault {
    let fault = fault_of(error);
    if fault.code == "sql.syntax" || fault.code == "sql.error" {
        let message = format!("only a statement that returns rows and changes nothing can be queried: {}", fault.message);
        return Fault::new(FaultClass::Denied, "sql.read-only", message);
    }
    fault
}

pub(super) async fn execute(access: &Access, statement: &str, parameters: &[Value]) -> Result<u64, Fault> {
    within(access, async {
        let mut connection = connect(access).await?;
        let count = change(&mut connection, statement, parameters).await;
        let _ = connection.close().await;
        count
    })
    .await
}

pub(super) async fn transaction(access: &Access, statements: &[Statement]) -> Result<Vec<u64>, Fault> {
    within(access, async {
        let mut connection = connect(access).await?;
        run(&mut connection, "BEGIN").await?;
        let mut counts = Vec::new();
        for Statement { text, parameters } in statements {
            counts.push(change(&mut connection, text, parameters).await?);
            in_transaction(&mut connection).await?;
        }
        run(&mut connection, "COMMIT").await?;
        let _ = connection.close().await;
        Ok(counts)
    })
    .await
}

/// A guest's COMMIT would make half a transaction durable; after one, `pg_current_xact_id_if_assigned` knows of no transaction and
/// the warning-only COMMIT of the host would hide it.
async fn in_transaction(connection: &mut PgConnection) -> Result<(), Fault> {
    match sqlx::raw_sql("SAVEPOINT runbook_check").execute(&mut *connection).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::new(
            FaultClass::Invalid,
            "sql.transaction",
            format!("a statement ended the transaction; COMMIT and ROLLBACK are the host's ({error})"),
        )),
    }
}

async fn change(connection: &mut PgConnection, statement: &str, parameters: &[Value]) -> Result<u64, Fault> {
    let text = AssertSqlSafe(statement.to_owned());
    if parameters.is_empty() {
        // The extended protocol takes exactly one statement.
        let done = sqlx::query_with(text, PgArguments::default()).persistent(false).execute(&mut *connection).await;
        return done.map(|done| done.rows_affected()).map_err(|error| fault_of(&error));
    }
    let prepared = connection.prepare(text.into_sql_str()).await.map_err(|error| fault_of(&error))?;
    let arguments = arguments(&prepared, parameters)?;
    let done = sqlx::query_with(AssertSqlSafe(statement.to_owned()), arguments).persistent(false).execute(&mut *connection).await;
    done.map(|done| done.rows_affected()).map_err(|error| fault_of(&error))
}

async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}

async fn connect(access: &Access) -> Result<PgConnection, Fault> {
    let SqlAddress::Server { host, port, user, database, tls, .. } = &access.sql().address else {
        unreachable!("only PostgreSQL targets come here");
    };
    let tls = match tls {
        TlsMode::Prefer => PgSslMode::Prefer,
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let timeout = access.timeout.as_millis().max(1).to_string();
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(*port)
        .username(user)
        .database(database)
        .ssl_mode(tls)
        .application_name("runbook")
        .options([
            ("statement_timeout", timeout.as_str()),
            ("lock_timeout", timeout.as_str()),
            ("idle_in_transaction_session_timeout", timeout.as_str()),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, YMD"),
            ("IntervalStyle", "iso_8601"),
            ("bytea_output", "hex"),
            ("extra_float_digits", "1"),
        ]);
    options = if host.starts_with('/') { options.socket(host) } else { options.host(host) };
    if let Some(password) = &access.password {
        let text =
            password.expose_text().ok_or_else(|| Fault::new(FaultClass::Invalid, "sql.password", "the password is not text"))?;
        options = options.password(text);
    }
    let mut connection = options.disable_statement_logging().connect().await.map_err(|error| fault_of(&error))?;
    if !access.sql().superuser {
        refuse_superuser(&mut connection).await?;
    }
    Ok(connection)
}

/// Read-only cannot hold against a role that may write files on the server.
async fn refuse_superuser(connection: &mut PgConnection) -> Result<(), Fault> {
    let row = sqlx::raw_sql("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user").fetch_one(connection).await;
    let row = row.map_err(|error| fault_of(&error))?;
    let is_superuser = row.try_get_raw(0).ok().and_then(|value| value.as_str().ok().map(|text| text == "t"));
    if is_superuser == Some(false) {
        return Ok(());
    }
    let message = "the role is a superuser, against whom nothing is read only; use a role of its own, or write `superuser = true` into the target";
    Err(Fault::new(FaultClass::Denied, "sql.superuser", message))
}

fn arguments(prepared: &sqlx::postgres::PgStatement, parameters: &[Value]) -> Result<PgArguments, Fault> {
    let types: Vec<String> = match prepared.parameters() {
        Some(Either::Left(types)) => types.iter().map(|ty| ty.name().to_owned()).collect(),
        Some(Either::Right(_)) | None => Vec::new(),
    };
    if types.len() != parameters.len() {
        let message = format!("the statement has {} parameters, {} were given", types.len(), parameters.len());
        return Err(Fault::new(FaultClass::Invalid, "sql.parameter", message));
    }
    let mut arguments = PgArguments::default();
    for (index, (ty, value)) in types.iter().zip(parameters).enumerate() {
        bind(&mut arguments, index + 1, ty, value)?;
    }
    Ok(arguments)
}

fn bind(arguments: &mut PgArguments, position: usize, ty: &str, value: &Value) -> Result<(), Fault> {
    use sqlx::Arguments as _;
    let wrong = || mismatch(position, ty);
    let text = text_of(value);
    let null = matches!(value, Value::Null);
    macro_rules! add {
        ($kind:ty, $value:expr) => {{
            let value: Option<$kind> = if null { None } else { Some($value.ok_or_else(wrong)?) };
            arguments.add(value)
        }};
    }
    let added = match ty {
        "BOOL" => add!(bool, if let Value::Boolean(truth) = value { Some(*truth) } else { None }),
        "INT2" => add!(i16, integer_of(value).and_then(|number| i16::try_from(number).ok())),
        "INT4" | "OID" => add!(i32, integer_of(value).and_then(|number| i32::try_from(number).ok())),
        "INT8" => add!(i64, integer_of(value)),
        "FLOAT4" => add!(f32, text.as_ref().and_then(|text| text.parse::<f32>().ok())),
        "FLOAT8" => add!(f64, text.as_ref().and_then(|text| text.parse::<f64>().ok())),
        "NUMERIC" => add!(BigDecimal, text.as_ref().and_then(|text| BigDecimal::from_str(text).ok())),
        "TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "NAME" => add!(String, text),
        "UUID" => add!(Uuid, text.as_ref().and_then(|text| Uuid::parse_str(text).ok())),
        "JSON" | "JSONB" => {
            add!(Json<serde_json::Value>, text.as_ref().and_then(|text| serde_json::from_str(text).ok()).map(Json))
        }
        "BYTEA" => add!(Vec<u8>, if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None }),
        _ => return Err(unsupported(position, ty)),
    };
    added.map_err(|error| Fault::new(FaultClass::Invalid, "sql.parameter", error.to_string()))
}

fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Decimal(text) | Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Timestamp(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Json(text)
        | Value::Other((_, text)) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Null | Value::Bytes(_) | Value::Sequence(_) => None,
    }
}

fn values(row: &PgRow) -> Result<Vec<Value>, Fault> {
    (0..row.len())
        .map(|index| {
            let raw = row.try_get_raw(index).map_err(|error| fault_of(&error))?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            let name = raw.type_info().name().to_owned();
            debug_assert!(matches!(raw.format(), PgValueFormat::Text), "the simple protocol sends text");
            let text = raw.as_str().map_err(|error| Fault::new(FaultClass::Invalid, "sql.encoding", error.to_string()))?;
            Ok(value(&name, text))
        })
        .collect()
}

/// One value from its text, by the name of its type.
fn value(name: &str, text: &str) -> Value {
    let other = || Value::Other((name.to_lowercase(), text.to_owned()));
    if let Some(element) = name.strip_suffix("[]") {
        return elements(element, text).map_or_else(other, Value::Sequence);
    }
    match name {
        "BOOL" => Value::Boolean(text == "t"),
        "INT2" | "INT4" | "INT8" | "OID" => text.parse().map_or_else(|_| other(), Value::Integer),
        "FLOAT4" | "FLOAT8" => text.parse().map_or_else(|_| other(), Value::Float),
        "NUMERIC" => Value::Decimal(text.to_owned()),
        "TEXT" | "VARCHAR" | "CHAR" | "\"CHAR\"" | "BPCHAR" | "NAME" | "CITEXT" | "UNKNOWN" => Value::Text(text.to_owned()),
        "BYTEA" => text.strip_prefix("\\x").and_then(unhex).map_or_else(other, Value::Bytes),
        "UUID" => Value::Uuid(text.to_owned()),
        "JSON" | "JSONB" => Value::Json(text.to_owned()),
        "TIMESTAMPTZ" => Value::Timestamp(iso(text)),
        "TIMESTAMP" => Value::Timestamp(text.replacen(' ', "T", 1)),
        "DATE" => Value::Date(text.to_owned()),
        "TIME" | "TIMETZ" => Value::Time(text.to_owned()),
        _ => other(),
    }
}

/// `2026-11-20 21:50:00.5+00` → `2026-11-20T21:50:00.5Z`; `infinity` stays a word.
fn iso(text: &str) -> String {
    match text.strip_suffix("+00") {
        Some(utc) => utc.replacen(' ', "T", 1) + "Z",
        None => text.replacen(' ', "T", usize::from(!text.ends_with("BC"))),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The elements of a one-dimensional array such as `{1,NULL,"a b"}`. Of an array of arrays each inner one is text.
fn elements(ty: &str, text: &str) -> Option<Vec<Element>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let mut items = Vec::new();
    let (mut item, mut quoted, mut was_quoted, mut depth) = (String::new(), false, false, 0_u32);
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => item.extend(characters.next()),
            '"' if depth == 0 => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted && depth == 0 => {
                items.push(element(ty, &std::mem::take(&mut item), std::mem::take(&mut was_quoted)));
            }
            c => {
                depth = match c {
                    '{' if !quoted => depth + 1,
                    '}' if !quoted => depth.saturating_sub(1),
                    _ => depth,
                };
                item.push(c);
            }
        }
    }
    items.push(element(ty, &item, was_quoted));
    Some(items)
}

fn element(ty: &str, text: &str, quoted: bool) -> Element {
    if text == "NULL" && !quoted {
        return Element::Null;
    }
    match value(ty, text) {
        Value::Boolean(truth) => Element::Boolean(truth),
        Value::Integer(number) => Element::Integer(number),
        Value::Float(number) => Element::Float(number),
        _ => Element::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_zone_are_utc_and_infinity_stays_a_word() {
        assert_eq!(iso("2026-11-20 21:50:00.5+00"), "2026-11-20T21:50:00.5Z");
        assert_eq!(iso("infinity"), "infinity");
        assert_eq!(iso("-infinity"), "-infinity");
    }

    #[test]
    fn arrays_keep_their_elements() {
        let found = format!("{:?}", elements("TEXT", r#"{a,"b, c",NULL,"NULL","q\"q"}"#));
        assert_eq!(
            found,
            format!(
                "{:?}",
                Some(vec![
                    Element::Text("a".into()),
                    Element::Text("b, c".into()),
                    Element::Null,
                    Element::Text("NULL".into()),
                    Element::Text("q\"q".into())
                ])
            )
        );
        assert!(matches!(elements("INT8", "{1,2}").as_deref(), Some([Element::Integer(1), Element::Integer(2)])));
        assert!(
            matches!(elements("INT8", "{{1,2},{3,4}}").as_deref(), Some([Element::Text(a), Element::Text(b)]) if a == "{1,2}" && b == "{3,4}")
        );
        assert_eq!(elements("INT8", "{}").map(|items| items.len()), Some(0));
    }

    #[test]
    fn bytes_arrive_as_bytes() {
        assert!(matches!(value("BYTEA", "\\x00ff"), Value::Bytes(bytes) if bytes == [0, 255]));
        assert!(matches!(value("NUMERIC", "NaN"), Value::Decimal(text) if text == "NaN"));
        assert!(matches!(value("INTERVAL", "P1D"), Value::Other((name, text)) if name == "interval" && text == "P1D"));
    }
}
