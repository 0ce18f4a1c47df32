//! The table of the commands of Redis and Valkey: what each command does, and which of its arguments
//! are keys. A server has a table of its own; of both, the stricter answer counts.
//!
//! The rows are those of Redis 7.0, with the commands that 7.2, 7.4 and 8.0 added.

use super::keys::KeyRule;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The effect of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEffect {
    /// It changes nothing.
    Read,
    /// It changes keys or the server.
    Change,
    /// It changes the state of the connection, or makes the server send more than one answer. No
    /// grant allows it.
    Session,
}

/// How a target must name a command to allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandNaming {
    /// By a pattern, or not at all.
    Pattern,
    /// By its whole name: it runs code, administers the server, reaches other databases, or shows
    /// what other clients do.
    Exact,
}

/// What is known of one command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommandRow {
    /// Its name in lower case, with its subcommand after a space.
    pub name: &'static str,
    /// What it does.
    pub effect: CommandEffect,
    /// How a target must name it.
    pub naming: CommandNaming,
    /// Which of its arguments are keys.
    pub(super) keys: KeyRule,
}

/// The row of a command; `None` if it is unknown.
pub fn command_row(name: &str) -> Option<&'static CommandRow> {
    TABLE.get(name)
}

/// Every known command, by name.
pub fn command_rows() -> impl Iterator<Item = &'static CommandRow> {
    TABLE.values()
}

/// Whether a command has subcommands, so that its name goes on in its first argument.
pub(super) fn has_subcommands(name: &str) -> bool {
    CONTAINERS.contains(&name)
}

/// The commands with subcommands.
const CONTAINERS: &[&str] = &[
    "acl", "client", "cluster", "command", "config", "function", "latency", "memory", "module",
    "object", "pubsub", "script", "slowlog", "xgroup", "xinfo",
];

static TABLE: LazyLock<BTreeMap<&'static str, CommandRow>> = LazyLock::new(|| {
    let mut table = BTreeMap::new();
    for (effect, naming, keys, names) in GROUPS {
        for name in names.split(',').map(str::trim) {
            let row = CommandRow { name, effect: *effect, naming: *naming, keys: *keys };
            table.insert(name, row);
        }
    }
    table
});

use CommandEffect::{Change, Read, Session};
use CommandNaming::{Exact, Pattern};
use KeyRule::{
    Any, Copy, Counted, GeoRadius, KeysPattern, None as NoKey, Range, ScanMatch, Sort, Streams,
};

/// One key, the first argument.
const FIRST: KeyRule = Range { first: 1, last: 1, step: 1 };
/// The first two arguments.
const FIRST_TWO: KeyRule = Range { first: 1, last: 2, step: 1 };
/// Every argument.
const ALL: KeyRule = Range { first: 1, last: -1, step: 1 };
/// Every argument but the last.
const ALL_BUT_LAST: KeyRule = Range { first: 1, last: -2, step: 1 };
/// The argument after the subcommand.
const SECOND: KeyRule = Range { first: 2, last: 2, step: 1 };

#[rustfmt::skip]
const GROUPS: &[(CommandEffect, CommandNaming, KeyRule, &str)] = &[
    (Read, Pattern, FIRST,
     "bitcount, bitfield_ro, bitpos, dump, expiretime, geodist, geohash, geopos, georadius_ro, \
      georadiusbymember_ro, geosearch, get, getbit, getrange, hexists, hexpiretime, hget, hgetall, \
      hkeys, hlen, hmget, hpexpiretime, hpttl, hrandfield, hscan, hstrlen, httl, hvals, lindex, llen, \
      lpos, lrange, pexpiretime, pttl, scard, sismember, smembers, smismember, srandmember, sscan, \
      strlen, substr, ttl, type, xlen, xpending, xrange, xrevrange, zcard, zcount, zlexcount, zmscore, \
      zrandmember, zrange, zrangebylex, zrangebyscore, zrank, zrevrange, zrevrangebylex, \
      zrevrangebyscore, zrevrank, zscan, zscore"),
    (Read, Pattern, FIRST_TWO, "lcs"),
    (Read, Pattern, ALL, "exists, mget, sdiff, sinter, sunion"),
    (Read, Pattern, SECOND,
     "memory usage, object encoding, object freq, object idletime, object refcount, xinfo consumers, \
      xinfo groups, xinfo stream"),
    (Read, Pattern, Counted { fixed: 0, count: 1 }, "sintercard, zdiff, zinter, zintercard, zunion"),
    (Read, Pattern, Streams, "xread"),
    (Read, Pattern, Sort, "sort_ro"),
    (Read, Pattern, ScanMatch, "scan"),
    (Read, Exact, KeysPattern, "keys"),
    (Read, Pattern, Any, "dbsize, randomkey, cluster getkeysinslot"),
    (Read, Pattern, NoKey,
     "client getname, client getredir, client help, client id, client info, client trackinginfo, \
      cluster countkeysinslot, cluster help, cluster info, cluster keyslot, cluster links, \
      cluster myid, cluster myshardid, cluster nodes, cluster shards, cluster slots, command, \
      command count, command docs, command getkeys, command getkeysandflags, command help, \
      command info, command list, echo, info, lastsave, latency help, lolwut, memory doctor, \
      memory help, memory malloc-stats, memory stats, module help, object help, ping, \
      pubsub channels, pubsub help, pubsub numpat, pubsub numsub, pubsub shardchannels, \
      pubsub shardnumsub, role, slowlog help, time, wait, waitaof, xgroup help, xinfo help"),
    (Read, Exact, NoKey,
     "acl cat, acl dryrun, acl genpass, acl getuser, acl help, acl list, acl log, acl users, \
      acl whoami, client list, cluster count-failure-reports, cluster replicas, cluster slaves, \
      config get, config help, function dump, function help, function list, function stats, \
      latency doctor, latency graph, latency histogram, latency history, latency latest, \
      module list, script exists, script help, slowlog get, slowlog len"),
    (Change, Pattern, FIRST,
     "append, bitfield, decr, decrby, expire, expireat, geoadd, getdel, getex, getset, hdel, hexpire, \
      hexpireat, hgetdel, hgetex, hincrby, hincrbyfloat, hmset, hpersist, hpexpire, hpexpireat, hset, \
      hsetex, hsetnx, incr, incrby, incrbyfloat, linsert, lpop, lpush, lpushx, lrem, lset, ltrim, \
      persist, pexpire, pexpireat, pfadd, psetex, rpop, rpush, rpushx, sadd, set, setbit, setex, \
      setnx, setrange, spop, srem, xack, xadd, xautoclaim, xclaim, xdel, xsetid, xtrim, zadd, \
      zincrby, zpopmax, zpopmin, zrem, zremrangebylex, zremrangebyrank, zremrangebyscore"),
    (Change, Pattern, FIRST_TWO,
     "blmove, brpoplpush, geosearchstore, lmove, rename, renamenx, rpoplpush, smove, zrangestore"),
    // `pfcount` writes what it has counted into the key, and `touch` makes keys look used: servers
    // say of both that they only read.
    (Change, Pattern, ALL, "del, pfcount, pfmerge, sdiffstore, sinterstore, sunionstore, touch, unlink"),
    (Change, Pattern, ALL_BUT_LAST, "blpop, brpop, bzpopmax, bzpopmin"),
    (Change, Pattern, Range { first: 1, last: -1, step: 2 }, "mset, msetnx"),
    (Change, Pattern, Range { first: 2, last: -1, step: 1 }, "bitop"),
    (Change, Pattern, SECOND,
     "xgroup create, xgroup createconsumer, xgroup delconsumer, xgroup destroy, xgroup setid"),
    (Change, Pattern, Counted { fixed: 0, count: 1 }, "lmpop, zmpop"),
    (Change, Pattern, Counted { fixed: 0, count: 2 }, "blmpop, bzmpop"),
    (Change, Pattern, Counted { fixed: 1, count: 2 }, "zdiffstore, zinterstore, zunionstore"),
    (Change, Pattern, Copy, "copy"),
    (Change, Pattern, Sort, "sort"),
    (Change, Pattern, GeoRadius, "georadius, georadiusbymember"),
    (Change, Pattern, Streams, "xreadgroup"),
    // A dump is read by code of the server that trusts it.
    (Change, Exact, FIRST, "restore"),
    // A channel is no key, and a message reaches the clients that listen in every database.
    (Change, Exact, NoKey, "publish, spublish"),
    // A script reaches keys that it does not declare, and other databases.
    (Change, Exact, Any,
     "debug, eval, eval_ro, evalsha, evalsha_ro, fcall, fcall_ro, flushall, flushdb, migrate, move, \
      pfdebug, swapdb"),
    (Change, Exact, Any,
     "acl deluser, acl load, acl save, acl setuser, bgrewriteaof, bgsave, client kill, client pause, \
      client unblock, client unpause, cluster addslots, cluster addslotsrange, cluster bumpepoch, \
      cluster delslots, cluster delslotsrange, cluster failover, cluster flushslots, cluster forget, \
      cluster meet, cluster replicate, cluster reset, cluster saveconfig, cluster set-config-epoch, \
      cluster setslot, config resetstat, config rewrite, config set, failover, function delete, \
      function flush, function kill, function load, function restore, latency reset, memory purge, \
      module load, module loadex, module unload, pfselftest, replicaof, save, script flush, \
      script kill, script load, shutdown, slaveof, slowlog reset"),
    (Session, Exact, NoKey,
     "asking, auth, client caching, client no-evict, client no-touch, client reply, client setinfo, \
      client setname, client tracking, discard, exec, hello, monitor, multi, psubscribe, psync, \
      punsubscribe, quit, readonly, readwrite, replconf, reset, restore-asking, script debug, select, \
      ssubscribe, subscribe, sunsubscribe, sync, unsubscribe, unwatch, watch"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_one_row_and_every_container_has_subcommands() {
        let names: Vec<&str> =
            GROUPS.iter().flat_map(|(.., names)| names.split(',').map(str::trim)).collect();
        assert_eq!(names.len(), TABLE.len(), "a command is in two groups");
        for name in names {
            assert!(!name.is_empty() && !name.contains("  "), "{name:?}");
            if let Some((container, _)) = name.split_once(' ') {
                assert!(has_subcommands(container), "{name}");
            }
        }
        for container in CONTAINERS {
            assert!(TABLE.keys().any(|name| name.starts_with(&format!("{container} "))));
        }
    }
}
