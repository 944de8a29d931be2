//! JSON orders at every path of the REST API that takes one: an answer always comes, it is never a 5xx, and refusals are
//! JSON that names what is wrong.

use std::fs::File;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use crossbeam::queue::ArrayQueue;
use sipcast_contract::{Command, CommandSender, Report};
use sipcast_control::dialer::{Dialed, Dialer};
use sipcast_control::{ControlOptions, ControlPlane};
use sipcast_sip::order::{Account, CallOrder};
use tower::ServiceExt;

/// Paths below the root.
const PATHS: [&str; 12] = [
    "/rest-api/call/startup",
    "/rest-api/call/find",
    "/rest-api/call/find_all",
    "/rest-api/call/terminate",
    "/rest-api/call/send_dtmf",
    "/rest-api/push/startup",
    "/rest-api/push/find",
    "/rest-api/push/terminate",
    "/rest-api/push/mute",
    "/v1/broadcasts",
    "/v1/broadcasts/a/dtmf",
    "/v1/broadcasts/a/targets",
];

/// Nobody is there to be called.
struct NoNetwork;

impl Dialer for NoNetwork {
    fn local_address_towards<'a>(
        &'a self,
        _: &'a Account,
    ) -> Pin<Box<dyn Future<Output = Result<IpAddr, String>> + Send + 'a>> {
        Box::pin(async { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) })
    }

    fn call(&self, _: CallOrder) -> Dialed {
        unreachable!("no shard opens ports, so nobody is called")
    }

    fn shutdown(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

/// The first byte chooses the path, the rest is the body.
pub fn json(data: &[u8]) {
    let Some((&path, body)) = data.split_first() else { return };
    let path = PATHS[usize::from(path) % PATHS.len()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let commands: Arc<ArrayQueue<Command>> = Arc::new(ArrayQueue::new(16));
        let shard = CommandSender::new(commands, Arc::new(File::from(OwnedFd::from(writer))));
        let (_reports, reports) = crossbeam::channel::bounded::<Report>(4);
        let control = ControlPlane::start(ControlOptions::default(), NoNetwork, vec![shard], reports)
            .expect("a thread for reports");
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_vec())).expect("a request");
        let response = control.router().oneshot(request).await.expect("infallible");
        let status = response.status();
        let text = to_bytes(response.into_body(), 1 << 20).await.expect("a body within 1 MiB");
        assert!(!status.is_server_error(), "{path}: {status}");
        if status.is_client_error() {
            let value: serde_json::Value = serde_json::from_slice(&text).expect("a refusal is JSON");
            assert!(value.get("problem").or(value.get("title")).is_some(), "{path}: {value} says nothing");
        }
    });
}
