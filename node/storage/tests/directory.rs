//! The data directory: whose it is, for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use steadfast_storage::directory::{Directory, DirectoryError, Identity};
use steadfast_storage::disk::{CrashLoss, Disk, SimulatedDisk};
use uuid::Uuid;

const DIR: &str = "data/one";

fn open(disk: &SimulatedDisk) -> Result<Directory, DirectoryError> {
    Directory::open(Arc::new(disk.clone()), Path::new(DIR))
}

fn identity() -> Identity {
    Identity {
        cluster_name: "orders of Zürich".into(),
        node_id: 2,
        node_uuid: Uuid::from_u128(0x1234_5678),
        initial_members: BTreeMap::from([(1, "a:7234".to_owned()), (2, "[::1]:7234".to_owned())]),
    }
}

#[test]
fn an_identity_stays() {
    let disk = SimulatedDisk::new();
    let mut directory = open(&disk).unwrap();
    assert_eq!(directory.identity(), None);
    assert_eq!(directory.establish(identity()).unwrap(), &identity());

    let disk = disk.crash(CrashLoss::AllUnsynced);
    let mut directory = open(&disk).unwrap();
    assert_eq!(directory.identity(), Some(&identity()));
    // A node does not know its uuid before it looks; one that joins names no members.
    let asked = Identity {
        node_uuid: Uuid::from_u128(99),
        initial_members: BTreeMap::new(),
        ..identity()
    };
    assert_eq!(directory.establish(asked).unwrap(), &identity());
}

#[test]
fn another_owner_is_refused_with_what_differs() {
    let disk = SimulatedDisk::new();
    let mut directory = open(&disk).unwrap();
    directory.establish(identity()).unwrap();
    let mut moved = identity();
    moved.initial_members.insert(3, "c:7234".into());
    let others = [
        (
            "cluster name",
            Identity {
                cluster_name: "other".into(),
                ..identity()
            },
        ),
        (
            "node",
            Identity {
                node_id: 3,
                ..identity()
            },
        ),
        ("initial members", moved),
    ];
    for (expected, other) in others {
        match directory.establish(other) {
            Err(DirectoryError::Foreign { field, .. }) => assert_eq!(field, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_locked_directory_is_refused_until_it_is_let_go() {
    let disk = SimulatedDisk::new();
    let held = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(DirectoryError::Locked { .. })));
    drop(held);
    let held = open(&disk).unwrap();
    // A machine that stopped holds nothing.
    let disk = disk.crash(CrashLoss::AllUnsynced);
    let again = open(&disk).unwrap();
    drop(held);
    assert!(matches!(open(&disk), Err(DirectoryError::Locked { .. })));
    drop(again);
}

#[test]
fn a_crash_leaves_the_whole_identity_or_none() {
    for (call, seed) in (1..12).flat_map(|call| (0..20).map(move |seed| (call, seed))) {
        let disk = SimulatedDisk::new();
        disk.cut_power_at(call);
        let established =
            open(&disk).and_then(|mut directory| directory.establish(identity()).cloned());
        let disk = disk.crash(CrashLoss::Seeded(seed));
        let mut directory = open(&disk).unwrap();
        match directory.identity() {
            Some(found) => assert_eq!(found, &identity()),
            None => assert!(established.is_err(), "lost by the cut at call {call}"),
        }
        assert_eq!(directory.establish(identity()).unwrap(), &identity());
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_named() {
    let disk = SimulatedDisk::new();
    open(&disk).unwrap().establish(identity()).unwrap();
    let file = Path::new(DIR).join("IDENTITY");
    for byte in 0..disk.open(&file).unwrap().len().unwrap() {
        disk.flip_bit(&file, byte, (byte % 8) as u8).unwrap();
        let error = open(&disk).unwrap_err();
        assert!(
            matches!(
                error,
                DirectoryError::Damaged { .. } | DirectoryError::UnknownFormat { .. }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("data/one"), "{error}");
        disk.flip_bit(&file, byte, (byte % 8) as u8).unwrap();
    }
}

#[test]
fn a_line_break_cannot_be_smuggled_in() {
    let disk = SimulatedDisk::new();
    let mut directory = open(&disk).unwrap();
    let wanted = Identity {
        cluster_name: "a\nnode_id 9".into(),
        ..identity()
    };
    assert!(matches!(
        directory.establish(wanted),
        Err(DirectoryError::Unstorable { .. })
    ));
    assert_eq!(directory.identity(), None);
}

#[test]
fn a_node_whose_log_is_gone_is_refused_with_the_procedure() {
    let disk = SimulatedDisk::new();
    let dir = std::path::Path::new("/data");
    let identity = steadfast_storage::directory::Identity {
        cluster_name: "c".into(),
        node_id: 2,
        node_uuid: uuid::Uuid::from_u128(7),
        initial_members: std::collections::BTreeMap::new(),
    };
    let open = || Directory::open(std::sync::Arc::new(disk.clone()), dir).unwrap();
    let establish = |mut directory: Directory| {
        let established = directory.establish(identity.clone());
        established.map(|_| ()).map_err(|error| error.to_string())
    };
    establish(open()).unwrap();
    // Killed before its log held anything: still a new node.
    establish(open()).unwrap();
    let log = dir.join("log");
    disk.create_dir_all(&log).unwrap();
    disk.create(&log.join("segment")).unwrap();
    open().log_marker().set().unwrap();
    establish(open()).unwrap();
    disk.remove(&log.join("segment")).unwrap();
    let emptied = establish(open()).unwrap_err();
    assert!(
        emptied.contains("steadfast cluster remove --member 2"),
        "{emptied}"
    );
    disk.remove_dir_all(&log).unwrap();
    let deleted = establish(open()).unwrap_err();
    assert!(deleted.contains("new --node-id"), "{deleted}");
}
