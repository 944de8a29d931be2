//! The addresses of a call or registration (RFC 3261 §8.1.1, §10.2; RFC 3966 for `tel:`).
//! Takes: account and callee as people write them. Gives: checked Request-URI, From, To, Route and Contact.
//! Leaves out: name resolution and tags (the stack).

use std::net::SocketAddr;

use crate::order::{Account, Transport};
use crate::uri::{DEFAULT_PORT, HostPort, Problem, SipUri, UriError, check_header_text, name_address};

/// The addresses of one call or registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where the request goes by name: the Request-URI.
    pub request_uri: SipUri,
    /// Our address of record.
    pub from: SipUri,
    /// Display name of From, unescaped but checked.
    pub from_name: Option<String>,
    /// The peer's address of record.
    pub to: SipUri,
    /// Preloaded Route set (RFC 3261 §8.1.2): the outbound proxy, loose.
    pub routes: Vec<SipUri>,
    /// Where the request goes on the network: the first Route's host, else the Request-URI's.
    pub next_hop: HostPort,
    /// Over which transport; `None`: as the next hop's records say (RFC 3263 §4.1).
    pub transport: Option<Transport>,
    /// The next hop is to be reached over TLS only: the URI that names it is `sips:` (RFC 3261 §26.2.2).
    pub secure: bool,
}

impl Addresses {
    /// For an INVITE from `account` to `callee`: a user part or number at the account's domain, `user@host`, or a
    /// whole `sip:`, `sips:` or `tel:` URI.
    ///
    /// # Errors
    /// [`UriError`] naming the field of the order that must change.
    pub fn for_call(account: &Account, callee: &str) -> Result<Self, UriError> {
        let server = server(account)?;
        let mut request_uri = request_uri(&server, account, callee)?;
        request_uri.secure |= server_is_secure(account);
        Self::build(account, server, request_uri.clone(), request_uri)
    }

    /// For a REGISTER: the Request-URI is the domain, From and To are the account (RFC 3261 §10.2).
    ///
    /// # Errors
    /// [`UriError`] naming the field of the account that must change.
    pub fn for_registration(account: &Account) -> Result<Self, UriError> {
        let server = server(account)?;
        let mut request_uri = SipUri::new("domain", None, server.clone())?;
        let mut to = SipUri::new("login", Some(&account.login), server.clone())?;
        request_uri.secure = server_is_secure(account);
        to.secure = request_uri.secure;
        Self::build(account, server, request_uri, to)
    }

    /// The same call at another target, as a redirect or a retry asks (RFC 3261 §8.1.3.4: To stays).
    pub fn redirected(&self, target: SipUri) -> Self {
        let mut addresses = self.clone();
        if addresses.routes.is_empty() {
            addresses.next_hop = target.host_port.clone();
            addresses.secure = target.secure;
            if let Some(transport) = transport_of(&target) {
                addresses.transport = Some(transport);
            }
        }
        addresses.request_uri = target;
        addresses
    }

    fn build(account: &Account, server: HostPort, request_uri: SipUri, to: SipUri) -> Result<Self, UriError> {
        if let Some(name) = &account.visible_name {
            check_header_text("visibleName", name)?;
        }
        if account.login.is_empty() {
            return Err(UriError { field: "login", problem: Problem::User });
        }
        let mut from = SipUri::new("login", Some(&account.login), server)?.as_address_of_record();
        from.secure = server_is_secure(account);
        let mut transport = account.transport;
        let mut routes = Vec::new();
        let request_uri = match outbound_proxy(account)? {
            Some((proxy, secure)) => {
                let mut route = SipUri::new("outboundProxy", None, proxy)?;
                route.parameters.push(("lr".to_owned(), None));
                // RFC 5630 §3.1.2: every hop of a sips: request is a secure one.
                route.secure = secure || request_uri.secure;
                routes.push(route.with_transport(transport));
                request_uri
            }
            None => {
                transport = transport_of(&request_uri).or(transport);
                request_uri.with_transport(transport)
            }
        };
        let next_hop = routes.first().unwrap_or(&request_uri);
        let secure = next_hop.secure;
        let next_hop = next_hop.host_port.clone();
        Ok(Self {
            to: to.as_address_of_record(),
            from_name: account.visible_name.clone().filter(|name| !name.is_empty()),
            request_uri,
            from,
            routes,
            next_hop,
            transport: if secure { Some(Transport::Tls) } else { transport },
            secure,
        })
    }

    /// Value of the From header, without tag.
    pub fn from_header(&self) -> String {
        // The name was checked when it came in, so this does not fail; without name is right in any case.
        name_address("visibleName", self.from_name.as_deref(), &self.from)
            .unwrap_or_else(|_| format!("<{}>", self.from))
    }

    /// Value of the To header, without tag.
    pub fn to_header(&self) -> String {
        format!("<{}>", self.to)
    }

    /// Values of the Route headers.
    pub fn route_headers(&self) -> Vec<String> {
        self.routes.iter().map(|route| format!("<{route}>")).collect()
    }

    /// Our Contact at the local address that `transport` uses. It is `sips:` if the Request-URI or the topmost Route is
    /// (RFC 3261 §8.1.1.8).
    pub fn contact(&self, local: SocketAddr, transport: Transport) -> SipUri {
        let contact = SipUri {
            secure: self.secure || self.request_uri.secure,
            user: self.from.user.clone(),
            host_port: HostPort::from(local),
            parameters: Vec::new(),
        };
        contact.with_transport(Some(transport))
    }
}

/// The account's SIP server. A port written in the domain wins over the account's; the account's port belongs to the
/// outbound proxy if there is one.
fn server(account: &Account) -> Result<HostPort, UriError> {
    let domain = account.domain.trim();
    let domain =
        ["sip:", "sips:"].into_iter().find_map(|scheme| without_scheme(domain, scheme)).unwrap_or(domain);
    let mut server = HostPort::parse("domain", domain)?;
    if server.port.is_none() && account.outbound_proxy.is_none() {
        server.port = explicit_port(account.port);
    }
    Ok(server)
}

/// The domain is written as `sips:domain`: then every URI of the account is a `sips:` one.
fn server_is_secure(account: &Account) -> bool {
    without_scheme(account.domain.trim(), "sips:").is_some()
}

fn without_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    text.get(..scheme.len()).filter(|found| found.eq_ignore_ascii_case(scheme)).map(|_| &text[scheme.len()..])
}

/// The transport that a URI asks for, in its scheme or in a parameter.
fn transport_of(uri: &SipUri) -> Option<Transport> {
    if uri.secure { Some(Transport::Tls) } else { uri.transport() }
}

/// The outbound proxy, and whether it is written as `sips:`.
fn outbound_proxy(account: &Account) -> Result<Option<(HostPort, bool)>, UriError> {
    let Some(text) = account.outbound_proxy.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let has_scheme = ["sip:", "sips:"].into_iter().any(|scheme| without_scheme(text, scheme).is_some());
    let (mut proxy, secure) = if has_scheme {
        let uri = SipUri::parse("outboundProxy", text)?;
        (uri.host_port, uri.secure)
    } else {
        (HostPort::parse("outboundProxy", text)?, false)
    };
    if proxy.port.is_none() {
        proxy.port = explicit_port(account.port);
    }
    Ok(Some((proxy, secure)))
}

/// 5060 and 0 are left unwritten, so that SRV records count (RFC 3263 §4.2: a written port rules them out), and so that
/// an account's usual 5060 does not become the port of TLS.
fn explicit_port(port: u16) -> Option<u16> {
    (port != 0 && port != DEFAULT_PORT).then_some(port)
}

fn request_uri(server: &HostPort, account: &Account, callee: &str) -> Result<SipUri, UriError> {
    const FIELD: &str = "callee";
    check_header_text(FIELD, callee)?;
    let callee = callee.trim();
    if callee.is_empty() {
        return Err(UriError { field: FIELD, problem: Problem::User });
    }
    let starts_with =
        |scheme: &str| callee.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    if starts_with("sip:") || starts_with("sips:") {
        return SipUri::parse(FIELD, callee);
    }
    if starts_with("tel:") {
        // RFC 3261 §19.1.6: the number becomes the user part, its visual separators go.
        let number = callee[4..].split(';').next().unwrap_or("");
        let number: String = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
        let digits = number.strip_prefix('+').unwrap_or(&number);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#')) {
            return Err(UriError { field: FIELD, problem: Problem::Number });
        }
        let mut uri = SipUri::new(FIELD, Some(&number), server.clone())?;
        uri.parameters.push(("user".to_owned(), Some("phone".to_owned())));
        return Ok(uri);
    }
    if callee.contains('@') {
        let mut uri = SipUri::parse(FIELD, &format!("sip:{callee}"))?;
        // `8801@domain` is the same as `8801`: the account's port holds for its own domain.
        if uri.host_port.port.is_none()
            && uri.host_port.host == server.host
            && account.outbound_proxy.is_none()
        {
            uri.host_port.port = server.port;
        }
        return Ok(uri);
    }
    SipUri::new(FIELD, Some(callee), server.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::Secret;

    pub(crate) fn account() -> Account {
        Account {
            login: "1000".into(),
            authentication_name: "1000".into(),
            password: Secret::new("pw".into()),
            domain: "pbx.example.com".into(),
            port: 5060,
            outbound_proxy: None,
            transport: Some(Transport::Udp),
            register: false,
            visible_name: None,
        }
    }

    #[test]
    fn callees_become_request_uris() {
        for (callee, port, wanted) in [
            ("8801", 5060, "sip:8801@pbx.example.com"),
            ("8801", 5070, "sip:8801@pbx.example.com:5070"),
            (" 8801 ", 0, "sip:8801@pbx.example.com"),
            ("+15551234", 5060, "sip:+15551234@pbx.example.com"),
            ("*67#", 5060, "sip:*67%23@pbx.example.com"),
            ("bob@Other.example", 5070, "sip:bob@other.example"),
            ("bob@pbx.example.com", 5070, "sip:bob@pbx.example.com:5070"),
            ("bob@10.0.0.1:5080", 5060, "sip:bob@10.0.0.1:5080"),
            ("sip:bob@host:5070;transport=tcp", 5060, "sip:bob@host:5070;transport=tcp"),
            ("SIPS:bob@[2001:db8::1]:5061;x", 5060, "sips:bob@[2001:db8::1]:5061;x"),
            ("sip:room.example", 5060, "sip:room.example"),
            ("tel:+1-555-(12).34", 5060, "sip:+15551234@pbx.example.com;user=phone"),
            ("123.456@zoomcrc.com", 5060, "sip:123.456@zoomcrc.com"),
            ("a b\"c<d>", 5060, "sip:a%20b%22c%3Cd%3E@pbx.example.com"),
            ("größe", 5060, "sip:gr%C3%B6%C3%9Fe@pbx.example.com"),
            ("a%20b%zz", 5060, "sip:a%20b%25zz@pbx.example.com"),
        ] {
            let account = Account { port, ..account() };
            let addresses = Addresses::for_call(&account, callee).unwrap();
            assert_eq!(addresses.request_uri.to_string(), wanted, "{callee}");
            assert_eq!(addresses.next_hop, addresses.request_uri.host_port);
            assert_eq!(addresses.from_header(), "<sip:1000@pbx.example.com>");
            assert_eq!(SipUri::parse("x", wanted).unwrap(), addresses.request_uri, "round trip");
        }
    }

    #[test]
    fn injection_and_nonsense_are_refused() {
        for (callee, problem) in [
            ("", Problem::User),
            ("8801\r\nX-Evil: 1", Problem::ControlCharacter),
            ("sip:a@b\0", Problem::ControlCharacter),
            ("sip:a:pw@b", Problem::Password),
            ("sip:a@b?Replaces=1", Problem::Headers),
            ("sip:a@b;x=\"", Problem::Parameter),
            ("sip:a@b>;x=<", Problem::Host),
            ("sip:a@[::1", Problem::Host),
            ("sip:a@b:0", Problem::Port),
            ("sip:a@b:+5", Problem::Port),
            ("sip:a@b:70000", Problem::Port),
            ("@host", Problem::User),
            ("tel:", Problem::Number),
            ("tel:abcxyz", Problem::Number),
        ] {
            let error = Addresses::for_call(&account(), callee).unwrap_err();
            assert_eq!(error, UriError { field: "callee", problem }, "{callee}");
        }
        let long = "8".repeat(2000);
        assert_eq!(Addresses::for_call(&account(), &long).unwrap_err().problem, Problem::TooLong);
        for account in [
            Account { domain: "a b".into(), ..account() },
            Account { domain: "x\r\ny".into(), ..account() },
            Account { login: "x\ny".into(), ..account() },
            Account { login: String::new(), ..account() },
            Account { visible_name: Some("x\r\nVia: y".into()), ..account() },
            Account { outbound_proxy: Some("p;lr".into()), ..account() },
        ] {
            assert!(Addresses::for_call(&account, "1").is_err(), "{account:?}");
            assert!(Addresses::for_registration(&account).is_err(), "{account:?}");
        }
    }

    #[test]
    fn outbound_proxy_is_a_loose_route() {
        let account = Account {
            outbound_proxy: Some("proxy.example".into()),
            port: 5070,
            transport: Some(Transport::Tcp),
            visible_name: Some("Ann \"A\" \\ Lee".into()),
            ..account()
        };
        let addresses = Addresses::for_call(&account, "8801").unwrap();
        assert_eq!(addresses.request_uri.to_string(), "sip:8801@pbx.example.com");
        assert_eq!(addresses.route_headers(), ["<sip:proxy.example:5070;lr;transport=tcp>"]);
        assert_eq!(addresses.next_hop.to_string(), "proxy.example:5070");
        assert_eq!(addresses.from_header(), r#""Ann \"A\" \\ Lee" <sip:1000@pbx.example.com>"#);
        assert_eq!(
            addresses.contact("192.0.2.1:5062".parse().unwrap(), Transport::Tcp).to_string(),
            "sip:1000@192.0.2.1:5062;transport=tcp"
        );
        let moved = addresses.redirected("sip:9@elsewhere:5099".parse().unwrap());
        assert_eq!(moved.next_hop, addresses.next_hop, "still through the proxy");
        assert_eq!(moved.to_header(), "<sip:8801@pbx.example.com>");
        let account = Account { outbound_proxy: Some("[2001:db8::2]:5080".into()), ..account };
        let addresses = Addresses::for_registration(&account).unwrap();
        assert_eq!(addresses.route_headers(), ["<sip:[2001:db8::2]:5080;lr;transport=tcp>"]);
        assert_eq!(addresses.request_uri.to_string(), "sip:pbx.example.com");
        assert_eq!(addresses.to_header(), "<sip:1000@pbx.example.com>");
    }

    #[test]
    fn tls_is_written_as_its_parameter_and_sips_needs_none() {
        let account = Account { transport: Some(Transport::Tls), ..account() };
        let addresses = Addresses::for_call(&account, "1").unwrap();
        assert_eq!(addresses.request_uri.to_string(), "sip:1@pbx.example.com;transport=tls");
        assert_eq!((addresses.transport, addresses.secure), (Some(Transport::Tls), false));
        let local = "192.0.2.1:5061".parse().unwrap();
        let contact = |addresses: &Addresses| addresses.contact(local, Transport::Tls).to_string();
        assert_eq!(contact(&addresses), "sip:1000@192.0.2.1:5061;transport=tls");

        let addresses = Addresses::for_call(&account, "sips:bob@other.example").unwrap();
        assert_eq!(addresses.request_uri.to_string(), "sips:bob@other.example");
        assert_eq!((addresses.transport, addresses.secure), (Some(Transport::Tls), true));
        assert_eq!(contact(&addresses), "sips:1000@192.0.2.1:5061");

        let account = Account { domain: "sips:pbx.example.com".into(), transport: None, ..account };
        let addresses = Addresses::for_registration(&account).unwrap();
        assert_eq!(addresses.request_uri.to_string(), "sips:pbx.example.com");
        assert_eq!(addresses.to_header(), "<sips:1000@pbx.example.com>");
        assert_eq!(addresses.from_header(), "<sips:1000@pbx.example.com>");
        assert_eq!(addresses.transport, Some(Transport::Tls));

        let account = Account { outbound_proxy: Some("sips:edge.example".into()), ..account };
        let addresses = Addresses::for_call(&account, "1").unwrap();
        assert_eq!(addresses.route_headers(), ["<sips:edge.example;lr>"]);
        let moved = Addresses::for_call(&self::account(), "1").unwrap();
        let moved = moved.redirected("sips:9@elsewhere".parse().unwrap());
        assert_eq!((moved.transport, moved.secure), (Some(Transport::Tls), true));
    }

    #[test]
    fn ipv6_domains_are_bracketed() {
        for domain in ["2001:db8::1", "[2001:db8::1]"] {
            let account = Account { domain: domain.into(), port: 5080, ..account() };
            let addresses = Addresses::for_call(&account, "1").unwrap();
            assert_eq!(addresses.request_uri.to_string(), "sip:1@[2001:db8::1]:5080");
            assert_eq!(addresses.from.to_string(), "sip:1000@[2001:db8::1]");
        }
        let local = "[2001:db8::9]:5060".parse().unwrap();
        let addresses = Addresses::for_call(&account(), "1").unwrap();
        assert_eq!(addresses.contact(local, Transport::Udp).to_string(), "sip:1000@[2001:db8::9]:5060");
    }

    #[test]
    fn mutated_uris_never_panic_or_inject() {
        for seed in
            ["sip:us%20er;x@[2001:db8::1]:5060;transport=tcp;lr", "tel:+1-555;phone-context=x", "a@b.c:5060"]
        {
            crate::mutation::for_each(seed.as_bytes(), 10_000, |bytes| {
                let text = String::from_utf8_lossy(bytes);
                if let Ok(addresses) = Addresses::for_call(&account(), &text) {
                    let uri = addresses.request_uri.to_string();
                    assert!(!uri.contains(['\r', '\n', '<', '>', '"', ' ']), "{uri}");
                    assert_eq!(uri.parse(), Ok(addresses.request_uri), "{uri}");
                }
            });
        }
    }
}
