//! API keys: who gets in.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::house::{House, files_that_hold};
use crate::wire::call;

#[tokio::test]
async fn the_first_key_is_private_and_only_its_hash_is_stored() {
    let house = House::new().await;
    let file = house.directory.path().join("first.key");
    let mode = std::fs::metadata(file).expect("first.key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(house.key.starts_with("dvb_"), "{}", house.key);

    let key = house.key.clone();
    let (_, directory) = house.close().await;
    let secret = key.rsplit('_').next().expect("a secret");
    std::fs::remove_file(directory.path().join("first.key")).expect("first.key");
    assert_eq!(files_that_hold(directory.path(), secret), [""; 0]);
}

#[tokio::test]
async fn without_a_valid_key_nothing_opens() {
    let house = House::new().await;
    let id = house.make().await;
    let file = format!("/v1/devboxes/{id}/files/x");
    let wrong = format!("{}a", &house.key[..house.key.len() - 1]);
    let other = if wrong == house.key { format!("{}b", &wrong[..wrong.len() - 1]) } else { wrong };
    for target in ["/v1/devboxes", "/v1/keys", "/v1/audit", "/v1/templates", &file] {
        let none = call(house.address, "GET", target, &[], Vec::new()).await;
        assert_eq!((none.status, none.code().as_str()), (401, "unauthorized"), "{target}");
        assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"devbox\""), "{target}");
        for authorization in [format!("Bearer {other}"), format!("Basic {}", house.key), "Bearer".to_owned()]
        {
            let headers = [("authorization", authorization.as_str())];
            let answer = call(house.address, "GET", target, &headers, Vec::new()).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{target}");
        }
    }
}

#[tokio::test]
async fn a_key_is_made_used_listed_and_revoked() {
    let house = House::new().await;
    let made = house.call("POST", "/v1/keys", json!({ "name": "ci" })).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let made = made.json();
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("a secret"));
    assert_eq!((&made["project"], &made["role"]), (&json!("default"), &json!("member")));
    assert!(secret.starts_with(&format!("dvb_{id}_")), "{secret}");

    let listed = house.call("GET", "/v1/keys", Value::Null).await.json();
    let keys = listed["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| key.get("secret").is_none()), "{listed}");
    assert_eq!(house.call_as(secret, "GET", "/v1/devboxes", Value::Null).await.status, 200);

    let target = format!("/v1/keys/{id}");
    assert_eq!(house.call("DELETE", &target, Value::Null).await.status, 204);
    assert_eq!(house.call_as(secret, "GET", "/v1/devboxes", Value::Null).await.status, 401);
    let again = house.call("DELETE", &target, Value::Null).await;
    assert_eq!((again.status, again.code().as_str()), (404, "key_not_found"));
    let elsewhere = house.call("GET", "/v1/keys?project=other", Value::Null).await.json();
    assert_eq!(elsewhere["keys"], json!([]));
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_after_a_restart() {
    let house = House::new().await;
    let secret = house.make_key("default", "member").await;
    let id = secret.split('_').nth(1).expect("an id").to_owned();
    assert_eq!(house.call("DELETE", &format!("/v1/keys/{id}"), Value::Null).await.status, 204);
    let (backend, directory) = house.close().await;
    let house = House::open(devbox_server::ServerConfig::default(), backend, directory).await;
    assert_eq!(house.call("GET", "/v1/devboxes", Value::Null).await.status, 200);
    assert_eq!(house.call_as(&secret, "GET", "/v1/devboxes", Value::Null).await.status, 401);
}

#[tokio::test]
async fn keys_and_audit_are_for_admins() {
    let house = House::new().await;
    let member = house.make_key("default", "member").await;
    for (method, target) in
        [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/abcdefgh"), ("GET", "/v1/audit")]
    {
        let answer = house.call_as(&member, method, target, Value::Null).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{method} {target}");
    }
}

#[tokio::test]
async fn another_projects_box_is_as_if_it_were_not() {
    let house = House::new().await;
    let answer = house.call("POST", "/v1/devboxes", json!({ "name": "mine" })).await.json();
    let id = answer["id"].as_str().expect("an id");
    let other = house.make_key("other", "admin").await;
    let nobody = "aaaaaaaaaaaaaaaa";
    for (method, below) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("GET", "/files/x"),
        ("PUT", "/files/x"),
        ("GET", "/entries/"),
        ("GET", "/processes"),
    ] {
        let theirs = house.call_as(&other, method, &format!("/v1/devboxes/{id}{below}"), Value::Null).await;
        assert_eq!((theirs.status, theirs.code().as_str()), (404, "devbox_not_found"), "{method} {below}");
        let none = house.call_as(&other, method, &format!("/v1/devboxes/{nobody}{below}"), Value::Null).await;
        let blank = |answer: &crate::wire::Answer, id: &str| {
            let mut problem = answer.json();
            problem["request_id"] = Value::Null;
            problem.to_string().replace(id, "ID")
        };
        assert_eq!(blank(&theirs, id), blank(&none, nobody), "{method} {below}");
        let named = house.call_as(&other, method, &format!("/v1/devboxes/mine{below}"), Value::Null).await;
        assert_eq!(named.code(), "devbox_not_found", "{method} {below}");
    }
    let listed = house.call_as(&other, "GET", "/v1/devboxes", Value::Null).await.json();
    assert_eq!(listed["devboxes"], json!([]));
    // The name is free in the other project.
    let twin = house.call_as(&other, "POST", "/v1/devboxes", json!({ "name": "mine" })).await;
    assert_eq!(twin.status, 201);
}
