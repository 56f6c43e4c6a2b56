//! The server as a client sees it: bytes on a socket.

mod support;

use std::net::TcpListener as StdListener;
use std::time::Duration;

use clap::ValueEnum;
use raft_kv::limits::{MAX_REQUEST, MAX_VALUE};
use raft_kv::node::Runtime;
use raft_kv::store::{self, Write};
use raft_node::Clock;
use raft_node::session::{self, Session, SessionError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use support::{HANG, TestServer, array, bulk};

#[tokio::test]
async fn commands_on_keys_answer_like_redis_whatever_the_node_runs_on() {
    for runtime in Runtime::value_variants() {
        commands_on_keys_answer_like_redis(*runtime).await;
    }
}

async fn commands_on_keys_answer_like_redis(runtime: Runtime) {
    let server = TestServer::alone_on(runtime).await;
    let mut client = server.connect().await;
    let server_section = client.bulk("INFO server").await;
    let line = format!("node_runtime:{runtime}");
    assert!(server_section.lines().any(|found| found == line), "{server_section}");
    let wrong_number = "-ERR value is not an integer or out of range\r\n";
    for (request, reply) in [
        ("GET k", "$-1\r\n"),
        ("SET k v", "+OK\r\n"),
        ("get k", "$1\r\nv\r\n"),
        ("SET k w NX", "$-1\r\n"),
        ("SET k w XX", "+OK\r\n"),
        ("SET k x GET", "$1\r\nw\r\n"),
        ("SET k y NX GET", "$1\r\nx\r\n"),
        ("SET none y XX GET", "$-1\r\n"),
        ("SET k v NX XX", "-ERR syntax error\r\n"),
        ("SETNX k z", ":0\r\n"),
        ("SETNX k2 z", ":1\r\n"),
        ("GETSET k a", "$1\r\nx\r\n"),
        ("GETSET k3 b", "$-1\r\n"),
        ("MSET a 1 b 2", "+OK\r\n"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
        ("MGET a none b", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n"),
        ("EXISTS a b none a", ":3\r\n"),
        ("DEL a none a", ":1\r\n"),
        ("APPEND a xy", ":2\r\n"),
        ("APPEND a z", ":3\r\n"),
        ("STRLEN a", ":3\r\n"),
        ("STRLEN none", ":0\r\n"),
        ("INCR n", ":1\r\n"),
        ("INCRBY n 999999999999999998", ":999999999999999999\r\n"),
        ("DECRBY n 1000000000000000000", ":-1\r\n"),
        ("DECR n", ":-2\r\n"),
        ("GET n", "$2\r\n-2\r\n"),
        ("INCR a", wrong_number),
        ("INCRBY n x", wrong_number),
        ("SET n 9223372036854775807", "+OK\r\n"),
        ("INCR n", "-ERR increment or decrement would overflow\r\n"),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n"),
        ("DBSIZE", ":6\r\n"),
        ("KEYS k3*", "*1\r\n$2\r\nk3\r\n"),
        ("SCAN 0 MATCH k[3-9] COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$2\r\nk3\r\n"),
        ("SCAN x", "-ERR invalid cursor\r\n"),
        ("FLUSHALL", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("KEYS *", "*0\r\n"),
        ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("FLUSHALL ASYNC", "+OK\r\n"),
        ("FLUSHALL NOW", "-ERR syntax error\r\n"),
    ] {
        client.ask(request, reply).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn commands_on_the_connection_answer_like_redis() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    for (request, reply) in [
        ("PING", "+PONG\r\n"),
        ("PING hi", "$2\r\nhi\r\n"),
        ("ECHO hi", "$2\r\nhi\r\n"),
        ("ECHO", "-ERR wrong number of arguments for 'echo' command\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("SELECT 1", "-ERR DB index is out of range\r\n"),
        ("COMMAND", "*0\r\n"),
        ("COMMAND DOCS", "*0\r\n"),
        ("COMMAND COUNT", ":32\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("CLIENT GETNAME", "$2\r\nme\r\n"),
        ("CLIENT SETINFO LIB-NAME x", "+OK\r\n"),
        ("CLIENT ID", ":1\r\n"),
        ("CLIENT NONE", "-ERR unknown subcommand 'none' of 'client'\r\n"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"),
        ("CONFIG GET none", "*0\r\n"),
        ("NONE a", "-ERR unknown command 'NONE', with args beginning with: 'a' \r\n"),
        ("QUIT", "+OK\r\n"),
    ] {
        client.ask(request, reply).await;
    }
    client.expect_end().await;
    server.stop().await;
}

#[tokio::test]
async fn info_shows_how_the_node_stands() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    client.ask("SET k v", "+OK\r\n").await;
    let text = client.bulk("INFO raft").await;
    for line in ["# Raft", "id:1", "role:leader", "leader:1", "base:0"] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    }
    for (name, least) in [
        ("term", 1),
        ("commit", 1),
        ("applied", 1),
        ("quorum_silent_ms", 0),
        ("dropped_malformed", 0),
    ] {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        assert!(value.unwrap().parse::<u64>().unwrap() >= least, "{name} in {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn operators_are_answered_in_words_that_programs_can_tell_apart() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    client.ask("SET k v", "+OK\r\n").await;
    for (request, reply) in [
        ("RAFT.CHANGE REMOVE 1", "-ERR node 1 is the last voter; without one there is no cluster"),
        ("RAFT.CHANGE PROMOTE 7", "-ERR node 7 is no member"),
        ("RAFT.CHANGE PROMOTE 1", "+OK"),
        ("RAFT.CHANGE ADD x a:1", "-ERR a node id is a whole number"),
        ("RAFT.CHANGE ADD 2 a", "-ERR an address is HOST:PORT, such as 10.0.0.4:7100"),
        ("RAFT.CHANGE ADD 2 a,b:1", "-ERR an address is HOST:PORT, such as 10.0.0.4:7100"),
        ("RAFT.CHANGE ADD 2", "-ERR wrong number of arguments for 'raft.change' command"),
        ("RAFT.CHANGE REMOVE 1 NOW", "-ERR syntax error"),
        ("RAFT.CHANGE REMOVE 1 IF x", "-ERR a version of the members is eight hexadecimal digits"),
        ("RAFT.CHANGE SWAP 1", "-ERR unknown subcommand 'swap' of 'raft.change'"),
        ("RAFT.MEMBERS NOW", "-ERR syntax error"),
        ("RAFT.TRANSFER 1", ":1"),
    ] {
        client.ask(request, &format!("{reply}\r\n")).await;
    }
    client.ask("RAFT.TRANSFER 7", "-ERR refused: there is no such voter to hand over to\r\n").await;
    client.send("RAFT.CHANGE ADD 2 a:1 IF 00000000\r\n").await;
    assert!(client.line().await.starts_with("-MEMBERSCHANGED "));
    client.send("RAFT.SNAPSHOT\r\n").await;
    let index: u64 = client.line().await.strip_prefix(':').unwrap().parse().unwrap();
    assert!(index > 0);
    let members = client.bulk("RAFT.MEMBERS LATEST").await;
    for line in ["id:1", "leader:1", &format!("snapshot:{index}"), "members:1", "members_joint:0"] {
        assert!(members.lines().any(|found| found == line), "{line} is missing in {members}");
    }
    server.stop().await;
}

/// U11 and R120: what a client with a session sends twice is applied once.
#[tokio::test]
async fn an_envelope_of_a_session_is_applied_once() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    let clock = Clock::start();
    let opened = client.propose(&session::open()).await;
    let mut session = Session::new(opened, clock.now()).unwrap();
    let increment = store::encode(&[Write::Add { key: "n".into(), by: 1 }]);
    let request = session.command(&increment, clock.now()).unwrap();
    let first = client.propose(&request.envelope()).await;
    assert_eq!(client.propose(&request.envelope()).await, first);
    session.answered(&request, first).unwrap();
    client.ask("GET n", "$1\r\n1\r\n").await;
    // What is no envelope changes nothing, and is answered all the same.
    let answer = client.propose(b"nonsense").await;
    assert_eq!(session::decode(answer), Err(SessionError::Unsupported));
    client.ask("DBSIZE", ":1\r\n").await;
    server.stop().await;
}

#[tokio::test]
async fn hello_switches_to_resp3_and_back() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    client.ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n").await;
    client.ask("GET none", "$-1\r\n").await;
    client.send("HELLO 3 SETNAME me\r\n").await;
    assert_eq!(client.line().await, "%7");
    let mut fields = Vec::new();
    // Seven pairs of two lines for each bulk string and one for a number or an empty array.
    while fields.len() < 7 {
        client.line().await;
        let name = client.line().await;
        let mut value = client.line().await;
        if value.starts_with('$') {
            value = client.line().await;
        }
        fields.push((name, value));
    }
    for field in [("server", "raft-kv"), ("proto", ":3"), ("id", ":1"), ("modules", "*0")] {
        let field = (field.0.to_owned(), field.1.to_owned());
        assert!(fields.contains(&field), "{field:?} is missing in {fields:?}");
    }
    client.ask("CLIENT GETNAME", "$2\r\nme\r\n").await;
    client.ask("GET none", "_\r\n").await;
    client.ask("MGET none", "*1\r\n_\r\n").await;
    client.ask("CONFIG GET save", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n").await;
    client.send("HELLO 2\r\n").await;
    assert_eq!(client.line().await, "*14");
    server.stop().await;
}

#[tokio::test]
async fn what_comes_before_hello_is_answered_in_the_version_of_before() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    client.send("GET none\r\nHELLO 3\r\n").await;
    client.expect("$-1\r\n%7\r\n", "GET and HELLO in one pipeline").await;
    server.stop().await;
}

#[tokio::test]
async fn a_pipeline_takes_effect_and_is_answered_in_order() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    let (mut requests, mut replies) = (Vec::new(), String::new());
    for number in 1..=2000 {
        requests.extend(array(&[b"INCR", b"n"]));
        replies += &format!(":{number}\r\n");
        // Runs of writes and of reads, some of them interrupted by other requests and by errors.
        if number % 3 == 0 {
            let text = number.to_string();
            requests.extend(array(&[b"GET", b"n"]).repeat(2));
            replies += &format!("${}\r\n{text}\r\n", text.len()).repeat(2);
        }
        if number % 7 == 0 {
            requests.extend(b"PING\r\nINCR\r\n");
            replies += "+PONG\r\n-ERR wrong number of arguments for 'incr' command\r\n";
        }
    }
    client.send(&requests).await;
    client.expect(&replies, "the pipeline").await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_may_arrive_byte_by_byte() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    for byte in array(&[b"SET", b"k", b"v"]) {
        client.send([byte]).await;
    }
    client.expect("+OK\r\n", "the last byte").await;
    server.stop().await;
}

#[tokio::test]
async fn keys_and_values_are_bytes_up_to_the_limit() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    let key: Vec<u8> = (0..MAX_VALUE).map(|n| (n % 251) as u8).collect();
    let value: Vec<u8> = (0..MAX_VALUE).map(|n| (n % 256) as u8).collect();
    client.send(array(&[b"SET", &key, &value])).await;
    client.expect("+OK\r\n", "SET").await;
    client.send(array(&[b"GET", &key])).await;
    client.expect(bulk(&value), "GET").await;
    client.send(array(&[b"SET", b"short", &value])).await;
    client.expect("+OK\r\n", "SET short").await;
    // Replies that are too large for one trip through the cluster come all the same, in order.
    client.send(array(&[b"GET", b"short"]).repeat(40)).await;
    client.expect(bulk(&value).repeat(40), "40 times GET").await;
    let error =
        "-ERR the answer is larger than 16777216 bytes; ask for less at once, or use SCAN\r\n";
    let mut many: Vec<&[u8]> = vec![b"short"; 34];
    many[0] = b"MGET";
    client.send(array(&many)).await;
    client.expect(error, "MGET").await;
    server.stop().await;
}

/// However much a client asks for without taking it, the server prepares only a little more than
/// what fits on the way.
#[tokio::test]
async fn what_a_client_does_not_take_is_not_read_from_the_store_yet() {
    const VALUES: usize = 8;
    const REQUESTS: usize = 24;
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    let mut writer = server.connect().await;
    let (old, new) = (vec![b'o'; MAX_VALUE], vec![b'n'; MAX_VALUE]);
    client.send(array(&[b"SET", b"k", &old])).await;
    client.expect("+OK\r\n", "SET").await;
    let mut request = vec![&b"MGET"[..]];
    request.resize(1 + VALUES, b"k");
    client.send(array(&request).repeat(REQUESTS)).await;
    let answer =
        |value| [format!("*{VALUES}\r\n").as_bytes(), &bulk(value).repeat(VALUES)].concat();
    client.expect(answer(&old), "the first MGET").await;
    writer.send(array(&[b"SET", b"k", &new])).await;
    writer.expect("+OK\r\n", "SET of another value").await;
    let (mut seen, lengths) = (Vec::new(), answer(&old).len());
    for _ in 1..REQUESTS {
        let mut bytes = vec![0; lengths];
        timeout(HANG, client.0.read_exact(&mut bytes)).await.unwrap().unwrap();
        seen.push(bytes == answer(&new));
    }
    assert_eq!(seen.last(), Some(&true), "all was prepared at once: {seen:?}");
    assert!(seen.is_sorted(), "no reply is older than the one before: {seen:?}");
    server.stop().await;
}

/// The old values of one command are limited, those of a pipeline are not.
#[tokio::test]
async fn a_pipeline_may_replace_as_many_large_values_as_it_likes() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    let value = vec![b'v'; MAX_VALUE];
    client.send(array(&[b"SET", b"k", &value])).await;
    client.expect("+OK\r\n", "SET").await;
    client.send(array(&[b"SET", b"k", b"w", b"NX", b"GET"]).repeat(40)).await;
    client.expect(bulk(&value).repeat(40), "40 times SET NX GET").await;
    server.stop().await;
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_an_error_and_the_connection_goes_on() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    let value = vec![b'x'; MAX_VALUE + 1];
    client.send(array(&[b"SET", b"k", &value])).await;
    let error = "-ERR an argument has 524289 bytes; keys and values may have at most 524288\r\n";
    client.expect(error, "SET").await;
    client.send(array(&[b"SET", b"k", &value[1..]])).await;
    client.expect("+OK\r\n", "SET of the largest value").await;
    let error = "-ERR string exceeds maximum allowed size (524288 bytes)\r\n";
    client.ask("APPEND k x", error).await;
    client.ask("STRLEN k", ":524288\r\n").await;
    server.stop().await;
}

#[tokio::test]
async fn malformed_input_closes_that_connection_only() {
    let server = TestServer::alone().await;
    let mut bystander = server.connect().await;
    bystander.ask("SET k v", "+OK\r\n").await;
    for (input, error) in [
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\nGET\r\n", "expected '$', got 'G'"),
        ("*x\r\n", "invalid multibulk length"),
        ("*1000000\r\n", "invalid multibulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$1000000000\r\n", "more than 4194304 bytes"),
        ("*1\r\n$4\r\nPING??", "expected CRLF behind a bulk string"),
        ("GET / HTTP/1.1\r\nHost: x\r\n", "this is not an HTTP server"),
    ] {
        let mut client = server.connect().await;
        // The requests before are answered as always.
        client.send([b"PING\r\n", input.as_bytes()].concat()).await;
        client.expect("+PONG\r\n", "PING").await;
        if input.starts_with("GET") {
            client.line().await;
        }
        client.expect(format!("-ERR Protocol error: {error}\r\n"), input).await;
        client.expect_end().await;
        bystander.ask("GET k", "$1\r\nv\r\n").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_can_still_read_why_it_was_cut_off() {
    let server = TestServer::alone().await;
    let client = server.connect().await;
    let (mut reader, mut writer) = client.0.into_split();
    let giant = 2 * MAX_REQUEST;
    let sending = tokio::spawn(async move {
        writer.write_all(format!("*1\r\n${giant}\r\n").as_bytes()).await.unwrap();
        // The server may close before all of it is sent.
        let _ = writer.write_all(&vec![b'x'; giant]).await;
        drop(writer);
    });
    let mut reply = Vec::new();
    timeout(HANG, reader.read_to_end(&mut reply)).await.unwrap().unwrap();
    assert_eq!(
        String::from_utf8(reply).unwrap(),
        "-ERR Protocol error: more than 4194304 bytes\r\n"
    );
    timeout(HANG, sending).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn without_a_quorum_every_request_gets_an_error_in_bounded_time() {
    let patience = Duration::from_millis(300);
    let server = TestServer::start(2, patience, 100).await;
    let mut client = server.connect().await;
    for request in ["SET k v", "GET k"] {
        let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        client.send(array(&words)).await;
        let reply = client.line().await;
        assert!(reply.starts_with("-CLUSTERDOWN "), "{request} got {reply}");
    }
    // A pipeline does not wait once for each of its requests, and still answers every one of them.
    let rounds = 1000;
    client.send("SET k v\r\nGET k\r\nPING\r\n".repeat(rounds)).await;
    for _ in 0..rounds {
        assert!(client.line().await.starts_with("-CLUSTERDOWN "));
        assert!(client.line().await.starts_with("-CLUSTERDOWN "));
        assert_eq!(client.line().await, "+PONG");
    }
    // What this node believes of the members may be out of date.
    client.send("RAFT.CHANGE REMOVE 9\r\n").await;
    let reply = client.line().await;
    assert!(reply.starts_with("-TRYAGAIN "), "nobody was asked: {reply}");
    client.send("INFO raft\r\n").await;
    assert!(client.line().await.starts_with('$'), "INFO needs no quorum");
    server.stop().await;
}

/// Behind a write of unknown outcome nothing is tried, however long the pipeline is.
#[tokio::test]
async fn the_first_failure_of_a_pipeline_is_the_only_one_that_is_waited_for() {
    const REQUESTS: usize = 5_000;
    let server = TestServer::start(2, Duration::from_millis(500), 100).await;
    let mut client = server.connect().await;
    // It is on its way as a whole long before the first request is given up.
    client
        .send("SET k v\r\n".repeat(REQUESTS) + "RAFT.MEMBERS LATEST\r\nRAFT.CHANGE REMOVE 9\r\n")
        .await;
    let mut tried = 0;
    for number in 0..REQUESTS + 2 {
        let reply = client.line().await;
        assert!(reply.starts_with("-CLUSTERDOWN "), "request {number} got {reply}");
        tried += usize::from(!reply.contains("a request before this one"));
    }
    assert!(tried <= 256, "{tried} requests were tried");
    // A later request is another pipeline.
    client.send("SET k v\r\n").await;
    let reply = client.line().await;
    assert!(!reply.contains("a request before this one"), "{reply}");
    // Orders count like any request.
    client.send("RAFT.MEMBERS LATEST\r\nSET k v\r\n").await;
    assert!(client.line().await.starts_with("-CLUSTERDOWN "));
    let reply = client.line().await;
    assert!(reply.contains("a request before this one"), "{reply}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_too_many_is_told_so() {
    let server = TestServer::start(0, HANG, 1).await;
    let mut first = server.connect().await;
    first.ask("PING", "+PONG\r\n").await;
    let mut second = server.connect().await;
    second.expect("-ERR max number of clients reached\r\n", "connecting").await;
    second.expect_end().await;
    first.ask("PING", "+PONG\r\n").await;
    server.stop().await;
}

#[tokio::test]
async fn stopping_closes_all_connections_and_frees_the_port() {
    let server = TestServer::alone().await;
    let mut client = server.connect().await;
    client.ask("SET k v", "+OK\r\n").await;
    let address = server.address;
    server.stop().await;
    client.expect_end().await;
    drop(StdListener::bind(address).unwrap());
}
