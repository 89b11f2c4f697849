use super::*;

fn route(text: &str) -> Route {
    Route::parse(text).unwrap()
}

#[test]
fn templates_have_one_spelling() {
    for text in ["GET /", "GET /a/{b}/*/**", "PUT /a/", "M-SEARCH /x"] {
        assert_eq!(route(text).to_string(), text);
    }
    for bad in [
        "/a",
        "get /a",
        "GET a",
        "GET /**/a",
        "GET //a",
        "GET /a//b",
        "GET /../a",
        "GET /{a",
        "GET /{A}",
        "GET /a*",
        "GET /%61",
        "GET /a;b",
        "GET /a?b",
        "GET /{a}/{a}",
        "GET  /a",
    ] {
        assert!(Route::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn narrower_means_every_request_of_it_fits() {
    for (inner, outer) in [
        ("GET /a", "GET /**"),
        ("GET /a/b", "GET /a/{x}"),
        ("GET /a/{x}", "GET /a/**"),
        ("GET /a", "GET /a/**"),
        ("GET /a/", "GET /a/**"),
    ] {
        assert!(route(inner).is_within(&route(outer)), "{inner} {outer}");
        assert!(!route(outer).is_within(&route(inner)), "{outer} {inner}");
        assert!(route(inner).crosses(&route(outer)));
    }
    assert!(
        !route("GET /a/").is_within(&route("GET /a/{x}")),
        "an empty segment"
    );
    assert!(!route("POST /a").crosses(&route("GET /a")));
    assert!(route("GET /a/{x}/c").crosses(&route("GET /a/b/{y}")));
}

#[test]
fn a_wider_template_does_not_catch_what_some_servers_take_for_a_narrower_one() {
    let routes = [
        route("POST /customers/{customer}/**"),
        route("POST /customers/{customer}/refunds"),
        route("GET /customers/{customer}"),
        route("GET /customers/search"),
    ];
    let mut root: HashMap<String, Node> = HashMap::new();
    for (n, route) in routes.iter().enumerate() {
        let target = (ActionName::parse("a").unwrap(), n);
        root.entry(route.method.clone())
            .or_default()
            .insert(&route.segments, target);
    }
    let find = |method: &str, path: &str| {
        let segments: Vec<&str> = path.split('/').collect();
        root[method].find(&segments).target().map(|(_, n)| *n)
    };
    assert_eq!(find("POST", "customers/acme/refunds"), Some(1));
    assert_eq!(find("POST", "customers/acme/notes"), Some(0));
    assert_eq!(find("POST", "customers/acme/refunds/7"), Some(0));
    for twin in [
        "customers/acme/refunds/",
        "customers/acme/REFUNDS",
        "customers/acme/notes/",
        "Customers/acme/notes",
    ] {
        assert_eq!(find("POST", twin), None, "{twin}");
    }
    assert_eq!(find("GET", "customers/search"), Some(3));
    assert_eq!(find("GET", "customers/acme"), Some(2));
    assert_eq!(find("GET", "customers/Search"), None);
}

#[test]
fn no_wider_template_further_up_catches_what_differs_from_a_narrower_one_in_case() {
    let narrow = "POST /customers/{customer}/refunds";
    for wider in [
        "POST /**",
        "POST /customers/**",
        "POST /customers/{customer}/**",
        "POST /{tenant}/**",
        "POST /{tenant}/{customer}/**",
    ] {
        let mut root = Node::default();
        for (n, text) in [narrow, wider].into_iter().enumerate() {
            let target = (ActionName::parse("a").unwrap(), n);
            root.insert(&route(text).segments, target);
        }
        let find = |path: &str| {
            let segments: Vec<&str> = path.split('/').collect();
            root.find(&segments).target().map(|(_, n)| *n)
        };
        assert_eq!(find("customers/acme/refunds"), Some(0), "{wider}");
        assert_eq!(find("customers/acme/notes"), Some(1), "{wider}");
        for twin in ["customers/acme/REFUNDS", "CUSTOMERS/acme/refunds"] {
            assert_eq!(find(twin), None, "{wider} {twin}");
        }
    }
}

#[test]
fn a_slash_at_the_end_never_turns_one_action_into_another() {
    let server = |texts: &[(&str, &str)]| {
        let mut actions: BTreeMap<ActionName, Action> = BTreeMap::new();
        for (name, text) in texts {
            let name = ActionName::parse(name).unwrap();
            let action = actions.entry(name.clone()).or_insert_with(|| Action {
                name,
                effect: mandate_model::Effect::Read,
                routes: vec![],
                attributes: BTreeMap::new(),
                upgrade: std::collections::BTreeSet::new(),
            });
            action.routes.push(route(text));
        }
        (Matcher::new(&actions), actions)
    };
    let (matcher, actions) = server(&[
        ("open", "GET /folders/{folder}/"),
        ("keys", "GET /folders/keys"),
        ("list", "GET /lists/{list}"),
        ("list", "GET /lists/{list}/"),
    ]);
    let matcher = matcher.unwrap();
    let fits = |path: &str| {
        let segments: Vec<&str> = path.split('/').collect();
        let (name, n) = matcher.find("GET", &segments)?;
        let bare =
            |(name, n): &(ActionName, usize)| actions[name].routes[*n].without_slash().to_vec();
        let own = bare(&(name.clone(), *n));
        let is_own = |other: &(ActionName, usize)| other.0 == *name && bare(other) == own;
        (!matcher.has_slash_twin("GET", &segments, is_own)).then(|| name.to_string())
    };
    assert_eq!(fits("folders/acme/").as_deref(), Some("open"));
    assert_eq!(fits("folders/acme"), None);
    assert_eq!(
        fits("folders/keys/"),
        None,
        "`keys` to who ignores the slash"
    );
    assert_eq!(fits("folders/keys"), None, "`open` to who puts it there");
    assert_eq!(fits("lists/a").as_deref(), Some("list"));
    assert_eq!(fits("lists/a/").as_deref(), Some("list"));
    let twins = server(&[("a", "GET /x/{y}"), ("b", "GET /x/{z}/")]).0;
    assert_eq!(twins.unwrap_err().len(), 1);
}
