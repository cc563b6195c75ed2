//! How long a call may take: without a person to ask it has 20 seconds from its arrival, its questions to polkit and
//! its work together, so that it is answered before D-Bus's 25 seconds are over.

use std::time::Duration;

use tokio::time::Instant;
use zbus::OwnedObjectPath;

use crate::callers::{DOMAIN_XML, People};
use crate::common::{GuestXml, World, assert_error, eventually, world};

/// Within it a call without an answer so far is answered.
const IN_TIME: std::ops::Range<f32> = 19.0..24.5;

/// polkitd stands still for 22 seconds, as one does that starts on a machine that has just booted.
#[test]
fn a_polkit_that_is_slow_is_waited_for_as_long_as_a_call_may_take() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        world.write("slow", "#!/bin/sh\nsleep 12\n");
        let nic = "<interface type='ethernet'><script path='/run/w/slow'/></interface>";
        let slow = GuestXml::new("slow").diskless().with(nic).to_string();
        let slow = people.ruled.define_domain(&slow).await.expect("a rule lets her");
        people.polkit.signal(&world, "STOP");
        let begun = Instant::now();
        let after = async |seconds: f32| {
            tokio::time::sleep_until(begun + Duration::from_secs_f32(seconds)).await;
            Instant::now()
        };

        let given_up = async {
            let answer = guest.ask::<String>("GetXml").await;
            (answer, begun.elapsed().as_secs_f32())
        };
        let waited_for = async {
            after(14.0).await;
            guest.ask::<String>("GetXml").await
        };
        // Of its 20 seconds polkit takes 12, and its start 12 more: it goes on as a job.
        let goes_on = async {
            let called = after(10.0).await;
            let job = slow.ask::<OwnedObjectPath>("Start").await;
            (job, called.elapsed().as_secs_f32())
        };
        let roots = async {
            after(5.0).await;
            let called = Instant::now();
            guest.seen_by(&people.root).ask::<String>("GetXml").await.expect("root is not asked about");
            called.elapsed().as_secs_f32()
        };
        let ends = async {
            after(22.0).await;
            people.polkit.signal(&world, "CONT");
        };
        let (given_up, waited_for, goes_on, roots, ()) =
            tokio::join!(given_up, waited_for, goes_on, roots, ends);
        assert_error(given_up.0, "Timeout", &["polkit", "domain.manage-own", "20 seconds", "try again"]);
        assert!(IN_TIME.contains(&given_up.1), "refused after {} s", given_up.1);
        waited_for.expect("polkit answers after 8 seconds");
        assert!(
            goes_on.0.expect("it is not refused").as_str().contains("/job/"),
            "the start is not waited for"
        );
        assert!(IN_TIME.contains(&goes_on.1), "a job after {} s", goes_on.1);
        assert!(roots < 5.0, "root's call took {roots} s");
        eventually("the job ends", Duration::from_secs(30), async || {
            (slow.state().await == "running").then_some(())
        })
        .await;
    });
}
