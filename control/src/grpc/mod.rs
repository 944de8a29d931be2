//! gRPC: service `sipcast.v1.Broadcasts` (`proto/`), reflection and health. Each method translates and then calls the
//! use-case that `/v1` calls too.
//! Takes: connections, messages. Gives: answers and the stream of `Watch`.
//! Leaves out: the rules of orders (`order`), the mapping of errors to codes (`status`), TLS and limits of connections
//! (`http_server`).

mod guard;
mod message;
mod methods;
mod status;
mod watch;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::broadcast::Broadcasts;
use crate::http_server::GrpcConnection;
use crate::idempotency::{Key, KeyError};
use crate::order::{self, DtmfRequest, FieldFault};
use crate::targets::BroadcastFilter;
use proto::broadcasts_server::{Broadcasts as Service, BroadcastsServer};

/// Made from `proto/`.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto file has the words")]
pub(crate) mod proto {
    tonic::include_proto!("sipcast.v1");
}

/// The methods of the service.
struct Faced {
    broadcasts: Broadcasts,
    /// Tells one order from another, with a key of this process, so that nobody can make two alike.
    fingerprint: RandomState,
    watchers: watch::Watchers,
}

/// Serves until `stopped` is ready; then open calls may end, and watchers are told to go.
///
/// # Errors
/// The socket fails, or the description for reflection is broken.
pub(crate) async fn serve(
    broadcasts: Broadcasts,
    incoming: mpsc::Receiver<io::Result<GrpcConnection>>,
    stopped: impl Future<Output = ()>,
) -> io::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<BroadcastsServer<Faced>>().await;
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTION)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Older clients ask by the name that reflection had before it was v1.
    let reflection = described().build_v1().map_err(io::Error::other)?;
    let reflection_of_old = described().build_v1alpha().map_err(io::Error::other)?;
    let watchers = watch::Watchers::default();
    let faced = Faced { broadcasts, fingerprint: RandomState::new(), watchers: watchers.clone() };
    let guard = tower::layer::layer_fn({
        let broadcasts = faced.broadcasts.clone();
        let methods = Arc::new(methods::Methods::of([
            DESCRIPTION,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]));
        move |inner| guard::Guarded::new(inner, broadcasts.clone(), Arc::clone(&methods))
    });
    let service = BroadcastsServer::new(faced)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(ANSWER_MAX);
    let ended = async move {
        stopped.await;
        health.set_not_serving::<BroadcastsServer<Faced>>().await;
        watchers.end();
    };
    Server::builder()
        .layer(guard)
        .timeout(ANSWER_WITHIN)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_max_header_list_size(HEADERS_MAX)
        .add_service(service)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(reflection_of_old)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), ended)
        .await
        .map_err(io::Error::other)
}

#[tonic::async_trait]
impl Service for Faced {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

    async fn start(
        &self,
        request: Request<proto::StartRequest>,
    ) -> Result<Response<proto::StartResponse>, Status> {
        let proto::StartRequest { order, idempotency_key } = request.into_inner();
        let order = order.ok_or_else(|| missing("order"))?;
        let key = idempotency_key.map(|text| Key::new("grpc", text.as_bytes())).transpose();
        let key = key.map_err(|KeyError| {
            status::of_field(FieldFault::new(
                "idempotencyKey",
                "is no key",
                "1 to 255 visible ASCII characters",
            ))
        })?;
        let fingerprint = self.fingerprint.hash_one(order.encode_to_vec());
        let request = order.try_into().map_err(status::of_field)?;
        let view = self.broadcasts.order_once(key, fingerprint, request).await.map_err(status::of_order)?;
        Ok(Response::new(proto::StartResponse { broadcast: Some(view.into()) }))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetResponse>, Status> {
        let view =
            self.broadcasts.broadcast(&request.get_ref().call_id).ok_or_else(status::no_such_broadcast)?;
        Ok(Response::new(proto::GetResponse { broadcast: Some(view.into()) }))
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let proto::ListRequest { status, callee, app_key, limit, after } = request.into_inner();
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let fault = FieldFault::new("limit", "is out of range", "a number from 1 to 500");
            return Err(status::of_field(fault));
        }
        let filter = BroadcastFilter {
            status: status.map(|word| order::status(&word)).transpose().map_err(status::of_field)?,
            callee: order::CALLEE.optional("callee", callee).map_err(status::of_field)?,
            app_key: order::APP_KEY.optional("appKey", app_key).map_err(status::of_field)?,
            after: after.unwrap_or(0),
            limit: limit as usize,
        };
        let page = self.broadcasts.list(&filter);
        let broadcasts = page.broadcasts.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListResponse { broadcasts, next: page.next }))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stream = self.watchers.watch(self.broadcasts.clone(), request.into_inner())?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn send_dtmf(
        &self,
        request: Request<proto::SendDtmfRequest>,
    ) -> Result<Response<proto::SendDtmfResponse>, Status> {
        let proto::SendDtmfRequest { call_id, dtmf, r#type } = request.into_inner();
        let digits = DtmfRequest { dtmf: Some(dtmf), kind: r#type };
        self.broadcasts.order_dtmf(&call_id, digits).await.map_err(status::of_dtmf)?;
        Ok(Response::new(proto::SendDtmfResponse {}))
    }

    async fn add_target(
        &self,
        request: Request<proto::AddTargetRequest>,
    ) -> Result<Response<proto::AddTargetResponse>, Status> {
        let proto::AddTargetRequest { call_id, target } = request.into_inner();
        let target = target.ok_or_else(|| missing("target"))?;
        let added =
            self.broadcasts.add_target(&call_id, target.into()).await.map_err(status::of_new_target)?;
        Ok(Response::new(proto::AddTargetResponse { target: Some(added.into()) }))
    }

    async fn remove_target(
        &self,
        request: Request<proto::RemoveTargetRequest>,
    ) -> Result<Response<proto::RemoveTargetResponse>, Status> {
        let proto::RemoveTargetRequest { call_id, target_id } = request.into_inner();
        self.broadcasts.remove_target(&call_id, &target_id).await.map_err(status::of_target)?;
        Ok(Response::new(proto::RemoveTargetResponse {}))
    }

    async fn list_targets(
        &self,
        request: Request<proto::ListTargetsRequest>,
    ) -> Result<Response<proto::ListTargetsResponse>, Status> {
        let targets =
            self.broadcasts.targets(&request.get_ref().call_id).ok_or_else(status::no_such_broadcast)?;
        let targets = targets.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListTargetsResponse { targets }))
    }

    async fn set_muted(
        &self,
        request: Request<proto::SetMutedRequest>,
    ) -> Result<Response<proto::SetMutedResponse>, Status> {
        let proto::SetMutedRequest { call_id, target_id, muted } = request.into_inner();
        let target =
            self.broadcasts.set_target_muted(&call_id, &target_id, muted).map_err(status::of_target)?;
        Ok(Response::new(proto::SetMutedResponse { target: Some(target.into()) }))
    }

    async fn terminate(
        &self,
        request: Request<proto::TerminateRequest>,
    ) -> Result<Response<proto::TerminateResponse>, Status> {
        self.broadcasts.order_end(&request.get_ref().call_id).await.map_err(status::of_end)?;
        Ok(Response::new(proto::TerminateResponse {}))
    }

    async fn get_ladder(
        &self,
        request: Request<proto::GetLadderRequest>,
    ) -> Result<Response<proto::GetLadderResponse>, Status> {
        let ladder = self.broadcasts.ladder(&request.get_ref().call_id);
        Ok(Response::new(ladder.ok_or_else(status::no_such_broadcast)?.into()))
    }

    async fn get_conformity(
        &self,
        request: Request<proto::GetConformityRequest>,
    ) -> Result<Response<proto::GetConformityResponse>, Status> {
        let proto::GetConformityRequest { call_id, target_id } = request.into_inner();
        let report = self.broadcasts.target_conformity(&call_id, &target_id).map_err(status::of_target)?;
        Ok(Response::new(report.into()))
    }

    async fn list_accounts(
        &self,
        _: Request<proto::ListAccountsRequest>,
    ) -> Result<Response<proto::ListAccountsResponse>, Status> {
        let accounts = self.broadcasts.accounts().into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListAccountsResponse { accounts }))
    }
}

fn missing(field: &'static str) -> Status {
    status::of_field(FieldFault::new(field, "is missing", "a message"))
}

/// The compiled .proto files, for reflection.
const DESCRIPTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sipcast.v1.bin"));

/// Bytes of a request's message.
const MESSAGE_MAX: usize = 64 * 1024;

/// Bytes of an answer's message: 500 broadcasts with all their targets.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a request's headers.
const HEADERS_MAX: u32 = 16 * 1024;

/// How long an answer may take to begin: look-ups take 5 s at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How often a silent client is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls at the same time over one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;

/// Streams that a client may have opened and reset before they were looked at (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 32;

/// Broadcasts on a page.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 500;
