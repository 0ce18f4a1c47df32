//! Tables of SQL functions: those with effects outside of tables, those that read relations which
//! the parser cannot see, and pure functions.

use super::Dialect;

/// Functions of PostgreSQL that have side effects even in a read-only transaction: on other
/// sessions, the server, its files, another database, sequences, locks that outlive the statement,
/// or the settings of this session. Functions that run SQL from a text are in the list, too,
/// because the text could contain any of these. Functions that the owner of a database made are not
/// known here.
const POSTGRES_SIDE_EFFECTS: &[&str] = &[
    "connectby",
    "cursor_to_xml",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_from_bytea",
    "lo_get",
    "lo_import",
    "lo_open",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "loread",
    "lowrite",
    "nextval",
    "normal_rand",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_cancel_backend",
    "pg_create_restore_point",
    "pg_export_snapshot",
    "pg_import_system_collations",
    "pg_log_backend_memory_contexts",
    "pg_logical_emit_message",
    "pg_notify",
    "pg_prewarm",
    "pg_promote",
    "pg_reload_conf",
    "pg_start_backup",
    "pg_stat_file",
    "pg_stop_backup",
    "pg_switch_wal",
    "pg_terminate_backend",
    "set_config",
    "setval",
    "ts_rewrite",
    "ts_stat",
    "xpath_table",
];

/// Prefixes of the names of such functions.
const POSTGRES_SIDE_EFFECT_PREFIXES: &[&str] = &[
    "binary_upgrade_",
    "brin_desummarize_",
    "brin_summarize_",
    "crosstab",
    "dblink",
    "gin_clean_pending_",
    "pg_advisory_",
    "pg_copy_logical_",
    "pg_copy_physical_",
    "pg_create_logical_",
    "pg_create_physical_",
    "pg_drop_replication_",
    "pg_file_",
    "pg_logical_slot_",
    "pg_ls_",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_replication_",
    "pg_rotate_logfile",
    "pg_stat_reset",
    "pg_stat_statements_reset",
    "pg_try_advisory_",
    "pg_wal_replay_",
    "query_to_xml",
];

/// Functions of MySQL and MariaDB that have side effects even in a read-only transaction: on files,
/// other sessions, and locks that outlive the statement.
const MYSQL_SIDE_EFFECTS: &[&str] = &[
    "benchmark",
    "get_lock",
    "lastval",
    "load_file",
    "master_gtid_wait",
    "master_pos_wait",
    "nextval",
    "release_all_locks",
    "release_lock",
    "setval",
    "sys_eval",
    "sys_exec",
    "sys_get",
    "sys_set",
];

const SQLITE_SIDE_EFFECTS: &[&str] =
    &["edit", "fts3_tokenizer", "load_extension", "readfile", "writefile"];

/// The first word of a statement, in lower case, that is the name of a function with side effects.
/// Names, keywords, comments and literals are all searched, so that no such name can hide.
pub fn side_effect_function(dialect: Dialect, statement: &str) -> Option<String> {
    let (names, families): (&[&str], &[&str]) = match dialect {
        Dialect::Postgres => (POSTGRES_SIDE_EFFECTS, POSTGRES_SIDE_EFFECT_PREFIXES),
        Dialect::MySql => (MYSQL_SIDE_EFFECTS, &[]),
        Dialect::Sqlite => (SQLITE_SIDE_EFFECTS, &[]),
    };
    let has_side_effect = |word: &String| {
        names.contains(&word.as_str()) || families.iter().any(|family| word.starts_with(family))
    };
    words(statement).find(has_side_effect)
}

/// Every word of a statement, in lower case: of names, keywords, comments and literals.
pub fn words(statement: &str) -> impl Iterator<Item = String> + '_ {
    statement
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
}

/// Prefixes of the names of functions that read a relation which a text argument names, so that the
/// parser does not see it.
const RELATION_NAME_READERS: &[&str] = &[
    "cursor_to_xml",
    "database_to_xml",
    "dblink",
    "lo_get",
    "load_file",
    "pg_read_",
    "query_to_xml",
    "schema_to_xml",
    "table_to_xml",
    "ts_stat",
];

/// PostgreSQL types whose values refer to objects of the catalog by number: `16385::regclass` can
/// be any relation.
pub fn catalog_reference_types() -> impl Iterator<Item = &'static str> {
    CATALOG_REFERENCE_TYPES.iter().copied()
}

const CATALOG_REFERENCE_TYPES: &[&str] = &[
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Whether a statement can read a relation that it names only in a text or by a number.
pub(super) fn names_relations_in_text(statement: &str) -> bool {
    words(statement).any(|word| {
        // The names of array types begin with `_`.
        let is_catalog_reference = CATALOG_REFERENCE_TYPES.contains(&word.trim_start_matches('_'));
        is_catalog_reference || RELATION_NAME_READERS.iter().any(|name| word.starts_with(name))
    })
}

/// Functions in FROM that make rows from their arguments alone.
const PURE_TABLE_FUNCTIONS: &[&str] = &[
    "generate_series",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_tree",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "unnest",
];

pub(super) fn is_pure_table_function(name: &str) -> bool {
    PURE_TABLE_FUNCTIONS.contains(&name)
}

/// Functions of MySQL and MariaDB that read only their arguments. Any other function may be a
/// stored one, and the server does not tell what it reads.
const MYSQL_PURE_FUNCTIONS: &str = " abs acos adddate addtime any_value ascii asin atan atan2 avg bin bin_to_uuid bit_and \
     bit_count bit_length bit_or bit_xor cast ceil ceiling char char_length character_length \
     charset coalesce coercibility collation concat concat_ws connection_id conv convert \
     convert_tz cos cot count crc32 cume_dist curdate current_date current_role current_time \
     current_timestamp current_user curtime database date date_add date_format date_sub datediff \
     day dayname dayofmonth dayofweek dayofyear degrees dense_rank elt exp export_set extract \
     field find_in_set first_value floor format format_bytes from_base64 from_days from_unixtime \
     get_format greatest group_concat grouping hex hour if ifnull inet6_aton inet6_ntoa inet_aton \
     inet_ntoa insert instr interval is_ipv4 is_ipv6 is_uuid isnull json_array json_array_append \
     json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth \
     json_detailed json_equals json_exists json_extract json_insert json_keys json_length \
     json_loose json_merge_patch json_merge_preserve json_normalize json_object json_objectagg \
     json_overlaps json_pretty json_query json_quote json_remove json_replace json_schema_valid \
     json_search json_set json_type json_unquote json_valid json_value lag last_day last_value \
     lcase lead least left length ln localtime localtimestamp locate log log10 log2 lower lpad \
     ltrim makedate maketime max md5 median microsecond mid min minute mod month monthname \
     natural_sort_key now nth_value ntile nullif nvl nvl2 oct octet_length ord percent_rank \
     percentile_cont percentile_disc period_add period_diff pi position pow power quarter quote \
     radians rand rank regexp_instr regexp_like regexp_replace regexp_substr repeat replace \
     reverse right round row_count row_number rpad rtrim schema sec_to_time second session_user \
     sha sha1 sha2 sign sin soundex space sqrt std stddev stddev_pop stddev_samp str_to_date \
     strcmp subdate substr substring substring_index subtime sum sysdate system_user tan time \
     time_format time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_char \
     to_days to_seconds trim truncate ucase unhex unix_timestamp upper user utc_date utc_time \
     utc_timestamp uuid uuid_short uuid_to_bin values var_pop var_samp variance version week \
     weekday weekofyear weight_string year yearweek ";

/// Functions of PostgreSQL that read only their arguments, the time and the settings of the
/// session. A target that names relations allows no other function. The host also asks the server
/// which relations a statement touched, but that answer is incomplete: a block with EXCEPTION that
/// is rolled back loses its part, and functions of the catalog do not lock the relations that they
/// read. `pg_typeof` is not on the list because it returns a `regtype`.
const POSTGRES_PURE_FUNCTIONS: &str = " abbrev abs acos acosd acosh age any_value area array array_agg array_dims array_fill \
     array_length array_lower array_ndims array_position array_positions array_remove \
     array_replace array_to_json array_to_string array_to_tsvector array_upper ascii asin asind \
     asinh atan atan2 atan2d atand atanh avg bit bit_and bit_count bit_length bit_or bit_xor bool \
     bool_and bool_or box bpchar broadcast btrim cardinality cash_words cbrt ceil ceiling center \
     char char_length character_length chr cidr cycle clock_timestamp coalesce concat concat_ws \
     convert convert_from convert_to corr cos cosd cosh cot cotd count covar_pop covar_samp \
     cume_dist current_catalog current_database current_date current_role current_schema \
     current_setting current_time current_timestamp current_user date date_bin date_part \
     date_trunc datemultirange daterange decode degrees dense_rank dexp diagonal diameter div \
     dlog1 dlog10 dround dtrunc encode enum_first enum_last enum_range every exp extract factorial \
     family first_value float4 float8 floor format gcd gen_random_uuid generate_series \
     generate_subscripts get_bit get_byte greatest grouping height host hostmask inet_client_addr \
     inet_client_port inet_server_addr inet_server_port initcap int2 int4 int4multirange int4range \
     int8 int8multirange int8range interval interval_avg is_normalized isclosed isempty isfinite \
     ishorizontal isopen isparallel isperp isvertical json_agg json_array_elements \
     json_array_elements_text json_array_length json_arrayagg json_build_array json_build_object \
     json_each json_each_text json_object json_object_agg json_object_keys json_objectagg \
     json_populate_record json_populate_recordset json_scalar json_serialize json_strip_nulls \
     json_to_record json_to_recordset json_to_tsvector json_typeof jsonb_agg jsonb_array_elements \
     jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each \
     jsonb_each_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys \
     jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query \
     jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first \
     jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset \
     jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset \
     jsonb_to_tsvector jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm \
     lead least left length like like_escape line ln localtime localtimestamp log log10 lower \
     lower_inc lower_inf lpad lseg ltrim macaddr macaddr8 macaddr8_set7bit make_date make_interval \
     make_time make_timestamp make_timestamptz masklen max md5 min min_scale mod mode money \
     multirange name netmask network normalize notlike now npoints nth_value ntile nullif \
     num_nonnulls num_nulls numeric numeric_div_trunc numeric_exp numeric_inc numeric_ln \
     numeric_log numeric_sqrt nummultirange numnode numrange octet_length oid overlaps overlay \
     parse_ident path pclose percent_rank percentile_cont percentile_disc pg_backend_pid \
     pg_column_size pg_encoding_max_length pg_is_in_recovery pg_size_bytes pg_size_pretty pg_sleep \
     pg_sleep_for pg_sleep_until pg_wal_lsn_diff phraseto_tsquery pi plainto_tsquery point polygon \
     popen position pow power quote_ident quote_literal quote_nullable radians radius random \
     range_agg range_intersect_agg range_merge rank regexp_count regexp_instr regexp_like \
     regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table \
     regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx \
     regr_sxy regr_syy repeat replace reverse right round row row_number row_to_json rpad rtrim \
     scale session_user set_bit set_byte set_masklen setweight sha224 sha256 sha384 sha512 sign \
     similar similar_escape similar_to_escape sin sind sinh slope split_part sqrt \
     statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array string_to_table \
     strip strpos substr substring sum tan tand tanh text textlen time timeofday timestamp \
     timestamptz timetz timezone to_ascii to_char to_date to_hex to_json to_jsonb to_number \
     to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim trim_array \
     trim_scale trunc ts_delete ts_filter ts_headline ts_rank ts_rank_cd tsmultirange \
     tsquery_phrase tsrange tstzmultirange tstzrange tsvector_to_array txid_current unistr unnest \
     upper upper_inc upper_inf user var_pop var_samp varbit varchar variance version \
     websearch_to_tsquery width width_bucket xid xml xml_is_well_formed_content \
     xml_is_well_formed_document xmlagg xmlcomment xmlconcat xmlconcat2 xmlelement xmlexists \
     xmlforest xmlvalidate xpath xpath_exists ";

/// Whether a function of this name reads only its arguments.
pub(super) fn is_pure_function(dialect: Dialect, name: &str) -> bool {
    let is_among =
        |names: &str, name: &str| !name.contains(' ') && names.contains(&format!(" {name} "));
    match dialect {
        Dialect::MySql => is_among(MYSQL_PURE_FUNCTIONS, name),
        Dialect::Postgres => {
            is_among(POSTGRES_PURE_FUNCTIONS, name.strip_prefix("pg_catalog.").unwrap_or(name))
        }
        // SQLite has no stored functions.
        Dialect::Sqlite => true,
    }
}

/// The names of the pure functions, for the query that asks a server whether other functions have
/// these names.
pub fn pure_functions(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    let names = match dialect {
        Dialect::MySql => MYSQL_PURE_FUNCTIONS,
        Dialect::Postgres => POSTGRES_PURE_FUNCTIONS,
        Dialect::Sqlite => "",
    };
    names.split_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_names_comments_and_literals_are_found() {
        let words: Vec<_> = words("SELECT \"pg_Sleep\"('a b')/*c*/+pg_catalog.x$1").collect();
        assert_eq!(words, ["select", "pg_sleep", "a", "b", "c", "pg_catalog", "x$1"]);
    }

    #[test]
    fn only_whole_names_are_known() {
        assert!(
            is_pure_function(Dialect::MySql, "count") && is_pure_function(Dialect::MySql, "abs")
        );
        assert!(!is_pure_function(Dialect::MySql, "coun") && !is_pure_function(Dialect::MySql, ""));
        assert_eq!(
            side_effect_function(Dialect::Postgres, "select PG_READ_FILE('x')").as_deref(),
            Some("pg_read_file")
        );
        assert_eq!(side_effect_function(Dialect::Postgres, "select read from files"), None);
    }
}
