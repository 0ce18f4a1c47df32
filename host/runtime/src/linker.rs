//! The interfaces that the host links. A component cannot import any other.

use crate::bindings::runbook as wit;
use crate::capabilities::wasi;
use crate::host::{Host, HostCall};
use crate::inert_wasi;
use crate::inspect::Import;
use wasmtime::Engine;
use wasmtime::component::{HasData, Linker};

/// Gives each host function a [`HostCall`], which also records the end of the function.
struct HostData;

impl HasData for HostData {
    type Data<'a> = HostCall<'a>;
}

type AddToLinker = fn(&mut Linker<Host>) -> wasmtime::Result<()>;

macro_rules! interfaces {
    ($($([$feature:literal])? $name:literal $($module:ident)::+;)*) => {
        /// Every interface that this host links.
        pub(crate) const INTERFACES: &[(&str, AddToLinker)] = &[$(
            $(#[cfg(feature = $feature)])?
            ($name, |linker| wit::$($module)::+::add_to_linker::<Host, HostData>(linker, |host| HostCall::new(host))),
        )*];

        /// Each interface that is part of the program only with a cargo feature, and the feature.
        const OPTIONAL: &[(&str, &str)] = &[$($(($name, $feature),)?)*];
    };
}

interfaces! {
    "runbook:base/log@1.0.0" base::log;
    "runbook:base/clock@1.0.0" base::clock;
    "runbook:http/reader@1.0.0" http::reader;
    "runbook:http/writer@1.0.0" http::writer;
    "runbook:http/health@1.0.0" http::health;
    "runbook:sql/reader@1.0.0" sql::reader;
    "runbook:sql/writer@1.0.0" sql::writer;
    "runbook:sql/snapshot@1.0.0" sql::snapshot;
    "runbook:secrets/metadata@1.0.0" secrets::metadata;
    "runbook:secrets/reveal@1.0.0" secrets::reveal;
    "runbook:secrets/rotation@1.0.0" secrets::rotation;
    ["docker"] "runbook:docker/reader@1.0.0" docker::reader;
    ["docker"] "runbook:docker/control@1.0.0" docker::control;
    ["docker"] "runbook:docker/lifecycle@1.0.0" docker::lifecycle;
    ["docker"] "runbook:docker/exec@1.0.0" docker::exec;
    "runbook:files/reader@1.0.0" files::reader;
    "runbook:files/writer@1.0.0" files::writer;
    "runbook:net/connect@1.0.0" net::connect;
    "runbook:net/tls@1.0.0" net::tls;
    "runbook:net/dns@1.0.0" net::dns;
    ["redis"] "runbook:redis/reader@1.0.0" redis::reader;
    ["redis"] "runbook:redis/writer@1.0.0" redis::writer;
    ["objects"] "runbook:objects/reader@1.0.0" objects::reader;
    ["objects"] "runbook:objects/writer@1.0.0" objects::writer;
    ["mail"] "runbook:mail/sender@1.0.0" mail::sender;
    "runbook:process/inspector@1.0.0" process::inspector;
    "runbook:process/runner@1.0.0" process::runner;
    "runbook:system/reader@1.0.0" system::reader;
    ["system"] "runbook:system/units@1.0.0" system::units;
    ["system"] "runbook:system/control@1.0.0" system::control;
}

/// The cargo feature without which this program was built, if it lacks an interface for that reason.
pub(crate) fn missing_feature(interface: &str) -> Option<&'static str> {
    let is_linked = INTERFACES.iter().any(|(name, _)| *name == interface);
    let (_, feature) = OPTIONAL.iter().find(|(name, _)| *name == interface)?;
    (!is_linked).then_some(feature)
}

/// A linker with the interfaces that a component imports, and no other.
pub(crate) fn linker(engine: &Engine, imports: &[Import]) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    for (name, add) in INTERFACES {
        if imports.iter().any(|import| import.interface == *name) {
            add(&mut linker)?;
        }
    }
    if imports.iter().any(|import| inert_wasi::has(&import.interface)) {
        wasi::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
