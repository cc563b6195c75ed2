//! The service runs out of descriptors: whoever asks for one is told so by a name of the contract.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::common::{ALICE, Client, GuestXml, Service, World, assert_error, world};

/// Lets the service open so many descriptors more.
fn leave(world: &World, room: u32) {
    world.sh(&format!(
        "pid=$(pgrep -x warrend); limit=0; free=0
         while [ $free -le {room} ]; do
             [ -e /proc/$pid/fd/$limit ] || free=$((free + 1))
             limit=$((limit + 1))
         done
         prlimit --nofile=$((limit - 1)): --pid $pid"
    ));
}

/// Closing one takes as long as this, for whoever has it last.
const LINGERS: Duration = Duration::from_secs(60);
/// What others may wait meanwhile, on a machine that is busy.
const WAITS: Duration = Duration::from_secs(10);

/// A connection whose peer never reads what it was sent; and the peer.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback is there");
    let mut ours = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let theirs = listener.accept().expect("somebody has connected").0;
    ours.set_nonblocking(true).expect("a socket");
    while ours.write(&[0; 65_536]).is_ok() {}
    set_socket_linger(&ours, Some(LINGERS)).expect("a socket");
    (ours, theirs)
}

async fn answers_soon(client: &Client, after: &str) {
    let asked = Instant::now();
    client.manager_property("Version").await;
    assert!(asked.elapsed() < WAITS, "{after} it has taken {:?}", asked.elapsed());
}

#[test]
fn what_takes_long_to_close_holds_nobody_up() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let guest = GuestXml::new("guest").diskless().to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        guest.start().await;
        let console = guest.ask::<zbus::OwnedFd>("OpenConsole").await.expect("it has one");
        let (ours, _theirs) = lingering();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [ours.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let sent = sendmsg(&console, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL);
        set_socket_linger(&ours, None).expect("a socket");
        assert_eq!(sent, Err(rustix::io::Errno::PERM), "a console takes no descriptors");
        answers_soon(&service.client, "after a console's input").await;
        let mut console = std::fs::File::from(std::os::fd::OwnedFd::from(console));
        console.write_all(b"y").expect("it takes bytes");

        guest.stop().await;
        assert!(service.daemon.terminate(&world).await.success());

        // Its bus lets them through. The service is the last to have it, since it gets it late.
        let session = Service::session(&world, ALICE.uid).await;
        let (ours, _theirs) = lingering();
        world.sh("kill -STOP $(pgrep -x warrend)");
        let client = session.bus.connect(ALICE.uid).await;
        let ping = zbus::message::Message::method_call("/org/warren1", "Ping");
        let ping = ping.destination("org.warren1").interface("org.freedesktop.DBus.Peer");
        let ping = ping.build(&zbus::Fd::from(std::os::fd::OwnedFd::from(ours))).expect("a call");
        client.post(&ping).await;
        // The bus hands it on.
        client.names().await;
        drop(ping);
        world.sh("kill -CONT $(pgrep -x warrend)");
        answers_soon(&session.client, "after a call").await;
    });
}

#[test]
fn no_room_for_a_descriptor_is_a_limit() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let graphics = "<graphics type='vnc'/>";
        let guest = GuestXml::new("guest").diskless().with(graphics).to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        guest.start().await;
        for method in ["OpenConsole", "OpenGraphics"] {
            let mut refused = 0;
            // A pair of sockets, and one of them again for the message.
            for room in 0..5 {
                leave(&world, room);
                let answer = guest.ask::<zbus::OwnedFd>(method).await;
                world.sh("prlimit --nofile=1024: --pid $(pgrep -x warrend)");
                if answer.is_err() {
                    refused += 1;
                    assert_error(answer, "LimitExceeded", &[]);
                }
            }
            assert!((1..5).contains(&refused), "{method} was refused {refused} times of 5");
        }
    });
}
