//! A linearizable replicated key-value server that speaks the Redis protocol, made of
//! `raft-tokio` and an ordered map.
//!
//! The way of a request: [`server`] accepts the client, `connection` cuts its bytes into requests
//! (`resp`), `commands` finds out what each one asks for, `pipeline` puts consecutive writes or
//! reads together, `backend` hands them to the cluster, and [`store`] carries them out on every
//! node.
#![forbid(unsafe_code)]

mod backend;
pub mod cli;
mod client;
mod commands;
mod connection;
mod demo;
mod info;
pub mod limits;
mod pipeline;
mod resp;
mod serve;
pub mod server;
mod signals;
mod status;
pub mod store;
