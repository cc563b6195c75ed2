//! The service runs out of descriptors: whoever asks for one is told so by a name of the contract.

use crate::common::{GuestXml, Service, World, assert_error, world};

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
