//! Interrupted, resumed, corrupt and oversized downloads.

use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use bsbr_hub::{Check, Hub, HubError, Notice, Progress, Repository};

use crate::common::server::Reply;
use crate::common::{Fixture, MODEL, Recorder, Served, git_sha1, part, sha256, weights};

const WEIGHTS: &str = "model.safetensors";

/// Fetches the weights alone.
fn fetch(served: &Served, progress: &mut Recorder) -> Result<Check, HubError> {
    let repository = Repository::model(MODEL).unwrap();
    let snapshot = served.client().files(&repository, &[WEIGHTS], progress)?;
    assert_eq!(fs::read(&snapshot.files[0].path).unwrap(), weights());
    Ok(snapshot.files[0].check)
}

/// Asserts that no complete file exists.
fn nothing_in_place(served: &Served) {
    assert!(!served.blob(&sha256(&weights())).exists());
    assert!(
        !crate::common::tree(&served.cache())
            .iter()
            .any(|file| file.contains("snapshots"))
    );
}

/// Where the storage was asked to start, request by request.
fn starts(served: &Served) -> Vec<Option<usize>> {
    served
        .storage
        .seen()
        .iter()
        .map(crate::common::server::Request::start)
        .collect()
}

#[test]
fn a_connection_that_is_cut_is_resumed() {
    let served = Fixture::model()
        .storage_fault(|request| {
            let cut = [100_000, 50_000].get(request.before)?;
            Some(part(request, &weights()).cut(*cut))
        })
        .serve();
    let mut progress = Recorder::default();
    assert_eq!(fetch(&served, &mut progress).unwrap(), Check::Checksum);
    assert_eq!(starts(&served), [None, Some(100_000), Some(150_000)]);
    assert_eq!(progress.bytes, 300_000);
    let done: Vec<u64> = progress.started.iter().map(|(_, _, done)| *done).collect();
    assert_eq!(done, [0, 100_000, 150_000]);
    assert!(matches!(
        &progress.notices[..],
        [Notice::Retrying { .. }, Notice::Retrying { .. }]
    ));
}

#[test]
fn what_one_run_leaves_the_next_goes_on_with() {
    let content = weights();
    let served = Fixture::model()
        .storage_fault(move |request| match request.before {
            0 => Some(part(request, &content).cut(200_000)),
            1..=3 => Some(Reply::status(503)),
            _ => None,
        })
        .serve();
    let error = fetch(&served, &mut Recorder::default()).unwrap_err();
    assert!(
        matches!(error, HubError::Server { status: 503, .. }),
        "{error}"
    );
    nothing_in_place(&served);

    let mut progress = Recorder::default();
    assert_eq!(fetch(&served, &mut progress).unwrap(), Check::Checksum);
    assert_eq!(progress.bytes, 100_000);
    assert_eq!(*starts(&served).last().unwrap(), Some(200_000));
    assert!(
        !served
            .blob(&format!("{}.part", sha256(&weights())))
            .exists()
    );
}

#[test]
fn a_server_without_ranges_starts_over() {
    let content = weights();
    let served = Fixture::model()
        .storage_fault(move |request| {
            let reply = Reply::status(200).body(content.as_slice());
            Some(if request.before == 0 {
                reply.cut(100_000)
            } else {
                reply
            })
        })
        .serve();
    let mut progress = Recorder::default();
    assert_eq!(fetch(&served, &mut progress).unwrap(), Check::Checksum);
    assert_eq!(progress.started[1], (WEIGHTS.to_owned(), Some(300_000), 0));
}

#[test]
fn a_server_that_gets_nowhere_is_given_up() {
    let content = weights();
    let served = Fixture::model()
        .storage_fault(move |_| Some(Reply::status(200).body(content.as_slice()).cut(1000)))
        .serve();
    let error = fetch(&served, &mut Recorder::default()).unwrap_err();
    assert!(
        matches!(&error, HubError::Interrupted { file, .. } if file == WEIGHTS),
        "{error}"
    );
    // The first, which gained bytes, and then as many in a row as the settings say.
    assert!(served.storage.seen().len() <= 5);
    nothing_in_place(&served);
}

#[test]
fn a_silent_server_is_not_waited_for_for_ever() {
    let content = weights();
    let served = Fixture::model()
        .storage_fault(move |request| {
            let mut reply = part(request, &content).cut(1000);
            reply.stall = Some(Duration::from_secs(30));
            (request.before == 0).then_some(reply)
        })
        .serve();
    let mut config = served.config();
    config.timeout = Duration::from_secs(1);
    let repository = Repository::model(MODEL).unwrap();
    let hub = Hub::new(config).unwrap();
    let before = Instant::now();
    hub.files(&repository, &[WEIGHTS], &mut Recorder::default())
        .unwrap();
    assert!(before.elapsed() < Duration::from_secs(20));
    assert_eq!(starts(&served), [None, Some(1000)]);
}

#[test]
fn a_beginning_that_is_none_is_thrown_away() {
    // Of another file, as long as the file, and longer than it.
    for stale in [vec![9; 1000], vec![9; 300_000], vec![9; 400_000]] {
        let served = Fixture::model().serve();
        let path = served.blob(&format!("{}.part", sha256(&weights())));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, stale).unwrap();
        let mut progress = Recorder::default();
        assert_eq!(fetch(&served, &mut progress).unwrap(), Check::Checksum);
    }
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    for range in [
        "bytes 7-299999/300000",
        "bytes */300000",
        "pages 1000-2000/300000",
    ] {
        let served = Fixture::model()
            .storage_fault(move |request| {
                let header = "Content-Range";
                request
                    .start()
                    .map(|_| Reply::status(206).header(header, range).body("x"))
            })
            .serve();
        let path = served.blob(&format!("{}.part", sha256(&weights())));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &weights()[..1000]).unwrap();
        let error = fetch(&served, &mut Recorder::default()).unwrap_err();
        assert!(matches!(error, HubError::BadResponse { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), &weights()[..1000]);
    }
}

#[test]
fn content_with_another_checksum_is_deleted() {
    let served = Fixture::model()
        .storage_fault(|request| {
            let mut content = weights();
            content[12_345] ^= 1;
            Some(part(request, &content))
        })
        .serve();
    let error = fetch(&served, &mut Recorder::default()).unwrap_err();
    assert!(
        matches!(&error, HubError::ChecksumMismatch { algorithm: "SHA-256", expected, .. }
            if *expected == sha256(&weights())),
        "{error}"
    );
    nothing_in_place(&served);
    assert!(
        !served
            .blob(&format!("{}.part", sha256(&weights())))
            .exists()
    );
    // It started from nothing, so there was no stale beginning to blame.
    assert_eq!(served.storage.seen().len(), 1);
}

#[test]
fn files_in_git_are_checked_too() {
    let served = Fixture::model()
        .fault(|request| {
            (request.method == "GET" && request.path.ends_with("config.json"))
                .then(|| Reply::status(200).body("{\"model_type\": \"gpt3\"}"))
        })
        .serve();
    let error = served.model("main").unwrap_err();
    assert!(
        matches!(
            &error,
            HubError::ChecksumMismatch {
                algorithm: "git SHA-1",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn content_of_another_size_is_deleted() {
    let longer = |content: Vec<u8>| [content, vec![0; 10]].concat();
    let served = Fixture::model()
        .storage_fault(move |request| Some(part(request, &longer(weights()))))
        .serve();
    let error = fetch(&served, &mut Recorder::default()).unwrap_err();
    assert!(
        matches!(
            &error,
            HubError::SizeMismatch {
                expected: 300_000,
                ..
            }
        ),
        "{error}"
    );
    nothing_in_place(&served);

    // Shorter, but complete by its own account: asked again, and not believed.
    let served = Fixture::model()
        .storage_fault(|_| Some(Reply::status(200).body(&weights()[..1000])))
        .serve();
    let error = fetch(&served, &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, HubError::Interrupted { .. }), "{error}");
    nothing_in_place(&served);
}

#[test]
fn an_etag_that_is_no_checksum_is_said_so() {
    let served = Fixture::model()
        .fault(|request| {
            let mut reply = Reply::status(200)
                .body("{}")
                .header("ETag", "W/\"5-parts\"");
            reply = reply.header("X-Repo-Commit", crate::common::COMMIT);
            request.path.ends_with("tokenizer.json").then_some(reply)
        })
        .serve();
    let mut progress = Recorder::default();
    let files = served
        .model_with(served.config(), "main", &mut progress)
        .unwrap();
    assert_eq!(files.files[1].check, Check::Size);
    let expected = Notice::Unchecked {
        file: "tokenizer.json".to_owned(),
        etag: "5-parts".to_owned(),
    };
    assert_eq!(progress.notices, [expected]);
}

#[test]
fn a_file_of_unknown_size_needs_a_checksum() {
    let answer = |etag: String| {
        move |request: &crate::common::server::Request| {
            let mut reply = Reply::status(200).body("{}").header("ETag", &etag);
            reply.unsized_body = true;
            request.path.ends_with("tokenizer.json").then_some(reply)
        }
    };
    let served = Fixture::model().fault(answer(git_sha1(b"{}"))).serve();
    assert_eq!(
        served.model("main").unwrap().files[1].check,
        Check::Checksum
    );

    let served = Fixture::model().fault(answer("5-parts".to_owned())).serve();
    let error = served.model("main").unwrap_err();
    assert!(matches!(&error, HubError::BadResponse { .. }), "{error}");
}

#[test]
fn a_file_of_unknown_size_may_not_go_on_for_ever() {
    let content = weights();
    let served = Fixture::model()
        .fault(move |request| {
            let mut reply = Reply::status(200)
                .body(content.as_slice())
                .header("ETag", git_sha1(&content));
            reply.unsized_body = true;
            request.path.ends_with("tokenizer.json").then_some(reply)
        })
        .serve();
    let with_limit = |limit| {
        let mut config = served.config();
        config.unsized_limit = limit;
        served.model_with(config, "main", &mut Recorder::default())
    };
    let error = with_limit(100_000).unwrap_err();
    assert!(
        matches!(&error, HubError::UnknownSize { file, limit: 100_000 } if file == "tokenizer.json"),
        "{error}"
    );
    let part = served.blob(&format!("{}.part", git_sha1(&weights())));
    assert!(!part.exists());
    let files = with_limit(300_000).unwrap();
    assert_eq!(files.files[1].check, Check::Checksum);
}

#[test]
fn content_that_the_cache_has_under_another_name_is_not_fetched() {
    let served = Fixture::model()
        .large("copy.safetensors", weights())
        .serve();
    fetch(&served, &mut Recorder::default()).unwrap();
    let repository = Repository::model(MODEL).unwrap();
    let paths = ["copy.safetensors"];
    let copy = served
        .client()
        .files(&repository, &paths, &mut Recorder::default())
        .unwrap();
    assert_eq!(copy.files[0].check, Check::Cached);
    assert_eq!(fs::read(&copy.files[0].path).unwrap(), weights());
    assert_eq!(served.storage.seen().len(), 1);
}

#[test]
fn two_at_once_fetch_it_once() {
    let content = weights();
    let served = Fixture::model()
        .storage_fault(move |request| {
            thread::sleep(Duration::from_millis(500));
            Some(part(request, &content))
        })
        .serve();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fetch(&served, &mut Recorder::default()).unwrap());
        }
    });
    assert_eq!(served.storage.seen().len(), 1);
}

/// Another process that downloads the same file, until it is waited for.
struct Other(Option<File>, Recorder);

impl Progress for Other {
    fn start(&mut self, file: &str, size: Option<u64>, done: u64) {
        assert!(self.0.is_none(), "{file} was not waited for");
        self.1.start(file, size, done);
    }

    fn notice(&mut self, notice: &Notice) {
        assert_eq!(
            *notice,
            Notice::Waiting {
                file: WEIGHTS.to_owned()
            }
        );
        self.0 = None;
    }
}

#[test]
fn another_process_is_waited_for() {
    let served = Fixture::model().serve();
    let path = served.blob(&format!("{}.lock", sha256(&weights())));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lock = File::create(path).unwrap();
    lock.lock().unwrap();
    let mut other = Other(Some(lock), Recorder::default());
    let repository = Repository::model(MODEL).unwrap();
    served
        .client()
        .files(&repository, &[WEIGHTS], &mut other)
        .unwrap();
    assert_eq!(other.1.started.len(), 1);
}

/// `/dev/full` is a disk that always is.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_from_other_failures() {
    let served = Fixture::model().serve();
    let path = served.blob(&format!("{}.part", sha256(&weights())));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let error = fetch(&served, &mut Recorder::default()).unwrap_err();
    assert!(
        matches!(&error, HubError::DiskFull { path: at, .. } if *at == path),
        "{error}"
    );
    assert!(error.to_string().contains("HF_HUB_CACHE"), "{error}");
    nothing_in_place(&served);
}

#[cfg(unix)]
#[test]
fn a_cache_that_is_a_file_is_named() {
    let served = Fixture::model().serve();
    fs::write(served.cache(), "").unwrap();
    let error = served.model("main").unwrap_err();
    assert!(
        matches!(&error, HubError::Io { path, .. } if path.starts_with(served.cache())),
        "{error}"
    );
}
