//! Doors in a crowd: nobody on the machine keeps an operator out.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::lab::{Lab, agent};

/// So many silent connections, all of them accepted.
async fn silent(lab: &Lab, count: usize) -> Vec<UnixStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let socket = lab.socket("operator.sock");
        crowd.push(UnixStream::connect(socket).await.unwrap());
    }
    // The last one finds no place: when that is known, those before it have been dealt with.
    let mut rest = Vec::new();
    let last = crowd.last_mut().unwrap();
    assert_eq!(last.read_to_end(&mut rest).await.unwrap(), 0);
    crowd
}

#[tokio::test]
async fn a_crowd_of_strangers_keeps_no_operator_from_suspending() {
    let lab = Lab::new().await;
    lab.crowd.come_as(Some(4242));
    let refused = lab.look("/operator/v1/status").await.expect(403);
    assert_eq!(refused["rule"], "operator.none");
    let crowd = silent(&lab, 200).await;
    lab.crowd.come_as(None);
    assert_eq!(lab.suspend(agent("backlog")).await["effective"], true);
    drop(crowd);
}

#[tokio::test]
async fn one_operator_takes_no_place_of_another() {
    let lab = Lab::new().await;
    let more = "\n---\napiVersion: mandate.dev/v1alpha1\nkind: Operator\n\
        metadata: {name: NAME}\nspec: {uid: UID, rights: [inspect, suspend]}\n";
    let one = |name: &str, uid: &str| more.replace("NAME", name).replace("UID", uid);
    let text = format!(
        "{}{}{}",
        lab.bundle(),
        one("bob", "5151"),
        one("amy", "5252")
    );
    lab.apply(&text, 1).await.expect(200);
    lab.crowd.come_as(Some(5151));
    let crowd = silent(&lab, 100).await;
    lab.crowd.come_as(Some(5252));
    let shown = lab.look("/operator/v1/status").await.expect(200);
    assert_eq!(shown["operator"], json!("amy"));
    assert_eq!(lab.suspend(agent("backlog")).await["effective"], true);
    drop(crowd);
}

/// A connection to the token endpoint from `source`.
async fn from(lab: &Lab, source: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(lab.public).await.unwrap()
}

#[tokio::test]
async fn one_network_leaves_places_at_the_token_endpoint_for_others() {
    let lab = Lab::new().await;
    let mut crowd = Vec::new();
    // A quarter of its places, and one more.
    for _ in 0..65 {
        crowd.push(from(&lab, "127.0.0.1").await);
    }
    let mut rest = Vec::new();
    let closed = crowd.last_mut().unwrap().read_to_end(&mut rest);
    // Long before anybody's patience is over, and without a word.
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    let mut other = from(&lab, "127.0.1.1").await;
    let asked = b"GET /jwks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    other.write_all(asked).await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(crowd);
}
