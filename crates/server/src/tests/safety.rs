//! Who is let in.

use super::house::House;
use crate::{Instance, Server, ServerError, ServerOptions, Token};

const TOKEN: &str = "0123456789abcdef";

fn guarded() -> House {
    House::with(|options| options.token = Some(Token::parse(TOKEN).unwrap()))
}

#[test]
fn with_a_token_only_health_is_told_without_it() {
    let house = guarded();
    for path in ["/healthz", "/readyz"] {
        assert_ne!(house.get(path).status, 401, "{path}");
    }
    let everything = crate::routes::ROUTES.iter().map(|route| route.path).chain(["/nothing"]);
    for path in everything.filter(|path| !crate::routes::HEALTH.contains(path)) {
        let path = path.replace("{*arn}", "x").replace("{id}", "1");
        for wrong in [None, Some("Bearer 0123456789abcdeX"), Some("Basic 0123456789abcdef"), Some("Bearer")] {
            let headers: Vec<_> = wrong.map(|wrong| ("Authorization", wrong)).into_iter().collect();
            let answer = house.request("GET", &path, &headers);
            assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{path} {wrong:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert!(!answer.text().contains("0123456789"));
        }
    }
    let right = [("Authorization", "Bearer 0123456789abcdef"), ("Host", "dormouse.example")];
    assert_eq!(house.request("GET", "/api/v1/keys", &right).status, 200);
    assert_eq!(house.request("GET", "/nothing", &right).status, 404);
    let metrics = house.request("GET", "/metrics", &right);
    assert!(metrics.text().contains("dormouse_http_refused_tokens_total"), "{metrics:?}");
}

#[test]
fn without_a_token_strangers_names_and_pages_get_nothing() {
    let house = House::new();
    for host in ["evil.example", "evil.example:9774", "169.254.1.1"] {
        let answer = house.request("GET", "/api/v1/keys", &[("Host", host)]);
        assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_origin"), "{host}");
        assert_eq!(house.request("GET", "/healthz", &[("Host", host)]).status, 200);
    }
    let page = [("Origin", "http://evil.example")];
    let answer = house.request("POST", "/api/v1/quarantine/1/retry", &page);
    assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_origin"));
    let answer = house.request("DELETE", "/api/v1/quarantine/1", &[("Sec-Fetch-Site", "cross-site")]);
    assert_eq!(answer.status, 403);
    let own = [("Origin", "http://localhost:1"), ("Host", "localhost:1")];
    assert_eq!(house.request("DELETE", "/api/v1/quarantine/1", &own).status, 404);
}

#[test]
fn anonymous_access_takes_any_name_but_no_other_sites_changes() {
    let house = House::with(|options| options.allow_anonymous = true);
    assert_eq!(house.request("GET", "/api/v1/keys", &[("Host", "dormouse.example")]).status, 200);
    let page = [("Host", "dormouse.example"), ("Origin", "http://evil.example")];
    assert_eq!(house.request("DELETE", "/api/v1/quarantine/1", &page).status, 403);
}

#[test]
fn a_server_that_others_can_reach_does_not_start_without_a_word() {
    let house = House::new();
    let instance = Instance { registry: prometheus::Registry::new(), ..house.instance.clone() };
    let open = ServerOptions::at("0.0.0.0:0".parse().unwrap());
    let refused = house.runtime.block_on(Server::bind(open.clone(), instance.clone()));
    assert!(matches!(refused, Err(ServerError::NeedsToken(_))));
    let taken = ServerOptions::at(house.address);
    let error = house.runtime.block_on(Server::bind(taken, instance.clone())).err().unwrap().to_string();
    assert!(error.contains("[http] listen") && error.contains(&house.address.to_string()), "{error}");
    let allowed = ServerOptions { allow_anonymous: true, ..open };
    let server = house.runtime.block_on(Server::bind(allowed, instance)).unwrap();
    assert!(server.url().starts_with("http://127.0.0.1:"), "{}", server.url());
}
