//! Links the inert WASI.

use crate::host::Host;
use crate::inert_wasi::InertWasi;
use std::sync::{Mutex, PoisonError};
use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtxView, WasiView};

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Mutex::new(InertWasi::new())));
        wasi.get_mut().unwrap_or_else(PoisonError::into_inner).view()
    }
}
