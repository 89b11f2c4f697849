//! What the server's own log tells whoever runs it. That it tells no secret: see `secrecy`.

use serde_json::json;

use crate::lab::Lab;
use crate::lab::agent::token;
use crate::lab::server::Options;
use crate::lab::wait;

#[test]
fn the_servers_log_tells_what_an_administrator_looks_for() {
    let lab = Lab::with(Options {
        log: "info,mandate_authority=debug,mandate_gateway=debug",
        ..Options::default()
    });
    let worker = lab.worker();
    let task = token(worker.open());
    let access = token(worker.access(&task, "records"));
    let config = lab.data().join("gateway.yaml");
    std::fs::write(config, "secrets: {}\n").unwrap();
    wait::until("the gateway has no secret", || {
        (lab.access("/records/items/1", &access).status == 502).then_some(())
    });
    assert!(worker.access("nonsense", "records").is_refused());
    assert_eq!(lab.access("/records/items/1", "nonsense").status, 401);
    let dark = json!({"kind": "server", "name": "dark"});
    lab.suspend(&dark).expect(200);
    lab.resume(&dark).expect(200);
    let log = std::fs::read_to_string(lab.log_file()).unwrap();
    for line in [
        "serving issuer=",
        "a bundle is live version=1 operator=",
        "an access lacks its credential server=records",
        "refused rule=\"subject.invalid\"",
        "an access is refused rule=\"token.invalid\"",
        "a suspension is effective subject=server dark",
        "a suspension is lifted subject=server dark",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    assert!(!log.contains("INC-1"), "reasons are the audit log's");
}
