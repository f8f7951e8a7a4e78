//! Files and folders that are swapped for links while they are ingested: what only this process may read outside must
//! not become searchable.

use std::sync::atomic::AtomicUsize;

use super::*;

/// Ingests eighty notes whose reading is interrupted by `swap`, called when the first of them is extracted, and
/// returns the library and the report.
fn ingest_with_swap(
    world: &mut World,
    swap: impl Fn(&Path) + Send + Sync + 'static,
) -> (Library, IngestReport) {
    for number in 0..40 {
        world.write(&format!("note {number:03}.txt"), "An ordinary note.");
        world.write(&format!("sub/note {number:03}.txt"), "Another one.");
    }
    let (docs, inner, swapped) = (world.docs(), extract(), std::sync::Once::new());
    let swapping: ExtractFn = Box::new(move |file, name| {
        swapped.call_once(|| swap(&docs));
        inner(file, name)
    });
    let library = Library::assemble(
        Catalogue::open(&world.dir.path().join("catalogue.db")).unwrap(),
        Box::new(world.store.clone()),
        world.embedder.clone(),
        swapping,
        world.dir.path().join("uploads"),
    )
    .unwrap();
    let report = ingest(&library, &world.docs()).unwrap();
    (library, report)
}

/// A file outside that only this process may read, and a check that none of its words became searchable.
const SECRET: &str = "CONFIDENTIAL: the salary of the director";

fn assert_nothing_leaked(library: &Library) {
    for (path, seen) in snapshot(library) {
        assert!(!seen.contains("CONFIDENTIAL"), "{path}: {seen}");
    }
}

#[test]
fn a_file_swapped_for_a_link_after_it_was_listed_is_not_read() {
    let mut world = World::new();
    let secret = world.dir.path().join("secret.txt");
    fs::write(&secret, SECRET).unwrap();
    let (library, report) = ingest_with_swap(&mut world, move |docs| {
        for number in 0..40 {
            let note = docs.join(format!("note {number:03}.txt"));
            let link = docs.join(format!(".link {number}"));
            std::os::unix::fs::symlink(&secret, &link).unwrap();
            fs::rename(link, note).unwrap();
        }
    });
    assert_nothing_leaked(&library);
    // Those that were open already were read as they were.
    assert!(report.failed.len() >= 30, "{report:?}");
    for failed in &report.failed {
        assert!(failed.reason.contains("symbolic link"), "{failed:?}");
    }
    let again = ingest(&library, &world.docs()).unwrap();
    assert_eq!((again.failed.len(), again.passages), (0, 40), "{again:?}");
    assert_nothing_leaked(&library);
}

#[test]
fn a_folder_swapped_for_a_link_after_it_was_listed_is_not_entered() {
    let mut world = World::new();
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for number in 0..40 {
        fs::write(outside.join(format!("note {number:03}.txt")), SECRET).unwrap();
    }
    let (library, report) = ingest_with_swap(&mut world, move |docs| {
        fs::rename(docs.join("sub"), docs.join(".moved")).unwrap();
        std::os::unix::fs::symlink(&outside, docs.join("sub")).unwrap();
    });
    assert_nothing_leaked(&library);
    assert!(report.failed.len() >= 30, "{report:?}");
}

#[test]
fn a_file_that_is_swapped_back_and_forth_is_read_as_itself_or_not_at_all() {
    let mut world = World::new();
    let (secret, link) = (
        world.dir.path().join("secret.txt"),
        world.dir.path().join("link"),
    );
    fs::write(&secret, SECRET).unwrap();
    for number in 0..20 {
        world.write(&format!("note {number:03}.txt"), "An ordinary note.");
    }
    let done = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let (stop, count) = (done.clone(), rounds.clone());
    let note = world.docs().join("note 010.txt");
    let racer = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::os::unix::fs::symlink(&secret, &link).unwrap();
            fs::rename(&link, &note).unwrap();
            let round = count.fetch_add(1, Ordering::Relaxed);
            fs::write(&link, format!("An ordinary note, round {round}.")).unwrap();
            fs::rename(&link, &note).unwrap();
        }
    });
    let library = world.open();
    let mut times = 0;
    while times < 40 || rounds.load(Ordering::Relaxed) < 100 {
        times += 1;
        ingest(&library, &world.docs()).unwrap();
        assert_nothing_leaked(&library);
    }
    done.store(true, Ordering::Relaxed);
    racer.join().unwrap();
}

#[test]
fn a_given_path_may_itself_be_a_link() {
    let mut world = World::new();
    world.write("a.txt", CONTENTS[0]);
    let link = world.dir.path().join("given");
    std::os::unix::fs::symlink(world.docs(), &link).unwrap();
    assert_eq!(ingest(&world.open(), &link).unwrap().added, 1);
    let file = world.dir.path().join("given.txt");
    std::os::unix::fs::symlink(world.docs().join("a.txt"), &file).unwrap();
    assert_eq!(ingest(&world.open(), &file).unwrap().unchanged, 1);
}
