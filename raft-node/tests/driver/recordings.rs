//! What goes into the core of a node can be recorded and given to another core.

use std::fs;
use std::io::{self, ErrorKind};

use raft_node::core::{NodeId, Output, RoleKind};
use raft_node::recording::{self, Divergence, Recording, RecordingError, RecordingWriter};
use raft_node::{
    Beginning, Driver, Handle, NodeError, Recorder, RequestError, Settings, Step, Storage, blocking,
};

use crate::{Echo, bell, founded, run};

/// The life of a node in which a client is served, with these settings.
fn live(settings: &Settings, storage: Storage) -> Result<(), NodeError> {
    let (notify, rung) = bell();
    let driver = Driver::start(settings, storage, Echo, notify, drop)?;
    let handle = driver.blocking_handle();
    let running = run(driver, rung);
    serve(&handle).unwrap();
    handle.shutdown();
    running.join().unwrap();
    Ok(())
}

fn serve(handle: &blocking::Handle) -> Result<(), RequestError> {
    handle.wait_for_leadership(|now| now.leader.is_some())?;
    assert_eq!(handle.propose("a")?, "a");
    assert_eq!(handle.read("b")?, "b");
    handle.snapshot()
}

/// The recording of a short life of a node, as bytes.
fn sample() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let settings = founded(1, 1).record(recording::to_directory(directory.path(), 1 << 20));
    live(&settings, Storage::in_memory()).unwrap();
    fs::read(directory.path().join("node-1-1.recording")).unwrap()
}

fn read(mut bytes: &[u8]) -> Result<Recording, RecordingError> {
    Recording::read(&mut bytes)
}

#[test]
fn each_life_of_a_node_has_a_recording_and_a_bare_core_goes_the_same_way() {
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("recordings");
    let settings = founded(1, 1).record(recording::to_directory(&recordings, 1 << 20));
    for _ in 0..2 {
        live(&settings, Storage::open(directory.path().join("data")).unwrap()).unwrap();
    }
    let mut last = None;
    for life in 1..=2 {
        let path = recordings.join(format!("node-1-{life}.recording"));
        let recording = Recording::open(path).unwrap();
        assert_eq!(recording.version(), env!("CARGO_PKG_VERSION"));
        let begun_with = recording.beginning().restored.log.last;
        assert_eq!(last.replace(begun_with).is_some(), begun_with.get() > 0, "life {life}");
        let mut steps = 0;
        let raft = recording.replay_with(|_, _, _| steps += 1).unwrap();
        assert_eq!(steps, recording.steps().len());
        assert_eq!(raft.status().role, RoleKind::Leader);
        assert!(raft.status().commit > begun_with);
    }
}

#[test]
fn a_recording_without_its_end_is_one_up_to_there() {
    let bytes = sample();
    let whole = read(&bytes).unwrap();
    let mut fewest = usize::MAX;
    for len in (0..bytes.len()).rev().step_by(3) {
        match read(&bytes[..len]) {
            Ok(part) => {
                assert_eq!(part.steps(), &whole.steps()[..part.steps().len()]);
                part.replay().unwrap();
                assert!(part.steps().len() <= fewest);
                fewest = part.steps().len();
            }
            Err(RecordingError::Unknown | RecordingError::Damaged { record: 0 }) => {
                assert!(fewest == 0 || fewest == usize::MAX, "{len} bytes");
            }
            Err(error) => panic!("{len} bytes: {error}"),
        }
    }
    assert_eq!(fewest, 0);
}

#[test]
fn no_damage_to_a_recording_goes_unnoticed() {
    let bytes = sample();
    let whole = read(&bytes).unwrap().steps().len();
    for place in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x21;
        // A length that is too large looks like an end that is missing.
        assert!(read(&bytes).is_ok_and(|it| it.steps().len() < whole) || read(&bytes).is_err());
    }
}

#[test]
fn a_core_that_answers_something_else_is_noticed_at_that_step() {
    let recording = read(&sample()).unwrap();
    let odd = recording.steps().len() / 2;
    let mut bytes = Vec::new();
    let mut writer = RecordingWriter::new(&mut bytes, recording.beginning(), 1 << 20).unwrap();
    let mut number = 0;
    recording
        .replay_with(|step, outputs, _| {
            let mut outputs = outputs.to_vec();
            if number == odd {
                outputs.push(Output::Notice(raft_node::core::Notice::SnapshotWanted));
            }
            number += 1;
            let (at, events) = (step.at, step.events.clone());
            writer.record(Step { at, events, outputs }).unwrap();
        })
        .unwrap();
    let diverged = read(&bytes).unwrap().replay().unwrap_err();
    assert!(matches!(diverged, Divergence::Step { step, .. } if step == odd), "{diverged}");
}

#[test]
fn a_recording_ends_before_it_is_longer_than_it_may_be() {
    let most = sample().len() * 2 / 3;
    let directory = tempfile::tempdir().unwrap();
    let settings = founded(1, 1).record(recording::to_directory(directory.path(), most as u64));
    live(&settings, Storage::in_memory()).unwrap();
    let bytes = fs::read(directory.path().join("node-1-1.recording")).unwrap();
    assert!(bytes.len() <= most && !read(&bytes).unwrap().steps().is_empty());
    read(&bytes).unwrap().replay().unwrap();
}

/// A recorder that comes to nothing.
enum Useless {
    Failing,
    Panicking,
}

impl Recorder for Useless {
    fn record(&mut self, _: Step) -> io::Result<()> {
        match self {
            Self::Failing => Err(ErrorKind::StorageFull.into()),
            Self::Panicking => panic!("a recorder that is broken"),
        }
    }
}

#[test]
fn a_node_goes_on_without_its_recorder() {
    live(&founded(1, 1).record(|_| Ok(Box::new(Useless::Failing))), Storage::in_memory()).unwrap();
    live(&founded(1, 1).record(|_| Ok(Box::new(Useless::Panicking))), Storage::in_memory())
        .unwrap();
}

#[test]
fn a_node_whose_recorder_can_not_begin_does_not_start() {
    let refuse = |_: &Beginning| Err(ErrorKind::PermissionDenied.into());
    let error = live(&founded(1, 1).record(refuse), Storage::in_memory()).unwrap_err();
    assert!(matches!(error, NodeError::Recorder(_)), "{error}");
    let elsewhere = Settings::new(NodeId::new(1)).record(recording::to_directory("/dev/null", 1));
    assert!(matches!(live(&elsewhere, Storage::in_memory()), Err(NodeError::Recorder(_))));
}

#[test]
fn a_recorder_that_panics_as_it_begins_is_an_error_and_leaves_the_storage_free() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || Storage::open(directory.path()).unwrap();
    let panics = founded(1, 1).record(|_| panic!("no recorder today"));
    let error = live(&panics, storage()).unwrap_err();
    assert!(matches!(&error, NodeError::Recorder(why) if why.to_string().contains("no recorder")));
    live(&founded(1, 1), storage()).unwrap();
}

#[test]
fn a_recorder_that_does_not_keep_up_holds_nobody_up() {
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Recorder for Stuck {
        fn record(&mut self, _: Step) -> io::Result<()> {
            // It returns when the test drops the other end.
            let _ = self.0.recv();
            Ok(())
        }
    }
    let (free, stuck) = std::sync::mpsc::channel();
    let stuck = std::sync::Mutex::new(Some(stuck));
    let settings = founded(1, 1).record(move |_| {
        let stuck = stuck.lock().unwrap().take().ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(Stuck(stuck)))
    });
    let (notify, rung) = bell();
    let driver = Driver::start(&settings, Storage::in_memory(), Echo, notify, drop).unwrap();
    let handle = driver.blocking_handle();
    let running = run(driver, rung);
    handle.wait_for_leadership(|now| now.leader.is_some()).unwrap();
    let task = Handle::from(&handle);
    for _ in 0..1500 {
        assert_eq!(futures_executor::block_on(task.propose("a")).unwrap(), "a");
    }
    drop(free);
    handle.shutdown();
    running.join().unwrap();
}
