//! One writer to a store, readers beside it, and a clear word about files that are none of ours.

use std::path::Path;

use dormouse_tests::oracle;
use dormouse_tests::program::{Finished, dormouse, finish};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, write_lines};

/// Runs with the store at `path` in the expectation that it ends at once, and returns what it complained about.
async fn refused(scene: &mut Scene, path: &Path) -> String {
    scene.set("store", "path", &format!("{path:?}"));
    let mut running = scene.run();
    let status = running.wait().await;
    assert_eq!(status.code(), Some(1), "{}", running.log());
    running.log()
}

fn keys_of(store: &Path) -> Finished {
    finish(&mut dormouse(&["keys", "--store", store.to_str().unwrap()]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_is_told_who_the_first_is() {
    let mut scene = Scene::new().await;
    let mut first = scene.run();
    scene.send(bodies(1, &everything(1, 100)));
    scene.drained(&mut first).await;

    let store = scene.store();
    let second = refused(&mut scene, &store).await;
    assert!(second.contains(store.to_str().unwrap()), "{second}");
    assert!(second.contains(&format!("pid {}", first.pid())), "{second}");
    assert!(first.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_read_beside_a_running_writer() {
    let mut scene = Scene::new().await;
    // The tables are never written while this runs: the reader has to read the journal as well.
    scene.set("ingest", "fold_interval", "\"1h\"");
    let bodies = bodies(2, &everything(2, 3_000));
    let delivered = scene.folder.path().join("delivered.ndjson");
    write_lines(&delivered, &bodies);
    let (early, late) = bodies.split_at(bodies.len() / 2);

    let mut running = scene.run();
    scene.send(early);
    scene.drained(&mut running).await;
    let some = scene.keys().len();
    assert!(some > 0);
    scene.send(late);
    scene.drained(&mut running).await;
    let truth = oracle::truth(&[&delivered]);
    oracle::assert_same_keys(&truth["keys"], &scene.all_keys());

    // The same from the tables, once they are written.
    assert!(running.stop().await.success());
    oracle::assert_same_keys(&truth["keys"], &scene.all_keys());
}

#[tokio::test]
async fn a_foreign_database_is_left_alone() {
    let mut scene = Scene::new().await;
    let path = scene.folder.path().join("other.db");
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE holidays (day TEXT); INSERT INTO holidays VALUES ('1 May')").unwrap();
    drop(foreign);
    let before = std::fs::read(&path).unwrap();

    let complaint = refused(&mut scene, &path).await;
    assert!(complaint.contains("not a Dormouse store") && complaint.contains("other.db"), "{complaint}");
    let reading = keys_of(&path);
    assert_eq!(reading.code(), 1, "{reading:#?}");
    assert!(reading.stderr.contains("not a Dormouse store"), "{}", reading.stderr);
    assert!(std::fs::read(&path).unwrap() == before, "the foreign file was written to");
}

#[tokio::test]
async fn a_file_of_junk_is_left_alone() {
    let mut scene = Scene::new().await;
    let path = scene.folder.path().join("junk.db");
    for junk in ["short", &"a long file of no meaning ".repeat(1_000)] {
        std::fs::write(&path, junk).unwrap();
        let complaint = refused(&mut scene, &path).await;
        assert!(complaint.contains("no SQLite database") && complaint.contains("junk.db"), "{complaint}");
        let reading = keys_of(&path);
        assert_eq!(reading.code(), 1, "{reading:#?}");
        assert!(reading.stderr.contains("no SQLite database"), "{}", reading.stderr);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), junk);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_told_and_not_taken_for_an_empty_one() {
    let mut scene = Scene::new().await;
    scene.send(bodies(3, &everything(3, 500)));
    let mut running = scene.run();
    scene.drained(&mut running).await;
    assert!(running.stop().await.success());

    let path = scene.store();
    let mut content = std::fs::read(&path).unwrap();
    // Everything but the first pages, which say what the file is.
    for byte in content.iter_mut().skip(8_192) {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, content).unwrap();
    let complaint = refused(&mut scene, &path).await;
    assert!(complaint.contains("damaged") && complaint.contains("dormouse.db"), "{complaint}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told() {
    let mut scene = Scene::new().await;
    // Below a plain file nothing can be made, whoever tries.
    let file = scene.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let complaint = refused(&mut scene, &file.join("dormouse.db")).await;
    assert!(complaint.contains("cannot write") && complaint.contains(file.to_str().unwrap()), "{complaint}");

    let folder = scene.folder.path().to_owned();
    let complaint = refused(&mut scene, &folder).await;
    assert!(complaint.contains("is a folder"), "{complaint}");
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_reading() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("dormouse.db");
    let reading = keys_of(&store);
    assert_eq!(reading.code(), 1, "{reading:#?}");
    assert!(reading.stderr.contains("there is no store at"), "{}", reading.stderr);
    assert!(!store.exists());
}
