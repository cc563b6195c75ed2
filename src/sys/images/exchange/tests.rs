//! An opener that its owner has taken over, played by a thread: none of what it sends is taken for what was asked.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::ledger::{Ledger, Resource};
use crate::scope::Limits;
use crate::sys::copy;
use crate::sys::images::SizeLimit;

const FILE: ImageKind = ImageKind::Disk { block: false };

fn request(kind: ImageKind, readonly: bool) -> ImageRequest {
    let limit = Some(SizeLimit { bytes: 1 << 20, key: "kernel-bytes" });
    ImageRequest { readonly, limit, ..ImageRequest::new("/a", kind) }
}

fn share() -> Share {
    Ledger::new(Limits { guest_memory: 1 << 19, ..Limits::default() }).note(1000, Resource::GuestMemory, 0)
}

fn descriptors() -> Share {
    Ledger::new(Limits { descriptors: 64, ..Limits::default() }).note(1000, Resource::Descriptors, 0)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn say(socket: &OwnedFd, answer: &Answer, fd: Option<&OwnedFd>) -> io::Result<()> {
    unix::send_message(socket.as_fd(), &encode(answer)?, fd.map(AsFd::as_fd)).map(drop)
}

fn image() -> Answer {
    Answer::Image { path: "/a".into(), qcow2: false, held: 0 }
}

/// What the service makes of an opener that sends this, whatever it is asked. It must know at once.
async fn ask(request: ImageRequest, answers: Vec<(Answer, Option<OwnedFd>)>) -> Result<bool, ImagesError> {
    let (ours, theirs) = pair();
    let until = Instant::now() + Duration::from_secs(5);
    let exchange = Exchange::new(ours, "uid 1000".into(), until).unwrap();
    let opener = std::thread::spawn(move || {
        for (answer, fd) in answers {
            let _ = say(&theirs, &answer, fd.as_ref());
        }
        // It stays, so that only what it said can be the reason.
        while unix::receive_message(theirs.as_fd(), PACKET).is_ok() {}
    });
    let before = Instant::now();
    let answer = exchange.ask(&request, &mut share(), &mut descriptors()).await;
    assert!(before.elapsed() < Duration::from_secs(2), "it waits for {answer:?}");
    drop(exchange);
    opener.join().unwrap();
    answer.map(|chain| chain.len() == 1)
}

async fn is_refused(kind: ImageKind, readonly: bool, fd: impl Into<OwnedFd>) {
    let answers = vec![(image(), Some(fd.into())), (Answer::Done, None)];
    let answer = ask(request(kind, readonly), answers).await;
    assert!(matches!(answer, Err(ImagesError::Helper { .. })), "{kind:?}: {answer:?}");
}

/// As [`is_refused`], of something that is to be a copy of `size` bytes.
async fn copy_is_refused(size: u64, fd: impl Into<OwnedFd>) {
    let answers =
        vec![(Answer::Size { bytes: size }, None), (image(), Some(fd.into())), (Answer::Done, None)];
    let answer = ask(request(ImageKind::Blob, true), answers).await;
    assert!(matches!(answer, Err(ImagesError::Helper { .. })), "{answer:?}");
}

fn file(flags: OFlags) -> OwnedFd {
    let named = tempfile::NamedTempFile::new().unwrap();
    rustix::fs::open(named.path(), flags | OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap()
}

fn memory(size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
    file.set_len(size).unwrap();
    file.rewind().unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file.into()
}

#[tokio::test]
async fn what_was_asked_for_is_taken() {
    let taken = async |kind, readonly, fd| {
        ask(request(kind, readonly), vec![(image(), Some(fd)), (Answer::Done, None)]).await.unwrap()
    };
    assert!(taken(FILE, true, file(OFlags::RDONLY)).await);
    assert!(taken(FILE, false, file(OFlags::RDWR)).await);
    assert!(taken(ImageKind::Directory, true, File::open("/").unwrap().into()).await);
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(taken(ImageKind::Socket, false, stream.into()).await);
    let answers = vec![
        (Answer::Size { bytes: 4096 }, None),
        (image(), Some(memory(4096, copy::SEALS))),
        (Answer::Done, None),
    ];
    assert!(ask(request(ImageKind::Blob, true), answers).await.unwrap());
}

#[tokio::test]
async fn other_kinds_of_files_are_refused() {
    let pipe = || std::io::pipe().unwrap().0;
    let fifo = || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        OwnedFd::from(File::options().read(true).write(true).open(path).unwrap())
    };
    let directory = || File::open("/").unwrap();
    for kind in [FILE, ImageKind::Layer { block: false }, ImageKind::Layer { block: true }] {
        is_refused(kind, true, pipe()).await;
        is_refused(kind, false, fifo()).await;
        is_refused(kind, true, directory()).await;
        is_refused(kind, true, File::open("/dev/zero").unwrap()).await;
        is_refused(kind, true, std::os::unix::net::UnixStream::pair().unwrap().0).await;
    }
    is_refused(ImageKind::Layer { block: true }, true, file(OFlags::RDONLY)).await;
    is_refused(ImageKind::Directory, true, file(OFlags::RDONLY)).await;
    is_refused(ImageKind::Directory, true, pipe()).await;
    is_refused(ImageKind::Socket, false, fifo()).await;
    let dir = tempfile::tempdir().unwrap();
    is_refused(
        ImageKind::Socket,
        false,
        std::os::unix::net::UnixListener::bind(dir.path().join("l")).unwrap(),
    )
    .await;
    is_refused(ImageKind::Socket, false, std::os::unix::net::UnixDatagram::pair().unwrap().0).await;
    is_refused(ImageKind::Socket, false, std::net::TcpListener::bind("127.0.0.1:0").unwrap()).await;
}

#[tokio::test]
async fn other_rights_than_those_asked_for_are_refused() {
    is_refused(FILE, true, file(OFlags::RDWR)).await;
    is_refused(FILE, true, file(OFlags::WRONLY)).await;
    is_refused(FILE, false, file(OFlags::RDONLY)).await;
    is_refused(FILE, true, file(OFlags::PATH)).await;
    let path = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    is_refused(ImageKind::Directory, true, path.unwrap()).await;
    // Below the top everything is for reading.
    let answers =
        vec![(image(), Some(file(OFlags::RDWR))), (image(), Some(file(OFlags::RDWR))), (Answer::Done, None)];
    assert!(ask(request(FILE, false), answers).await.is_err());
}

#[tokio::test]
async fn copies_that_can_change_or_are_of_another_size_are_refused() {
    copy_is_refused(8, std::io::pipe().unwrap().0).await;
    copy_is_refused(0, File::open("/dev/zero").unwrap()).await;
    copy_is_refused(0, file(OFlags::RDONLY)).await;
    for missing in [SealFlags::WRITE, SealFlags::GROW, SealFlags::SHRINK] {
        copy_is_refused(8, memory(8, copy::SEALS.difference(missing | SealFlags::SEAL))).await;
    }
    copy_is_refused(8, memory(9, copy::SEALS)).await;
    copy_is_refused(8, memory(1 << 40, copy::SEALS)).await;
    let unannounced = vec![(image(), Some(memory(8, copy::SEALS))), (Answer::Done, None)];
    assert!(ask(request(ImageKind::Blob, true), unannounced).await.is_err());
}

#[tokio::test]
async fn sizes_are_held_against_the_limit_and_the_owners_share() {
    let size = async |bytes| ask(request(ImageKind::Blob, true), vec![(Answer::Size { bytes }, None)]).await;
    let large = size(u64::MAX).await.unwrap_err().to_string();
    assert!(large.contains("the limit is 1048576") && large.contains("'kernel-bytes'"), "{large}");
    let beyond = size((1 << 19) + 1).await.unwrap_err();
    assert!(matches!(&beyond, ImagesError::Limit(e) if e.to_string().contains("guest-memory")), "{beyond}");
    let sparse = tempfile::NamedTempFile::new().unwrap();
    sparse.as_file().set_len(1 << 30).unwrap();
    let sparse = File::open(sparse.path()).unwrap().into();
    let flash = ask(
        request(ImageKind::Layer { block: false }, true),
        vec![(image(), Some(sparse)), (Answer::Done, None)],
    );
    assert!(matches!(flash.await, Err(ImagesError::TooLarge { bytes: 0x4000_0000, .. })));
}

#[tokio::test]
async fn answers_out_of_place_are_refused() {
    let wrong = async |answers: Vec<(Answer, Option<OwnedFd>)>| {
        let answer = ask(request(FILE, true), answers).await;
        assert!(matches!(answer, Err(ImagesError::Helper { .. })), "{answer:?}");
    };
    wrong(vec![(Answer::Done, None)]).await;
    wrong(vec![(image(), None)]).await;
    wrong(vec![(Answer::Done, Some(file(OFlags::RDONLY)))]).await;
    wrong(vec![(Answer::Size { bytes: 1 }, None)]).await;
    wrong(vec![(Answer::TooLarge { bytes: 1 }, None)]).await;
    let named = |path: String| {
        let answer = Answer::Image { path: path.into(), qcow2: false, held: 0 };
        vec![(answer, Some(file(OFlags::RDONLY))), (Answer::Done, None)]
    };
    wrong(named("relative".into())).await;
    wrong(named(format!("/{}", "x".repeat(5000)))).await;
    let mut endless = Vec::new();
    endless.resize_with(40, || (image(), Some(file(OFlags::RDONLY))));
    wrong(endless).await;
    let two = vec![
        (image(), Some(file(OFlags::RDONLY))),
        (image(), Some(file(OFlags::RDONLY))),
        (Answer::Done, None),
    ];
    assert!(ask(request(ImageKind::Layer { block: false }, true), two).await.is_err());
}

#[tokio::test]
async fn words_are_passed_on_clean_and_short() {
    let problem = format!("is\nbad \u{1b}[31m{}", "x".repeat(60_000));
    let answer = ask(request(FILE, true), vec![(Answer::Unfit { what: "'/a'".into(), problem }, None)]).await;
    let text = answer.unwrap_err().to_string();
    assert!(text.starts_with("'/a' is\u{fffd}bad \u{fffd}[31mx") && text.len() < 5000, "{text}");
}

#[tokio::test]
async fn an_opener_that_is_silent_or_reads_nothing_is_given_up() {
    let (ours, _theirs) = pair();
    let until = Instant::now() + Duration::from_millis(200);
    let exchange = Exchange::new(ours, "uid 1000".into(), until).unwrap();
    let silent = exchange.ask(&request(FILE, true), &mut share(), &mut descriptors()).await;
    assert!(matches!(silent, Err(ImagesError::Timeout { .. })), "{silent:?}");
    // Its answers come before the questions, which pile up.
    let (ours, theirs) = pair();
    let ahead = std::thread::spawn(move || {
        let fd = file(OFlags::RDONLY);
        while say(&theirs, &image(), Some(&fd)).and_then(|()| say(&theirs, &Answer::Done, None)).is_ok() {}
    });
    let until = Instant::now() + Duration::from_millis(500);
    let exchange = Exchange::new(ours, "uid 1000".into(), until).unwrap();
    let long = ImageRequest { path: format!("/{}", "x".repeat(4000)).into(), ..request(FILE, true) };
    let given_up = async {
        loop {
            if let Err(e) = exchange.ask(&long, &mut share(), &mut descriptors()).await {
                return e;
            }
        }
    };
    let given_up = tokio::time::timeout(Duration::from_secs(5), given_up).await.unwrap();
    assert!(matches!(given_up, ImagesError::Timeout { .. }), "{given_up:?}");
    drop(exchange);
    ahead.join().unwrap();
}
