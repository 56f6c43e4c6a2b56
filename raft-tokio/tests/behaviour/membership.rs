//! Nodes that are added and removed over TCP, and storages that are not what they should be.

use std::time::Duration;

use raft_node::core::{Membership, NodeId, Refusal};
use raft_node::{LinkError, Storage};
use raft_tokio::{Handle, Node, NodeError, RequestError, Settings};
use tokio::time;

use crate::cluster::{
    Counter, Place, cluster, eventually, follower, in_agreement, in_time, leader, places, propose,
    read, reign,
};
use crate::load::Clients;
use crate::peers::{closed, in_the_name_of, say};

const ELECTION: Duration = Duration::from_millis(500);

/// Changes the members until that is done; each try begins with what the node knows.
async fn change(handle: &Handle, to: impl Fn(Membership) -> Membership) {
    let attempts = async {
        loop {
            let members = Membership::clone(&handle.membership());
            match handle.change_membership(to(members.clone()), Some(members)).await {
                Ok(()) => return,
                Err(RequestError::Refused { reason, .. }) if reason != Refusal::NoVoters => {
                    time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    in_time("a change of membership", attempts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_being_added_and_needs_no_list_of_the_others() {
    let mut places = cluster(3, ELECTION).await;
    let handles: Vec<_> = places.iter().map(Place::handle).collect();
    let clients =
        Clients::start(20, &handles, |handle| async move { handle.propose("count").await });
    let mut newcomer = Place::newcomer(4, ELECTION);
    newcomer.start().await;
    let (id, address) = (newcomer.settings.id(), newcomer.address.clone());
    change(&handles[0], |members| members.voter(id, address.as_str())).await;
    clients.stop().await;
    let count = read(&newcomer.handle()).await;
    assert_eq!(read(&handles[0]).await, count);
    assert!(newcomer.handle().membership().is_voter(id));
    assert_eq!(propose(&newcomer.handle()).await, count + 1);

    // It finds the others again after a restart, by what its log says.
    newcomer.stop().await;
    newcomer.start().await;
    assert_eq!(propose(&newcomer.handle()).await, count + 2);

    // And it counts: with one of the founders away, three of four go on.
    places.push(newcomer);
    let first = leader(&places).await;
    places[first].kill().await;
    let second = leader(&places).await;
    assert_eq!(propose(&places[second].handle()).await, count + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_removed_is_told_so_and_disturbs_nobody() {
    let mut places = cluster(4, ELECTION).await;
    let first = leader(&places).await;
    let removed = follower(&places, first);
    let id = places[removed].settings.id();
    change(&places[first].handle(), |members| members.without(id)).await;
    let gone = places.remove(removed);
    for place in &places {
        let handle = place.handle();
        let gone = handle.wait_for_membership(|members| !members.contains(id));
        in_time("the news", gone).await.unwrap();
    }
    let before = reign(&places).await;
    for place in &places {
        let mut link = in_the_name_of(&gone, place.settings.id().get());
        let answer = closed(say(&place.address, &link.hello()).await).await;
        assert_eq!(link.receive(&answer), Err(LinkError::NotAMember));
    }
    time::sleep(ELECTION * 4).await;
    assert_eq!(reign(&places).await, before);
    propose(&places[0].handle()).await;
}

/// R031, R072: it has forgotten what it promised, so it must not vote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_without_its_disk_is_refused_with_the_reason() {
    let mut places = cluster(3, ELECTION).await;
    let count = propose(&places[0].handle()).await;
    let first = leader(&places).await;
    let wiped = follower(&places, first);
    places[wiped].stop().await;
    places[wiped].wipe();
    places[wiped].start().await;
    let others: Vec<usize> = (0..3).filter(|nth| *nth != wiped).collect();
    for other in &others {
        let to = &places[*other];
        let mut link = in_the_name_of(&places[wiped], to.settings.id().get());
        let answer = closed(say(&to.address, &link.hello()).await).await;
        assert_eq!(link.receive(&answer), Err(LinkError::OtherStorage));
    }
    time::sleep(ELECTION * 4).await;
    let status = places[wiped].status().await;
    assert_eq!((status.leader, status.last.get()), (None, 0), "nobody speaks to it");
    assert_eq!(propose(&places[others[0]].handle()).await, count + 1);

    // What mends it: another node, with a name that was never used.
    let lost = places[wiped].settings.id();
    places[wiped].stop().await;
    let mut newcomer = Place::newcomer(4, ELECTION);
    newcomer.start().await;
    let (id, address) = (newcomer.settings.id(), newcomer.address.clone());
    change(&places[others[0]].handle(), |members| {
        members.without(lost).voter(id, address.as_str())
    })
    .await;
    assert_eq!(read(&newcomer.handle()).await, count + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_start_on_the_storage_of_another_one() {
    let mut places = cluster(3, ELECTION).await;
    places[0].stop().await;
    places[1].stop().await;
    let swapped =
        Node::start(places[0].settings.clone(), places[1].storage(), Counter::default()).await;
    match swapped.unwrap_err() {
        NodeError::OtherNode { node, .. } => assert_eq!(node, places[1].settings.id()),
        other => panic!("{other:?}"),
    }
    // Nothing has become of either.
    places[0].start().await;
    places[1].start().await;
    propose(&places[0].handle()).await;
    in_agreement(&places).await;
}

/// U21: the list of founders is for the first start; afterwards the log knows better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founding_again_is_harmless() {
    let mut places = cluster(3, ELECTION).await;
    let mut newcomer = Place::newcomer(4, ELECTION);
    newcomer.start().await;
    let (id, address) = (newcomer.settings.id(), newcomer.address.clone());
    change(&places[0].handle(), |members| members.voter(id, address.as_str())).await;
    places.push(newcomer);
    let count = propose(&places[0].handle()).await;
    for place in &mut places {
        // The same list again, and the others' log knows of four.
        place.stop().await;
        place.start().await;
        eventually("it knows of four members", || async {
            place.status().await.membership.voters().len() == 4
        })
        .await;
    }
    assert_eq!(propose(&places[0].handle()).await, count + 1);

    // No list at all is as good, and another one is refused.
    places[0].stop().await;
    let bare =
        Settings::new(NodeId::new(1)).election_timeout(ELECTION).listen(places[0].address.clone());
    let other = places[0].settings.clone().peer(NodeId::new(9), "127.0.0.1:1");
    let refused = Node::start(other, places[0].storage(), Counter::default()).await;
    assert!(matches!(refused, Err(NodeError::OtherFounders)));
    places[0].settings = bare;
    places[0].start().await;
    assert_eq!(propose(&places[0].handle()).await, count + 2);
}

#[tokio::test]
async fn a_node_that_is_not_among_its_founders_does_not_start() {
    let place = places(2, ELECTION).remove(0);
    let settings = Settings::new(NodeId::new(7))
        .peer(NodeId::new(1), place.address.clone())
        .listen(place.address);
    let refused = Node::start(settings, Storage::in_memory(), Counter::default()).await;
    assert!(matches!(refused, Err(NodeError::NotAFounder { id }) if id == NodeId::new(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent() {
    let places = cluster(3, ELECTION).await;
    for place in &places {
        let id = place.settings.id();
        eventually("the leadership is handed over", || async {
            places[0].handle().transfer_leadership(Some(id)).await == Ok(id)
        })
        .await;
        propose(&place.handle()).await;
    }
    let nobody = places[0].handle().transfer_leadership(Some(NodeId::new(9))).await;
    assert!(
        matches!(nobody, Err(RequestError::Refused { reason: Refusal::NoSuchVoter, .. })),
        "{nobody:?}"
    );
}
