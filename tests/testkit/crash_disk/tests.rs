//! What the double does is what disks were seen to do.

use super::*;

fn file(disk: &CrashDisk, path: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.create(Path::new(path)).unwrap();
    file.write_all_at(0, bytes).unwrap();
    file
}

fn read(disk: &CrashDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path)).ok()?;
    let mut out = vec![0; usize::try_from(file.len_bytes().unwrap()).unwrap()];
    file.read_exact_at(0, &mut out).unwrap();
    Some(out)
}

#[test]
fn what_was_synced_survives_every_cut() {
    for seed in 0..200 {
        let disk = CrashDisk::new(Names::Atomic);
        let f = file(&disk, "a", &[7; 2000]);
        f.sync().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        f.write_all_at(2000, &[8; 3000]).unwrap();
        disk.power_cut(seed);
        let bytes = read(&disk, "a").expect("the name was synced");
        assert!(bytes.len() >= 2000 && bytes[..2000] == [7; 2000], "seed {seed}");
        assert!(f.sync().is_err(), "a handle does not outlive the power");
    }
}

#[test]
fn what_was_not_synced_is_lost_kept_torn_and_reordered() {
    let (mut whole, mut lost, mut late_only, mut torn, mut nameless) = (0, 0, 0, 0, 0);
    for seed in 0..400 {
        let disk = CrashDisk::new(Names::Atomic);
        let f = file(&disk, "a", &[]);
        f.write_all_at(0, &[1; 512]).unwrap();
        f.write_all_at(512, &[2; 512]).unwrap();
        disk.power_cut(seed);
        match read(&disk, "a") {
            None => nameless += 1,
            Some(b) if b.len() == 1024 => {
                let (first, second) = (&b[..512], &b[512..]);
                whole += u32::from(first == [1; 512] && second == [2; 512]);
                late_only += u32::from(first == [0; 512] && second == [2; 512]);
                torn += u32::from(second.contains(&2) && second.contains(&0));
            }
            Some(_) => lost += 1,
        }
    }
    for (what, n) in [
        ("whole", whole),
        ("lost", lost),
        ("later write alone", late_only),
        ("torn", torn),
        ("nameless", nameless),
    ] {
        assert!(n > 0, "never seen in 400 cuts: {what}");
    }
}

#[test]
fn fat_empties_a_renamed_file_that_was_not_synced_again() {
    let disk = CrashDisk::new(Names::Fat);
    file(&disk, "a", b"words").sync().unwrap();
    disk.rename(Path::new("a"), Path::new("b")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk.power_cut(1);
    assert_eq!(read(&disk, "b"), Some(Vec::new()));

    file(&disk, "c", b"words");
    disk.publish(Path::new("c"), Path::new("d")).unwrap();
    disk.power_cut(2);
    assert_eq!(read(&disk, "d").as_deref(), Some(&b"words"[..]));
}

#[test]
fn fat_loses_a_file_when_one_of_its_two_names_is_removed() {
    let both = |seed: u64| {
        let disk = CrashDisk::new(Names::Fat);
        for dir in ["from", "to"] {
            disk.create_dir(Path::new(dir)).unwrap();
        }
        file(&disk, "from/a", b"words").sync().unwrap();
        disk.rename(Path::new("from/a"), Path::new("to/a")).unwrap();
        disk.sync_dir(Path::new("to")).unwrap();
        disk.open_write(Path::new("to/a")).unwrap().sync().unwrap();
        disk.power_cut(seed);
        (disk.open(Path::new("from/a")).is_ok()).then_some(disk)
    };
    let disk = (0..100).find_map(both).unwrap();
    assert_eq!(read(&disk, "to/a").as_deref(), Some(&b"words"[..]));
    disk.remove(Path::new("from/a")).unwrap();
    assert_eq!(read(&disk, "to/a"), Some(Vec::new()));
}

#[test]
fn a_rename_leaves_one_name_of_a_synced_file() {
    let mut seen = [0; 2];
    for seed in 0..100 {
        let disk = CrashDisk::new(Names::Atomic);
        file(&disk, "a", b"words").sync().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        disk.rename(Path::new("a"), Path::new("b")).unwrap();
        disk.power_cut(seed);
        let (a, b) = (read(&disk, "a"), read(&disk, "b"));
        assert!(a.is_some() != b.is_some(), "seed {seed}");
        seen[usize::from(b.is_some())] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0);
}

#[test]
fn a_failed_sync_is_not_made_good_by_a_second_one() {
    let mut lost = 0;
    for seed in 0..100 {
        let disk = CrashDisk::new(Names::Atomic);
        let f = file(&disk, "a", &[0; 512]);
        f.sync().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        f.write_all_at(0, &[9; 512]).unwrap();
        disk.fail_at(disk.ops(), Fault::Eio);
        assert!(f.sync().is_err());
        f.sync().unwrap();
        disk.power_cut(seed);
        lost += u32::from(read(&disk, "a") != Some(vec![9; 512]));
    }
    assert!(lost > 0);
}

#[test]
fn a_full_disk_says_so_and_a_chosen_operation_fails_once() {
    let disk = CrashDisk::new(Names::Atomic);
    disk.set_capacity(100);
    let f = file(&disk, "a", &[1; 60]);
    let full = f.write_all_at(60, &[1; 60]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    disk.remove(Path::new("a")).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 100);
    disk.fail_at(disk.ops(), Fault::Eio);
    assert_eq!(disk.create(Path::new("b")).err().unwrap().raw_os_error(), Some(5));
    assert!(disk.create(Path::new("b")).is_ok());
    disk.fail_at(disk.ops(), Fault::Power);
    assert!(disk.create(Path::new("c")).is_err());
    assert!(disk.is_off() && disk.create(Path::new("d")).is_err());
}
