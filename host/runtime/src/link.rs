//! Which interface is linked by which function. An interface that is not here cannot be imported.

use crate::bindings::runbook as wit;
use crate::host::Host;
use wasmtime::component::{HasSelf, Linker};

type Add = fn(&mut Linker<Host>) -> wasmtime::Result<()>;

macro_rules! interfaces {
    ($($name:literal $($module:ident)::+;)*) => {
        /// Every interface that this host links.
        pub(crate) const INTERFACES: &[(&str, Add)] = &[$(
            ($name, |linker| wit::$($module)::+::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)),
        )*];
    };
}

interfaces! {
    "runbook:base/log@1.0.0" base::log;
    "runbook:base/clock@1.0.0" base::clock;
    "runbook:files/reader@1.0.0" files::reader;
    "runbook:files/writer@1.0.0" files::writer;
}
