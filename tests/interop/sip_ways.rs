//! Ways to a callee beside plain UDP: Kamailio over TLS with protected media, servers found by name, IPv6.

use std::time::Duration;

use crate::support::authority::Authority;
use crate::support::baresip::Baresip;
use crate::support::kamailio::Kamailio;
use crate::support::name_server::NameServer;
use crate::support::nginx::Nginx;
use crate::support::room::{Demands, Room, Way, header};
use crate::support::sipcast::{PASSWORD, Sipcast, order};
use crate::support::sipp::Sipp;
use crate::support::{ports, wait_for};

const SOON: Duration = Duration::from_secs(30);

fn wait_for_media(sipcast: &Sipcast) {
    wait_for("pictures and sound", SOON, || {
        let totals = sipcast.statistics()["totals"].clone();
        (totals["accessUnits"].as_u64()? > 30 && totals["audio"]["packets"].as_u64()? > 50).then_some(())
    });
}

fn hang_up(sipcast: &Sipcast, call_id: &str) {
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": call_id })).status, 200);
    wait_for("end of the call", SOON, || sipcast.call(call_id).is_none().then_some(()));
}

#[test]
fn kamailio_over_tls_and_srtp_with_baresip() {
    let authority = Authority::new();
    let kamailio = Kamailio::start_tls(PASSWORD, &authority.issue(&["127.0.0.1"]));
    let nginx = Nginx::start();
    let callee = Baresip::start_tls(
        &format!(
            "<sip:callee@127.0.0.1:{};transport=tls>;auth_user=callee;auth_pass={PASSWORD};regint=60;\
             answermode=auto;audio_codecs=PCMU;mediaenc=srtp-mand",
            kamailio.port
        ),
        &authority.issue(&["127.0.0.1"]),
        &authority.roots(),
    );
    wait_for("registration of the callee", SOON, || {
        kamailio.output().contains("REGISTER of callee over tls").then_some(())
    });
    let sipcast = Sipcast::start(&[&format!("sip.tls_roots={}", authority.roots().display())]);
    let mut order = order("secure", kamailio.port, &nginx.url(), "secure");
    order["sipRegisterRequired"] = true.into();
    order["sipTransport"] = "tls".into();
    order["mediaSecurity"] = "mandatory".into();
    let answer = sipcast.post("call/startup", &order);
    assert_eq!(answer.status, 200, "{}", answer.body);
    sipcast.wait_for_status("secure", "ESTABLISHED", SOON);
    wait_for_media(&sipcast);
    let totals = sipcast.statistics()["totals"].clone();
    for stream in ["audio", "video"] {
        assert_eq!(totals[stream]["authenticationFailed"], 0, "{totals}");
    }
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "secure" })).status, 200);
    wait_for("BYE and un-registration by way of the proxy", SOON, || {
        let log = kamailio.output();
        let unregistered = log.matches("REGISTER of caster over tls").count() >= 2;
        let in_dialog = |method| log.contains(&format!("in-dialog {method} over tls"));
        (in_dialog("ACK") && in_dialog("BYE") && unregistered).then_some(())
    });
    drop(callee);
    sipcast.stop();
}

#[test]
fn a_server_that_the_roots_do_not_know_gets_no_call() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let way = Way::Tls(authority.issue(&["127.0.0.1"]).server());
    let room = Room::open(Demands { way, ..Demands::none() });
    let sipcast = Sipcast::start(&[&format!("sip.tls_roots={}", stranger.roots().display())]);
    let mut order = order("stranger", room.port, "rtmp://127.0.0.1:9/live", "stranger");
    order["sipTransport"] = "tls".into();
    assert_eq!(sipcast.post("call/startup", &order).status, 200);
    sipcast.wait_for_status("stranger", "FAILED", SOON);
    assert!(room.seen().invites.is_empty());
    sipcast.stop();
}

#[test]
fn a_fork_that_answers_is_published_and_the_other_is_cancelled() {
    let ringing_port = ports::free(1);
    let ringing = Sipp::start_on(ringing_port, "no_answer", &[]);
    let answering = Baresip::start("PCMU");
    let kamailio = Kamailio::start_forking(PASSWORD, &[ringing_port, answering.port]);
    let nginx = Nginx::start();
    let sipcast = Sipcast::start(&[]);
    let order = order("forked", kamailio.port, &nginx.url(), "forked");
    let answer = sipcast.post("call/startup", &order);
    assert_eq!(answer.status, 200, "{}", answer.body);
    sipcast.wait_for_status("forked", "ESTABLISHED", SOON);
    wait_for_media(&sipcast);
    // It rang, and got CANCEL from the proxy when the other had answered.
    ringing.assert_passed();
    hang_up(&sipcast, "forked");
    drop(answering);
    sipcast.stop();
}

#[test]
fn a_server_is_found_by_srv_records_past_one_that_is_dead() {
    let room = Room::open(Demands { way: Way::Tcp, ..Demands::none() });
    let dead = ports::free(1);
    let names = NameServer::start(&format!(
        "_sip._tcp SRV 10 0 {dead} first\n_sip._tcp SRV 20 0 {} second\nfirst A 127.0.0.1\nsecond A 127.0.0.1\n",
        room.port
    ));
    let sipcast = Sipcast::start(&[&format!("sip.name_servers=[\"{}\"]", names.address)]);
    let mut order = order("found", 5060, "rtmp://127.0.0.1:9/live", "found");
    let fields = order.as_object_mut().expect("an object");
    fields.remove("sipOutboundProxy");
    fields.remove("sipPort");
    order["sipDomain"] = "sipcast.test".into();
    order["sipTransport"] = "tcp".into();
    let answer = sipcast.post("call/startup", &order);
    assert_eq!(answer.status, 200, "{}", answer.body);
    sipcast.wait_for_status("found", "ESTABLISHED", SOON);
    wait_for_media(&sipcast);
    assert_eq!(room.seen().invites[0].split(' ').nth(1), Some("sip:callee@sipcast.test;transport=tcp"));
    hang_up(&sipcast, "found");
    sipcast.stop();
}

#[test]
fn a_call_goes_over_ipv6_with_its_media() {
    let loopback = std::net::Ipv6Addr::LOCALHOST;
    if std::net::UdpSocket::bind((loopback, 0)).is_err() {
        println!("this machine has no IPv6");
        return;
    }
    let room = Room::open(Demands { address: loopback.into(), ..Demands::none() });
    let nginx = Nginx::start();
    let sipcast = Sipcast::start(&["sip.listen_also=::1", "media.address=::1"]);
    let mut order = order("six", room.port, &nginx.url(), "six");
    order["sipDomain"] = "[::1]".into();
    order.as_object_mut().expect("an object").remove("sipOutboundProxy");
    let answer = sipcast.post("call/startup", &order);
    assert_eq!(answer.status, 200, "{}", answer.body);
    sipcast.wait_for_status("six", "ESTABLISHED", SOON);
    wait_for_media(&sipcast);
    let invite = room.seen().invites[0].clone();
    assert!(header(&invite, "Via").expect("Via").contains("[::1]:"), "{invite}");
    assert!(invite.contains("c=IN IP6 ::1"), "{invite}");
    hang_up(&sipcast, "six");
    assert!(room.seen().methods.contains(&"BYE".to_owned()));
    sipcast.stop();
}
