//! A linearizable replicated key-value server that speaks the Redis protocol, made of the
//! adapters of this project and a persistent ordered map.
//!
//! The Raft [`node`] of a server runs on the runtime that its user chooses. Everything that clients
//! see of the server, its sockets and its timeouts, is on tokio with all of them: it reaches the
//! node through the same [`Handle`](raft_node::Handle).
//!
//! The way of a request: [`server`] accepts the client, `connection` cuts its bytes into requests
//! (`resp`), `commands` finds out what each one asks for, `pipeline` puts consecutive writes or
//! reads together, `backend` hands them to the cluster and says what a client may rely on, and
//! [`store`] carries them out on every node. The store is wrapped in
//! [`Sessions`](raft_node::session::Sessions), so that a client with a session has its writes
//! applied exactly once.
//!
//! Operators use the same port: `admin` has their requests, and `member` and `operate` the commands
//! of this program that send them. `demo` and `measure` run whole clusters on this machine
//! (`local`).
#![forbid(unsafe_code)]

mod admin;
mod backend;
pub mod cli;
mod client;
mod commands;
mod connection;
mod demo;
mod info;
pub mod limits;
mod local;
mod measure;
mod member;
pub mod node;
mod operate;
mod pipeline;
mod resp;
mod serve;
pub mod server;
mod signals;
pub mod store;
