//! The cluster and what happens to it.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::process::free_address;
use raft_node::core::{Membership, NodeId};
use tempfile::TempDir;

use crate::chip::{Chip, number};
use crate::client::{Acknowledged, Answer, Client, Journal, Writers, counter};
use crate::gateway;

/// The chip's number. The servers have those before it.
const CHIP: u64 = 3;
const RUNTIMES: [&str; 2] = ["tokio", "sync"];
const WRITERS: u32 = 3;
/// How long the cluster may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// So many new writes show that the cluster goes on.
const SOME: usize = 20;

/// A server of the cluster. Dropping it kills it.
struct Server {
    process: Option<Child>,
    client: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that has ended by itself can't be killed any more.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

struct Cluster {
    program: PathBuf,
    directory: TempDir,
    peers: Vec<String>,
    servers: Vec<Server>,
    chip: Chip,
    journal: Journal,
    random: fastrand::Rng,
}

/// Runs the cluster, and all that happens to it.
pub(crate) fn run(firmware: &Path, program: &Path, seed: u64) -> io::Result<()> {
    let begun = Instant::now();
    let mut cluster = Cluster::found(firmware, program, seed)?;
    cluster.wait("a leader", |cluster| Ok(cluster.leader().is_some()))?;
    let clients: Vec<String> = cluster.servers.iter().map(|it| it.client.clone()).collect();
    let writers = Writers::start(WRITERS, &clients, &cluster.journal);
    cluster.goes_on("the start")?;
    let played = cluster.play();
    let stopped = writers.stop();
    played.and(stopped)?;
    let acknowledged = cluster.verify()?;
    let took = begun.elapsed();
    println!("{acknowledged} writes, none lost and none applied twice, in {took:.0?}");
    println!("1 passed, 0 failed");
    Ok(())
}

impl Cluster {
    fn found(firmware: &Path, program: &Path, seed: u64) -> io::Result<Self> {
        let directory = TempDir::new()?;
        let mut random = fastrand::Rng::with_seed(seed);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let peers = vec![free_address(), free_address(), listener.local_addr()?.to_string()];
        gateway::start(UnixListener::bind(directory.path().join("line"))?, listener);
        let founders = (1..).zip(&peers).fold(Membership::new(), |members, (id, address)| {
            members.voter(NodeId::new(id), address)
        });
        let (id, storage) = (NodeId::new(CHIP), random.u64(..));
        let chip = Chip::provision(firmware, directory.path(), id, founders, storage)?;
        let mut servers = Vec::new();
        for _ in RUNTIMES {
            servers.push(Server { process: None, client: free_address() });
        }
        let (program, journal) = (program.to_owned(), Journal::default());
        let mut cluster = Self { program, directory, peers, servers, chip, journal, random };
        cluster.chip.power_on()?;
        cluster.start(1)?;
        cluster.start(2)?;
        Ok(cluster)
    }

    /// What happens. After each thing the cluster goes on.
    fn play(&mut self) -> io::Result<()> {
        self.told("reset the chip from outside", |cluster| cluster.chip.reset())?;
        let victim = self.random.u64(1..=2);
        self.told("kill a server: the chip is needed for each write", |cluster| {
            cluster.kill(victim);
            Ok(())
        })?;
        self.told("start it again", |cluster| cluster.start(victim))?;
        self.chip_leads()?;
        self.told("reset the chip, which leads, from inside", |cluster| cluster.chip.say("reset"))?;
        self.chip_leads()?;
        self.told("cut the power of the chip, which leads", |cluster| {
            cluster.chip.power_off();
            cluster.goes_on("losing the chip")?;
            cluster.chip.power_on()
        })?;
        for _ in 0..4 {
            let pause = Duration::from_millis(self.random.u64(..1500));
            thread::sleep(pause);
            match self.random.u8(..4) {
                0 => self.told("reset the chip", |cluster| cluster.chip.reset())?,
                1 => self.chip_leads()?,
                2 => self.told("cut the power of the chip for a moment", |cluster| {
                    cluster.chip.power_off();
                    cluster.chip.power_on()
                })?,
                _ => self.told("kill a server and start it again", |cluster| {
                    let victim = cluster.random.u64(1..=2);
                    cluster.kill(victim);
                    cluster.start(victim)
                })?,
            }
        }
        self.chip_serves_a_snapshot()
    }

    /// A server is away until the chip's log begins with a snapshot that the server lacks, and gets it
    /// from the chip, which leads.
    fn chip_serves_a_snapshot(&mut self) -> io::Result<()> {
        let (away, other) = if self.random.bool() { (1, 2) } else { (2, 1) };
        let mut attempts = 3;
        while !self.serves_a_snapshot_to(away)? {
            attempts -= 1;
            if attempts == 0 {
                return Err(io::Error::other("the chip did not send its snapshot"));
            }
        }
        self.told("kill the other server: the one that was away is needed", |cluster| {
            cluster.kill(other);
            Ok(())
        })?;
        self.told("start it again", |cluster| cluster.start(other))
    }

    /// Whether the chip has sent its snapshot before it ceased to lead.
    fn serves_a_snapshot_to(&mut self, away: u64) -> io::Result<bool> {
        self.told("kill a server for longer", |cluster| {
            cluster.kill(away);
            Ok(())
        })?;
        let missed = number(&self.chip.status()?, "last");
        println!("wait until the leader has cut the chip's log by a snapshot");
        self.wait(
            "a snapshot",
            |cluster| Ok(number(&cluster.chip.status()?, "snapshot") > missed),
        )?;
        self.chip_leads()?;
        let before = number(&self.chip.status()?, "served");
        self.told("start the server again", |cluster| cluster.start(away))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE / 4 {
            let after = self.chip.status()?;
            if number(&after, "served") > before {
                return Ok(true);
            }
            if !after.contains("role=Leader") {
                break;
            }
            thread::sleep(POLL);
        }
        Ok(false)
    }

    fn told(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        println!("{what}");
        act(self)?;
        self.goes_on(what)
    }

    /// Waits for some writes that were begun after now.
    fn goes_on(&mut self, what: &str) -> io::Result<()> {
        let since = Instant::now();
        self.wait(&format!("some writes after: {what}"), |cluster| {
            Ok(cluster.journal.since(since) >= SOME)
        })?;
        println!("  {SOME} writes went on, {:.1?} later", since.elapsed());
        Ok(())
    }

    /// Hands the leadership to the chip, and waits for writes that were made while it led.
    fn chip_leads(&mut self) -> io::Result<()> {
        println!("hand over to the chip");
        self.wait("writes while the chip leads", |cluster| {
            if !cluster.transfer()? {
                return Ok(false);
            }
            let before = cluster.chip.status()?;
            let (since, term) = (Instant::now(), number(&before, "term"));
            while since.elapsed() < PATIENCE / 4 {
                if cluster.journal.since(since) >= SOME {
                    let after = cluster.chip.status()?;
                    let led = |status: &str| status.contains("role=Leader");
                    return Ok(led(&before) && led(&after) && number(&after, "term") == term);
                }
                thread::sleep(POLL);
            }
            Ok(false)
        })?;
        println!("  {SOME} writes while the chip led");
        Ok(())
    }

    fn transfer(&mut self) -> io::Result<bool> {
        let id = CHIP.to_string();
        let ask =
            |address: &str| Client::connect(address)?.call(&[b"RAFT.TRANSFER", id.as_bytes()]);
        for server in self.servers.iter().filter(|server| server.process.is_some()) {
            match ask(&server.client) {
                Ok(Answer::Text(leader)) if leader == id => return Ok(true),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(false)
    }

    fn start(&mut self, id: u64) -> io::Result<()> {
        let place = id as usize - 1;
        let (Some(server), Some(runtime)) = (self.servers.get_mut(place), RUNTIMES.get(place))
        else {
            return Err(io::Error::other("there is no such server"));
        };
        let mut command = Command::new(&self.program);
        command.args(["serve", "--id", &id.to_string(), "--runtime", runtime]);
        for (id, address) in (1..).zip(&self.peers) {
            command.args(["--peer", &format!("{id}={address}")]);
        }
        command
            .args(["--client", &server.client, "--election-timeout", "1500ms"])
            .args(["--message-kib", "8", "--snapshot-entries", "200", "--log-margin", "50"])
            .args(["--log-level", "warn", "--exit-with-stdin", "--data-dir"])
            .arg(self.directory.path().join(format!("node-{id}")))
            .stdin(Stdio::piped());
        server.process = Some(command.spawn()?);
        Ok(())
    }

    fn kill(&mut self, id: u64) {
        if let Some(server) = self.servers.get_mut(id as usize - 1) {
            server.kill();
        }
    }

    fn leader(&self) -> Option<String> {
        self.servers.iter().find_map(|server| {
            let report = Client::connect(&server.client).ok()?.call(&[b"RAFT.MEMBERS"]).ok()?;
            let Answer::Bulk(Some(text)) = report else { return None };
            let text = String::from_utf8(text).ok()?;
            let leader = text.lines().find_map(|line| line.strip_prefix("leader:"))?;
            (leader.parse() != Ok(0_u64) && leader.parse::<u64>().is_ok())
                .then(|| leader.to_owned())
        })
    }

    fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> io::Result<bool>,
    ) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if holds(self)? {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(io::Error::other(format!("{what}: waited for {PATIENCE:?}")))
    }

    /// Reads every acknowledged write back from every server, and the counts of all writers.
    fn verify(&mut self) -> io::Result<usize> {
        let all = self.journal.all();
        let clients: Vec<String> = self.servers.iter().map(|it| it.client.clone()).collect();
        for address in &clients {
            for part in all.chunks(100) {
                let keys = part.iter().map(|one| one.key()).collect();
                let values: Vec<String> = part.iter().map(|one| one.value()).collect();
                if self.read(address, keys)? != values {
                    return Err(io::Error::other(format!("a write is lost at {address}")));
                }
            }
            let counters = (0..WRITERS).map(counter).collect();
            let made =
                |writer| all.iter().filter(|one: &&Acknowledged| one.writer == writer).count();
            let counts: Vec<String> = (0..WRITERS).map(|it| made(it).to_string()).collect();
            let found = self.read(address, counters)?;
            if found != counts {
                let what = format!("{counts:?} writes, counted {found:?} at {address}");
                return Err(io::Error::other(what));
            }
        }
        self.wait("the chip applies everything", |cluster| {
            let status = cluster.chip.status()?;
            Ok(number(&status, "applied") > 0
                && number(&status, "applied") == number(&status, "commit"))
        })?;
        Ok(all.len())
    }

    /// Reads keys at one server, linearizably.
    fn read(&mut self, address: &str, keys: Vec<String>) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        self.wait("reading back", |_| {
            let words: Vec<&[u8]> =
                [&b"MGET"[..]].into_iter().chain(keys.iter().map(|key| key.as_bytes())).collect();
            let Ok(Answer::List(values)) =
                Client::connect(address).and_then(|mut it| it.call(&words))
            else {
                return Ok(false);
            };
            let text = |value: Answer| match value {
                Answer::Bulk(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            };
            found = values.into_iter().map(text).collect();
            Ok(true)
        })?;
        Ok(found)
    }
}
