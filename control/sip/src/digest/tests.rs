//! Tests of `digest`.

use super::*;

fn password(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn one(value: &str) -> Challenge {
    let mut challenges = parse_challenges(value);
    assert_eq!(challenges.len(), 1, "{value}");
    challenges.remove(0)
}

#[test]
fn vectors_of_rfc_7616() {
    // RFC 7616 §3.9.1
    let request = Request {
        username: "Mufasa",
        password: "Circle of Life",
        method: "GET",
        uri: "/dir/index.html",
        body: b"",
    };
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    for (algorithm, wanted) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let challenge = one(&format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        ));
        assert_eq!(response(&challenge, &request, cnonce, "00000001"), wanted);
    }
}

#[test]
fn vector_of_rfc_2617_and_2069() {
    let challenge = one("Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"");
    assert_eq!(challenge.algorithm, Algorithm::Md5);
    assert!(!challenge.algorithm_named);
    let request = Request {
        username: "Mufasa",
        password: "Circle Of Life",
        method: "GET",
        uri: "/dir/index.html",
        body: b"",
    };
    assert_eq!(response(&challenge, &request, "0a4f113b", "00000001"), "6629fae49393a05397450978507c4ef1");
    // RFC 2069 with its errata: no qop.
    let challenge = Challenge { qop: None, ..challenge };
    assert_eq!(response(&challenge, &request, "", ""), "670fd8c2df070c60b045671b8b24ff02");
    assert!(!credentials(&challenge, &request, "", 1).contains("nc="));
}

#[test]
fn sha_512_256_names_the_truncated_hash() {
    // FIPS 180-4 example: SHA-512/256("abc").
    assert_eq!(
        Algorithm::Sha512T256.hash(&[b"abc"]),
        "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
    );
}

#[test]
fn strongest_is_chosen_in_any_order() {
    let md5 = "Digest realm=\"r\", nonce=\"m\", algorithm=MD5";
    let sha = "Digest algorithm=\"sha-256\",nonce=\"s\" , realm = \"r\"";
    let unknown = "Digest realm=\"r\", nonce=\"u\", algorithm=SHA3-512";
    for values in [
        vec![md5, sha, unknown],
        vec![unknown, sha, md5],
        vec![
            "Basic realm=\"x\", Digest realm=\"r\", nonce=\"m\", Digest realm=\"r\", nonce=\"s\", algorithm=SHA-256",
        ],
    ] {
        let mut authenticator = Authenticator::new("u", password("p")).unwrap();
        authenticator.handle_challenge(401, values).unwrap();
        let sent = authenticator.authorize("INVITE", "sip:x", b"");
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].name, "Authorization");
        assert!(sent[0].value.contains("nonce=\"s\""), "{}", sent[0].value);
        assert!(sent[0].value.contains("algorithm=SHA-256"));
    }
}

#[test]
fn odd_challenges_are_read() {
    let challenge = one(r#"digest REALM="a \"b\" \\c",foo=bar , nonce=abc,, qop="auth-int", stale=TRUE"#);
    assert_eq!(challenge.realm, r#"a "b" \c"#);
    assert_eq!(challenge.nonce, "abc");
    assert_eq!(challenge.qop, Some(Qop::AuthInt));
    assert!(challenge.stale);
    assert_eq!(one("Digest realm=\"\", nonce=\"n\", qop=\"\"").qop, None);
    for bad in [
        "",
        "Digest",
        "Digest realm=\"r\"",
        "Digest nonce=\"r\"",
        "Negotiate YWJj==",
        "Digest realm=\"r\", nonce=\"cut",
        "Digest realm=\"r\", nonce=\"n\", qop=\"conf\"",
        "Digest realm=\"r\r\nX: y\", nonce=\"n\"",
        "=\"=,\"",
    ] {
        assert!(parse_challenges(bad).is_empty(), "{bad}");
    }
}

#[test]
fn nonce_count_rises_and_verifies() {
    let secret = password("pa:ss");
    for algorithm in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
        for qop in ["auth", "auth-int"] {
            let mut client = Authenticator::new("al\"ice", secret.clone()).unwrap();
            let challenge = format!(
                "Digest realm=\"r\", nonce=\"n\", algorithm={algorithm}, qop=\"{qop}\", opaque=\"o\""
            );
            client.handle_challenge(407, [challenge.as_str()]).unwrap();
            let expected = Expected {
                method: "INVITE",
                body: b"v=0",
                username: "al\"ice",
                realm: "r",
                nonce: "n",
                password: &secret,
            };
            for count in 1..=300 {
                let sent = client.authorize("INVITE", "sip:bob@x", b"v=0");
                assert_eq!(sent[0].name, "Proxy-Authorization");
                let verified = verify(&sent[0].value, &expected).unwrap();
                assert_eq!(verified.nonce_count, count);
                assert_eq!(verified.uri, "sip:bob@x");
            }
            let sent = client.authorize("INVITE", "sip:bob@x", b"v=0");
            let wrong = password("other");
            assert_eq!(
                verify(&sent[0].value, &Expected { password: &wrong, ..expected }),
                Err(DigestError::Refused)
            );
            assert_eq!(
                verify(&sent[0].value, &Expected { nonce: "newer", ..expected }),
                Err(DigestError::Stale)
            );
            if qop == "auth-int" {
                assert_eq!(
                    verify(&sent[0].value, &Expected { body: b"v=1", ..expected }),
                    Err(DigestError::Refused)
                );
            }
        }
    }
}

#[test]
fn attempts_are_capped() {
    let challenge = |nonce: &str, stale: &str| format!("Digest realm=\"r\", nonce=\"{nonce}\"{stale}");
    let mut client = Authenticator::new("u", password("p")).unwrap();
    client.handle_challenge(401, [challenge("1", "").as_str()]).unwrap();
    client.authorize("INVITE", "sip:x", b"");
    // Same nonce again: the password is wrong.
    assert_eq!(client.handle_challenge(401, [challenge("1", "").as_str()]), Err(DigestError::Refused));
    // A new nonce without stale: one more try, then no more.
    client.handle_challenge(401, [challenge("2", "").as_str()]).unwrap();
    client.authorize("INVITE", "sip:x", b"");
    assert_eq!(client.handle_challenge(401, [challenge("3", "").as_str()]), Err(DigestError::Refused));
    client.handle_challenge(401, [challenge("4", ", stale=true").as_str()]).unwrap();
    assert_eq!(
        client.handle_challenge(401, [challenge("5", ", stale=true").as_str()]),
        Err(DigestError::Refused)
    );
    client.handle_accepted();
    client.handle_challenge(401, [challenge("6", "").as_str()]).unwrap();
    // Without a challenge it is a plain refusal.
    assert_eq!(client.handle_challenge(401, []), Err(DigestError::NoChallenge));
    assert_eq!(client.handle_challenge(407, ["Basic realm=\"r\""]), Err(DigestError::Unsupported));
    assert_eq!(client.handle_challenge(403, ["Digest"]), Err(DigestError::NoChallenge));
}

#[test]
fn proxy_and_server_are_answered_side_by_side() {
    let mut client = Authenticator::new("u", password("p")).unwrap();
    client.handle_challenge(407, ["Digest realm=\"p\", nonce=\"1\", qop=\"auth\""]).unwrap();
    client.handle_challenge(401, ["Digest realm=\"s\", nonce=\"2\", qop=\"auth\""]).unwrap();
    let names: Vec<_> = client.authorize("INVITE", "sip:x", b"").iter().map(|sent| sent.name).collect();
    assert_eq!(names, ["Proxy-Authorization", "Authorization"]);
    for number in 0..20 {
        let value = format!("Digest realm=\"{number}\", nonce=\"1\"");
        client.handle_challenge(401, [value.as_str()]).unwrap();
    }
    assert_eq!(client.authorize("INVITE", "sip:x", b"").len(), REALMS_MAX);
}

#[test]
fn names_and_debug_are_safe() {
    assert_eq!(Authenticator::new("a\r\nb", password("p")).unwrap_err(), DigestError::Username);
    let mut client = Authenticator::new("u", password("geheim")).unwrap();
    client.handle_challenge(401, ["Digest realm=\"r\", nonce=\"1\""]).unwrap();
    let sent = client.authorize("INVITE", "sip:x\r\nInjected: y", b"");
    assert!(!sent[0].value.contains('\n'));
    assert!(!format!("{client:?}{sent:?}").contains("geheim"));
    assert!(!format!("{sent:?}").contains("response"));
}

#[test]
fn mutated_values_never_panic() {
    let seed =
        r#"Digest realm="a\"b", nonce="x", qop="auth,auth-int", algorithm=SHA-256, opaque="ü", stale=true"#;
    crate::mutation::for_each(seed.as_bytes(), 20_000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for challenge in parse_challenges(&text) {
            let request = Request { username: "u", password: "p", method: "M", uri: "sip:x", body: b"" };
            let value = credentials(&challenge, &request, "c", 1);
            assert!(!value.contains(['\r', '\n']));
            assert_eq!(parse_challenges(&value).len(), 1);
        }
    });
}
