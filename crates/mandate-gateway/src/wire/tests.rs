use mandate_model::BootTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> mandate_model::Timestamp {
        mandate_model::Timestamp::from_secs(1)
    }
    fn boot(&self) -> BootTime {
        BootTime::from_nanos(1)
    }
}

/// What hyper would read of `bytes`, given in pieces of `size`, and what was found wrong. How much
/// room it offers makes no difference.
async fn read(bytes: &[u8], size: usize) -> (io::Result<Vec<u8>>, Option<(u64, Fault)>) {
    let (little, fault) = read_into(24, bytes, size).await;
    let (much, same) = read_into(8192, bytes, size).await;
    assert_eq!(little.as_ref().ok(), much.as_ref().ok());
    assert_eq!(fault, same);
    (much, fault)
}

async fn read_into(
    room: usize,
    bytes: &[u8],
    size: usize,
) -> (io::Result<Vec<u8>>, Option<(u64, Fault)>) {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (wire, mut io) = watch(server, &Limits::default(), Arc::new(Still));
    let mut read = Vec::new();
    let mut sent = bytes.chunks(size);
    loop {
        match sent.next() {
            Some(piece) => client.write_all(piece).await.unwrap(),
            None => client.shutdown().await.unwrap(),
        }
        let ended = sent.len() == 0;
        let mut space = vec![0; room];
        loop {
            let mut buf = ReadBuf::new(&mut space);
            let polled = futures_util::poll!(std::future::poll_fn(|cx| {
                Pin::new(&mut io).poll_read(cx, &mut buf)
            }));
            match polled {
                Poll::Ready(Err(why)) => return (Err(why), wire.fault.get().copied()),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    read.extend_from_slice(buf.filled());
                }
                Poll::Ready(Ok(())) => return (Ok(read), wire.fault.get().copied()),
                Poll::Pending if ended && wire.fault.get().is_some() => {
                    return (Ok(read), wire.fault.get().copied());
                }
                Poll::Pending => {
                    // Also where the runtime wants its turn.
                    tokio::task::yield_now().await;
                    break;
                }
            }
        }
    }
}

const FIRST: &str = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
    3\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-a: b\r\n\r\n";
const SECOND: &str = "PUT /b HTTP/1.1\r\nhost: x:80\r\ncontent-length: 5\r\n\r\nGET /";
const THIRD: &str = "GET /c?d HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";

#[tokio::test]
async fn what_a_sender_may_generate_passes_byte_for_byte_however_it_is_cut() {
    let all = [FIRST, SECOND, THIRD].concat();
    for size in [1, 2, 3, 5, 17, 64, all.len()] {
        let (read, fault) = read(all.as_bytes(), size).await;
        assert_eq!(String::from_utf8(read.unwrap()).unwrap(), all, "{size}");
        assert_eq!(fault, None);
    }
}

#[tokio::test]
async fn a_head_that_breaks_a_rule_is_stood_in_for_and_nothing_after_it_passes() {
    let heads = [
        ("GET /\r\nhost: x\r\n\r\n", Fault::RequestLine),
        ("\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", Fault::RequestLine),
        ("GET  / HTTP/1.1\r\nhost: x\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.0\r\nhost: x\r\n\r\n", Fault::Version),
        ("GET / HTTP/1.1\nhost: x\r\n\r\n", Fault::LineEnd),
        ("GET / HTTP/1.1\r\nhost: x\n\r\n", Fault::LineEnd),
        ("GET / HTTP/1.1\r\nhost: x\rz: y\r\n\r\n", Fault::LineEnd),
        ("GET / HTTP/1.1\r\nhost: x\r\nz: \0\r\n\r\n", Fault::LineEnd),
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", Fault::FieldLine),
        (
            "GET / HTTP/1.1\r\nhost: x\r\n y: z\r\n\r\n",
            Fault::FieldLine,
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
            Fault::Field,
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nz: \u{b}\r\n\r\n",
            Fault::Field,
        ),
        ("GET / HTTP/1.1\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", Fault::Host),
        ("GET / HTTP/1.1\r\nhost: u@x\r\n\r\n", Fault::Host),
        ("GET /#a HTTP/1.1\r\nhost: x\r\n\r\n", Fault::Target),
        ("GET /\u{e9} HTTP/1.1\r\nhost: x\r\n\r\n", Fault::Target),
        (
            "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
            Fault::Length,
        ),
        (
            "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\nx",
            Fault::Length,
        ),
        (
            "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length:\r\n\r\n",
            Fault::Length,
        ),
        (
            "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            Fault::Coding,
        ),
        (
            "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nx",
            Fault::UpgradeWithBody,
        ),
    ];
    let stand_in = String::from_utf8(STAND_IN.to_vec()).unwrap();
    for (head, why) in heads {
        for size in [1, head.len(), 10_000] {
            let all = [SECOND, head, THIRD].concat();
            let (read, fault) = read(all.as_bytes(), size).await;
            let read = String::from_utf8(read.unwrap()).unwrap();
            assert_eq!(fault, Some((1, why)), "{head:?}");
            assert_eq!(read, [SECOND, &stand_in].concat(), "{head:?}");
        }
    }
}

#[tokio::test]
async fn a_chunked_body_with_another_framing_breaks_off() {
    let head = "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in [
        "3;a=b\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nno colon\r\n\r\n",
        "3\r\nabc\r\n0\r\n x: y\r\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
    ] {
        let all = [head, body].concat();
        // Before hyper has the head, and after.
        let (stood_in, fault) = read(all.as_bytes(), all.len() + head.len()).await;
        assert_eq!(stood_in.unwrap(), STAND_IN, "{body:?}");
        assert_eq!(fault, Some((0, Fault::Chunk)));
        for size in [1, head.len()] {
            let (read, _) = read(all.as_bytes(), size).await;
            let why = read.map(drop).unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::InvalidData, "{body:?}");
        }
    }
}

#[tokio::test]
async fn limits_on_heads_hold_before_their_end_has_come() {
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nz: {}", "y".repeat(70_000));
    assert_eq!(
        read(long.as_bytes(), 9_000).await.1,
        Some((0, Fault::TooLarge))
    );
    let field = "z: y\r\n";
    let many = |n| format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", field.repeat(n));
    assert_eq!(read(many(99).as_bytes(), 9_000).await.1, None);
    assert_eq!(
        read(many(100).as_bytes(), 9_000).await.1,
        Some((0, Fault::TooLarge))
    );
}

#[tokio::test]
async fn nothing_passes_after_an_upgrade_is_asked_for_before_it_is_agreed_on() {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (wire, mut io) = watch(server, &Limits::default(), Arc::new(Still));
    let head = "GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n";
    client
        .write_all([head, THIRD].concat().as_bytes())
        .await
        .unwrap();
    let mut space = vec![0; head.len()];
    io.read_exact(&mut space).await.unwrap();
    assert!(wire.is_spent());
    let mut more = [0; 64];
    assert!(futures_util::poll!(Box::pin(io.read(&mut more))).is_pending());
}

#[test]
fn frames_that_bring_nothing_are_counted_and_those_that_do_are_not() {
    let frame = |kind: u8, flags: u8, length: u8| {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(std::iter::repeat_n(0, usize::from(length)));
        bytes
    };
    let now = BootTime::from_nanos(1);
    let after = |frames: &[Vec<u8>], times: usize| {
        let mut seen = Frames::default();
        let all = frames.concat().repeat(times);
        all.chunks(7).try_for_each(|piece| seen.pass(piece, now))
    };
    for idle in [
        frame(0, 0, 0),
        frame(2, 0, 5),
        frame(3, 0, 4),
        frame(4, 0, 0),
        frame(6, 0, 8),
    ] {
        assert_eq!(after(std::slice::from_ref(&idle), 1000), Ok(()));
        assert!(
            after(std::slice::from_ref(&idle), 1001).is_err(),
            "{idle:?}"
        );
    }
    assert_eq!(
        after(
            &[
                frame(1, 4, 3),
                frame(0, 0, 9),
                frame(0, 1, 0),
                frame(8, 0, 4)
            ],
            9_999
        ),
        Ok(())
    );
    let mut seen = Frames::default();
    let many = frame(6, 0, 8).repeat(1000);
    assert_eq!(seen.pass(&many, now), Ok(()));
    assert_eq!(
        seen.pass(&many, now.plus(std::time::Duration::from_secs(10))),
        Ok(())
    );
}

#[tokio::test]
async fn whatever_comes_is_read_alike_however_it_is_cut() {
    let whole = [FIRST, SECOND, THIRD].concat().into_bytes();
    let spice = b"\r\n\0 \t:;,0x\x7f\xff#HGAa";
    let mut state = 4711_u64;
    let mut next = |below: usize| {
        // Knuth's MMIX: enough to look around with, and the same each time.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=next(3) {
            let (at, byte) = (next(bytes.len()), spice[next(spice.len())]);
            match next(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let (at_once, fault) = read(&bytes, bytes.len()).await;
        let (by_bytes, fault_by_bytes) = read(&bytes, 1).await;
        match (fault, by_bytes) {
            // Its head had gone on already: the body breaks off instead.
            (Some((_, Fault::Chunk)), Err(why)) => {
                assert_eq!(why.kind(), io::ErrorKind::InvalidData, "{shown:?}");
            }
            (_, Ok(by_bytes)) => {
                assert_eq!(at_once.unwrap(), by_bytes, "{shown:?}");
                assert_eq!(fault, fault_by_bytes, "{shown:?}");
            }
            (_, Err(why)) => panic!("{why}: {shown:?}"),
        }
    }
}
