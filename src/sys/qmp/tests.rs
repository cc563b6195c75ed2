//! Of the connection, with a QEMU that the test plays.

use super::codec::LINE_LIMIT;
use super::*;
use tokio::io::{AsyncBufReadExt, BufReader};

const SECOND: Duration = Duration::from_secs(1);
const GREETING: &[u8] = b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

/// A QEMU that greets, answers the first command, and then is played by the test.
async fn connected() -> (Qmp, mpsc::Receiver<QmpEvent>, BufReader<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut fake = BufReader::new(theirs);
    let play = async {
        fake.write_all(GREETING).await.unwrap();
        let id = read_id(&mut fake).await;
        answer(&mut fake, &json!({"return": {}, "id": id})).await;
    };
    let (connection, ()) = tokio::join!(Qmp::connect(ours, SECOND), play);
    let (qmp, events) = connection.unwrap();
    (qmp, events, fake)
}

async fn read_id(fake: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    fake.read_line(&mut line).await.unwrap();
    serde_json::from_str::<Value>(&line).unwrap()["id"].take()
}

async fn answer(fake: &mut BufReader<UnixStream>, value: &Value) {
    fake.write_all(format!("{value}\r\n").as_bytes()).await.unwrap();
}

#[tokio::test]
async fn replies_find_their_command_in_any_order() {
    let (qmp, _events, mut fake) = connected().await;
    let play = async {
        let (a, b) = (read_id(&mut fake).await, read_id(&mut fake).await);
        answer(&mut fake, &json!({"return": "second", "id": b})).await;
        answer(&mut fake, &json!({"error": {"class": "GenericError", "desc": "no"}, "id": a})).await;
    };
    let first = qmp.execute("a", Value::Null, SECOND);
    let second = qmp.execute("b", json!({"x": 1}), SECOND);
    let (first, second, ()) = tokio::join!(first, second, play);
    assert_eq!(second.unwrap(), "second");
    assert_eq!(first.unwrap_err().to_string(), "QEMU refused 'a': no");
}

#[tokio::test]
async fn a_late_reply_is_dropped_and_the_connection_stays() {
    let (qmp, _events, mut fake) = connected().await;
    let slow = qmp.execute("slow", Value::Null, Duration::from_millis(20)).await;
    assert!(matches!(slow, Err(QmpError::Timeout { .. })));
    let late = read_id(&mut fake).await;
    answer(&mut fake, &json!({"return": "late", "id": late})).await;
    let play = async {
        let id = read_id(&mut fake).await;
        answer(&mut fake, &json!({"return": "now", "id": id})).await;
    };
    let (reply, ()) = tokio::join!(qmp.execute("quick", Value::Null, SECOND), play);
    assert_eq!(reply.unwrap(), "now");
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let deep = format!("{}\n", "[".repeat(100_000));
    let long = "x".repeat(LINE_LIMIT + 2);
    for garbage in [b"\xff\xfe\n".as_slice(), b"[]\n", deep.as_bytes(), long.as_bytes()] {
        let (qmp, mut events, fake) = connected().await;
        let (_unread, mut out) = fake.into_inner().into_split();
        let bytes = garbage.to_vec();
        let writer = tokio::spawn(async move {
            // The reader may hang up before all of it is written.
            drop(out.write_all(&bytes).await);
            out
        });
        let reply = qmp.execute("x", Value::Null, Duration::from_secs(5)).await;
        assert!(matches!(reply, Err(QmpError::Protocol(_))), "{reply:?}");
        assert_eq!(events.recv().await, None);
        drop(writer.await.unwrap());
        assert!(matches!(qmp.execute("y", Value::Null, SECOND).await, Err(QmpError::Protocol(_))));
    }
}

#[tokio::test]
async fn a_flood_of_events_is_bounded_and_does_not_hold_up_replies() {
    let (qmp, mut events, mut fake) = connected().await;
    let play = async {
        let id = read_id(&mut fake).await;
        for n in 0..1000 {
            let at = json!({"seconds": 2, "microseconds": 5});
            answer(&mut fake, &json!({"event": "E", "data": {"n": n}, "timestamp": at})).await;
        }
        answer(&mut fake, &json!({"return": {}, "id": id})).await;
    };
    let (reply, ()) = tokio::join!(qmp.execute("x", Value::Null, SECOND), play);
    reply.unwrap();
    assert_eq!(qmp.dropped_events(), 1000 - EVENT_QUEUE as u64);
    let first = events.recv().await.unwrap();
    assert_eq!((first.name.as_str(), first.timestamp_usec), ("E", 2_000_005));
    assert_eq!(first.data["n"], 0);
}

#[tokio::test]
async fn hanging_up_is_told_to_both_sides() {
    let (qmp, mut events, mut fake) = connected().await;
    let other = qmp.clone();
    drop(qmp);
    let asking = tokio::spawn(async move { other.execute("x", Value::Null, SECOND).await });
    read_id(&mut fake).await;
    drop(fake);
    assert!(matches!(asking.await.unwrap(), Err(QmpError::Disconnected)));
    assert_eq!(events.recv().await, None);

    let (qmp, _events, mut fake) = connected().await;
    drop(qmp);
    let mut rest = String::new();
    assert_eq!(fake.read_line(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn a_silent_peer_and_a_wrong_greeting_are_refused() {
    let (ours, _silent) = UnixStream::pair().unwrap();
    let silent = Qmp::connect(ours, Duration::from_millis(20)).await;
    assert!(matches!(silent, Err(QmpError::Timeout { .. })));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"{\"hello\": 1}\n").await.unwrap();
    assert!(matches!(Qmp::connect(ours, SECOND).await, Err(QmpError::Protocol(_))));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let (qmp, _events, mut fake) = connected().await;
    let long = "x".repeat(REPLY_LIMIT);
    let play = async {
        for _ in 0..2 {
            let id = read_id(&mut fake).await;
            answer(&mut fake, &json!({"return": long, "id": id})).await;
        }
    };
    let asked = async {
        let short = qmp.execute("query-status", Value::Null, SECOND).await;
        assert!(matches!(short, Err(QmpError::HugeReply { .. })), "{short:?}");
        qmp.clone().with_long_replies().execute("qom-list-types", Value::Null, SECOND).await.unwrap()
    };
    assert_eq!(tokio::join!(asked, play).0, long.as_str());
}

#[tokio::test]
async fn places_grow_and_news_are_in_order() {
    let (qmp, mut events, mut fake) = connected().await;
    let play = async {
        let id = read_id(&mut fake).await;
        answer(&mut fake, &json!({"event": "STOP"})).await;
        answer(&mut fake, &json!({"return": {}, "id": id})).await;
        answer(&mut fake, &json!({"event": "RESUME"})).await;
    };
    let (reply, ()) = tokio::join!(qmp.execute_at("x", Value::Null, SECOND), play);
    let (stop, at, resume) = (events.recv().await.unwrap(), reply.unwrap().1, events.recv().await.unwrap());
    assert!(stop.seq < at && at < resume.seq);
}
