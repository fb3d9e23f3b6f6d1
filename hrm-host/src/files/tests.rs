//! Writing whole or not at all, seen from a directory listing.

use super::*;

/// Larger than any process id on Linux (2^22), so nothing runs under it.
const DEAD: u32 = 4_194_305;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_written_with_its_size_and_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    let written = write_bytes(&path, b"123456789").unwrap();
    // The check value of CRC-32 in every catalogue.
    assert_eq!(written, Written { bytes: 9, crc32: 0xcbf4_3926 });
    assert_eq!(checksum(&path).unwrap(), written);
    assert_eq!(fs::read(&path).unwrap(), b"123456789");
    assert_eq!(names(dir.path()), ["a.bin"]);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    write_bytes(&path, b"old").unwrap();
    let error = write_file(&path, |out| {
        out.write_all(&[0; 1 << 20])?;
        Err(io::ErrorKind::StorageFull.into())
    })
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.to_string().contains("a.bin"), "{error}");
    assert!(error.hint_text().unwrap().contains("make room"));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["a.bin"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_reported_as_full() {
    // /dev/full fails every write with ENOSPC, which is what a full disk does.
    let error = io::Error::from(
        File::create("/dev/full").and_then(|mut full| full.write_all(b"x")).unwrap_err().kind(),
    );
    let error = write_error(Path::new("run/last"), error);
    assert_eq!((error.kind(), error.exit_code()), (Kind::Failed, 1));
    assert!(error.to_string().starts_with("cannot write run/last: "), "{error}");
}

#[test]
fn a_missing_file_is_an_input_error_that_names_it() {
    let error = read(Path::new("no/such/file")).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().starts_with("cannot read no/such/file: "), "{error}");
}

#[test]
fn a_path_without_a_name_is_refused() {
    assert_eq!(write_bytes(Path::new("/"), b"").unwrap_err().kind(), Kind::Input);
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    write_bytes(&path, b"ab\xff").unwrap();
    assert!(read_to_string(&path).unwrap_err().to_string().contains("byte 2"));
}

#[test]
fn a_directory_appears_whole() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("model");
    write_dir(&target, Existing::Refuse, |staging| {
        staging.file("config.json", |out| out.write_all(b"{}"))?;
        assert!(!target.exists());
        staging.file("train/dataset.json", |out| out.write_all(b"{}"))
    })
    .unwrap();
    assert_eq!(names(dir.path()), ["model"]);
    assert_eq!(names(&target), ["config.json", "train"]);
}

#[test]
fn a_failed_directory_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("model");
    let fill = |text: &'static str| {
        move |staging: &Staging| staging.file("a", |out| out.write_all(text.as_bytes())).map(|_| ())
    };
    write_dir(&target, Existing::Refuse, fill("old")).unwrap();
    assert_eq!(write_dir(&target, Existing::Refuse, fill("new")).unwrap_err().kind(), Kind::Input);
    let failed: Result<()> = write_dir(&target, Existing::Replace, |staging| {
        fill("new")(staging)?;
        Err(Error::failed("stopped"))
    });
    assert!(failed.is_err());
    assert_eq!(fs::read(target.join("a")).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["model"]);

    write_dir(&target, Existing::Replace, fill("new")).unwrap();
    assert_eq!(fs::read(target.join("a")).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["model"]);
}

fn owns(name: &str) -> Option<Ours> {
    match name {
        "a" | "b" => Some(Ours::File),
        "model" => Some(Ours::Dir(&["a", "x"])),
        _ => None,
    }
}

fn clear(dir: &Path) -> Vec<PathBuf> {
    remove_stale(dir, &owns, Writers::Anyone).unwrap()
}

#[test]
fn what_the_dead_left_is_removed_and_what_the_living_write_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: String| dir.path().join(name);
    fs::write(at(format!("a.tmp-{DEAD}")), "half").unwrap();
    // Process 1 is alive, and does not write this file: it would have it locked.
    fs::write(at("a.tmp-1".to_owned()), "half").unwrap();
    fs::create_dir(at(format!("model.tmp-{DEAD}"))).unwrap();
    fs::write(at(format!("model.tmp-{DEAD}/x.tmp-{DEAD}")), "half").unwrap();
    let living = Staged::create(&at("b".to_owned())).unwrap();
    for name in ["notes.tmp-draft".to_owned(), format!("notes.tmp-{DEAD}"), format!("notes.old-{DEAD}")] {
        fs::write(at(name), "a person's own file").unwrap();
    }
    let removed = clear(dir.path());
    let expected = ["a.tmp-1".to_owned(), format!("a.tmp-{DEAD}"), format!("model.tmp-{DEAD}")];
    assert_eq!(removed, expected.map(at));
    assert_eq!(names(dir.path()).len(), 4);
    living.commit().unwrap();
    assert_eq!(names(dir.path())[0], "b");
}

#[test]
fn a_directory_moved_aside_by_the_dead_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join(format!("model.old-{DEAD}"));
    let make = || {
        fs::create_dir(&old).unwrap();
        fs::write(old.join("a"), "old").unwrap();
    };
    make();
    assert_eq!(moved_aside(&dir.path().join("model")), Some(old.clone()));
    assert_eq!(clear(dir.path()), [dir.path().join("model")]);
    assert_eq!(fs::read(dir.path().join("model/a")).unwrap(), b"old");
    assert_eq!(moved_aside(&dir.path().join("model")), None);

    // With the new one in place the old one goes, unless there is something of somebody else's in it.
    make();
    fs::write(old.join("notes"), "mine").unwrap();
    assert!(clear(dir.path()).is_empty());
    fs::remove_file(old.join("notes")).unwrap();
    assert_eq!(clear(dir.path()), [old]);
    assert_eq!(names(dir.path()), ["model"]);
}

#[test]
fn nothing_is_stale_where_nothing_is() {
    assert!(clear(Path::new("no/such/directory")).is_empty());
}
