//! The rules of forwarding against a model of the kernel.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A host as its kernel behaves, as far as the rules need it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    v4: Side,
    v6: Side,
    redirects: String,
    /// By index.
    accept_ra: BTreeMap<u32, String>,
    /// Those that have routes from advertisements.
    advertised: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    on: bool,
    default_on: bool,
    links: BTreeMap<u32, bool>,
}

fn name(index: u32) -> String {
    format!("eth{index}")
}

impl Host {
    fn new(links: u32) -> Self {
        let links: BTreeMap<u32, bool> = (1..=links).map(|index| (index, false)).collect();
        let side = Side { on: false, default_on: false, links: links.clone() };
        let accept_ra = links.keys().map(|index| (*index, HOST.to_owned())).collect();
        Self { v4: side.clone(), v6: side, redirects: "1".into(), accept_ra, advertised: vec![1] }
    }

    fn side(&mut self, family: Family) -> &mut Side {
        if family == Family::V4 { &mut self.v4 } else { &mut self.v6 }
    }

    fn now(&mut self, family: Family) -> Now {
        let (accept_ra, advertised) = (self.accept_ra.clone(), self.advertised.clone());
        let redirects = (family == Family::V4).then(|| self.redirects.clone());
        let side = self.side(family);
        let link = |(index, forwards): (&u32, &bool)| LinkNow {
            interface: Interface { index: *index, name: name(*index) },
            forwards: *forwards,
            accept_ra: (family == Family::V6).then(|| accept_ra[index].clone()),
            is_advertised: family == Family::V6 && advertised.contains(index),
        };
        Now {
            on: side.on,
            default_on: side.default_on,
            accept_redirects: redirects,
            links: side.links.iter().map(link).collect(),
        }
    }

    fn switch(&mut self, family: Family, on: bool) {
        let side = self.side(family);
        if side.on == on {
            return;
        }
        (side.on, side.default_on) = (on, on);
        side.links.values_mut().for_each(|forwards| *forwards = on);
        match family {
            Family::V4 => self.redirects = if on { "0" } else { "1" }.to_owned(),
            Family::V6 if on => self.advertised.retain(|index| self.accept_ra[index] == ALWAYS),
            Family::V6 => {}
        }
    }

    fn write(&mut self, setting: &Setting) {
        for family in Family::ALL {
            if setting.key == family.switch() {
                return self.switch(family, setting.value == "1");
            }
            if setting.key == family.forwarding_of("default") {
                self.side(family).default_on = setting.value == "1";
                return;
            }
        }
        if setting.key == ACCEPT_REDIRECTS {
            self.redirects.clone_from(&setting.value);
            return;
        }
        let indices: Vec<u32> = self.accept_ra.keys().copied().collect();
        for index in indices {
            if setting.key == accept_ra(&name(index)) {
                self.accept_ra.insert(index, setting.value.clone());
                return;
            }
            for family in Family::ALL {
                if setting.key == family.forwarding_of(&name(index)) {
                    self.side(family).links.insert(index, setting.value == "1");
                    return;
                }
            }
        }
        panic!("no such setting: {setting:?}");
    }

    /// `kill` after so many of the settings.
    fn raise(&mut self, record: &mut Record, family: Family, kill: usize) {
        let now = self.now(family);
        let settings = record.raise(family, &now);
        settings.iter().take(kill).for_each(|setting| self.write(setting));
    }

    fn lower(&mut self, record: &mut Record, family: Family) {
        let now = self.now(family);
        record.lower(family, &now);
        let pending = std::mem::take(&mut record.pending);
        pending.iter().for_each(|setting| self.write(setting));
    }
}

const ALL: usize = usize::MAX;

#[test]
fn a_host_with_advertised_routes_keeps_them() {
    let mut host = Host::new(2);
    let (before, mut record) = (host.clone(), Record::default());
    host.raise(&mut record, Family::V6, ALL);
    assert!(host.v6.on && host.advertised == [1]);
    assert_eq!((host.accept_ra[&1].as_str(), host.accept_ra[&2].as_str()), (ALWAYS, HOST));
    assert_eq!(record.advertised(&host.now(Family::V6)), [name(1)]);
    host.lower(&mut record, Family::V6);
    assert_eq!((&host, record), (&before, Record::default()));
}

#[test]
fn forwarding_of_others_is_not_touched() {
    let mut host = Host::new(1);
    host.advertised.clear();
    host.switch(Family::V6, true);
    let (before, mut record) = (host.clone(), Record::default());
    host.raise(&mut record, Family::V6, ALL);
    host.lower(&mut record, Family::V6);
    assert_eq!((&host, &record), (&before, &Record::default()));

    // On at boot, off by somebody for a while: the routes stay because accept_ra does.
    host.switch(Family::V6, false);
    host.advertised = vec![1];
    record.at_boot = OfFamilies::new(false, true);
    host.raise(&mut record, Family::V6, ALL);
    host.lower(&mut record, Family::V6);
    assert!(host.v6.on && host.advertised == [1] && host.accept_ra[&1] == ALWAYS);
}

#[test]
fn what_an_administrator_changed_meanwhile_stays() {
    let mut host = Host::new(2);
    let mut record = Record::default();
    host.raise(&mut record, Family::V6, ALL);
    host.accept_ra.insert(1, "0".into());
    host.switch(Family::V6, false);
    host.lower(&mut record, Family::V6);
    assert!(!host.v6.on && host.accept_ra[&1] == "0");

    // Settings that were loaded again are changed again, for the next network.
    let mut host = Host::new(1);
    host.raise(&mut record, Family::V6, ALL);
    host.accept_ra.insert(1, HOST.into());
    host.switch(Family::V6, false);
    host.raise(&mut record, Family::V6, ALL);
    assert!(host.v6.on && host.advertised == [1]);
    host.lower(&mut record, Family::V6);
    assert_eq!(host, Host::new(1));
}

#[test]
fn an_interface_that_took_a_name_is_another_one() {
    let mut host = Host::new(1);
    let mut record = Record::default();
    host.raise(&mut record, Family::V6, ALL);
    record.accept_ra[0].index = 7;
    host.lower(&mut record, Family::V6);
    assert_eq!(host.accept_ra[&1], ALWAYS);
}

proptest! {
    /// Whatever forwards by itself, and wherever a daemon is killed: nothing stays changed, and no route is lost.
    #[test]
    fn all_is_restored(
        forwards in prop::collection::vec(any::<(bool, bool, bool)>(), 3),
        defaults in any::<(bool, bool)>(),
        redirects in any::<bool>(),
        kill in 0..8_usize,
    ) {
        let mut host = Host::new(3);
        for (index, (v4, v6, advertised)) in (1..).zip(forwards) {
            host.v4.links.insert(index, v4);
            host.v6.links.insert(index, v6);
            host.advertised.retain(|known| *known != index);
            if advertised {
                host.advertised.push(index);
            }
        }
        (host.v4.default_on, host.v6.default_on) = defaults;
        host.redirects = u8::from(redirects).to_string();
        let (before, mut record) = (host.clone(), Record::default());
        for family in Family::ALL {
            host.raise(&mut record, family, kill);
            // Of the next daemon, which finds no network.
            let text = serde_json::to_vec(&record).unwrap();
            record = serde_json::from_slice(&text).unwrap();
            host.lower(&mut record, family);
            prop_assert_eq!(&host, &before);
            // And a restore that is killed is done to its end by the next one.
            host.raise(&mut record, family, ALL);
            let now = host.now(family);
            record.lower(family, &now);
            record.pending.iter().take(kill).for_each(|setting| host.write(setting));
            record.pending.drain(..).for_each(|setting| host.write(&setting));
            prop_assert_eq!(&host, &before);
        }
    }
}
