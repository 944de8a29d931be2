//! Ordered delivery of JSON to an operator's URL by HTTP(S) POST.
//! Takes: posts, at once and without waiting. Gives: each to the endpoint in the order taken, tried again until it is
//! answered with a 2xx status or is too old; counts of what became of them.
//! Leaves out: what is told and why (`webhooks`). A task of its own per endpoint and a bounded queue: a slow or dead
//! endpoint costs memory up to that bound, and never time of a call. No URL's path or query is logged: it may be a key.

mod asker;
mod endpoint;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use sipcast_contract::Secret;
use sipcast_trust::Roots;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use asker::{AskError, Asker};
use endpoint::{Endpoint, Fault};

/// An endpoint and how hard it is tried.
#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    /// `http://` or `https://` URL. It may hold a key.
    pub url: Secret<String>,
    /// Key of the signature headers (Standard Webhooks): the bytes behind `whsec_` in Base64, or the text itself.
    pub signing_secret: Option<Secret<String>>,
    /// Sent as `Authorization`.
    pub authorization: Option<Secret<String>>,
    /// Issuers to trust for `https://`. Whoever made them may read them again.
    pub roots: Roots,
    /// Posts that may wait; further ones are dropped and counted.
    pub queue_max: usize,
    /// How long one attempt may take, from look-up to answer.
    pub attempt_max: Duration,
    /// Pause after the first failed attempt; it doubles with every further one.
    pub pause_min: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// A post that could not be delivered for this long after its first attempt is given up.
    pub keep_for: Duration,
}

impl DeliveryOptions {
    /// The usual patience.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            signing_secret: None,
            authorization: None,
            roots: Roots::of_system(),
            queue_max: 1024,
            attempt_max: Duration::from_secs(10),
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            keep_for: Duration::from_secs(3600),
        }
    }
}

/// The endpoint cannot be used as it is configured. Repeats neither URL nor secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverySetupError {
    /// The URL is not one that can be posted to.
    #[error(
        "the url must be http:// or https:// with a host, at most 2048 bytes, and without user and password"
    )]
    Url,
    /// `whsec_` is followed by what is no Base64.
    #[error("the secret must be at least 16 characters of text, or whsec_ and at least 16 bytes in Base64")]
    Secret,
    /// It would break the header.
    #[error("the authorization must be printable ASCII")]
    Authorization,
    /// No issuer to trust.
    #[error("{0}")]
    Roots(String),
}

/// One POST.
#[derive(Clone, Debug)]
pub struct Post {
    /// The same for every attempt, so that the endpoint knows what it has already (`webhook-id`).
    pub id: String,
    /// Put behind the URL's path, such as `/ConnectionStatusEvent`; empty: the URL itself.
    pub path: String,
    /// JSON.
    pub body: Bytes,
}

/// What became of posts. Counters but for `waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Answered with 2xx.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Not taken, because the queue was full.
    pub dropped: u64,
    /// Too old.
    pub given_up: u64,
    /// Gauge: taken and neither delivered nor given up.
    pub waiting: u64,
}

/// A running delivery. Cheap to clone; it ends, with what waits, when the last clone is dropped.
#[derive(Clone)]
pub struct Delivery {
    posts: mpsc::Sender<Post>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    delivered: AtomicU64,
    failed_attempts: AtomicU64,
    dropped: AtomicU64,
    given_up: AtomicU64,
    waiting: AtomicU64,
    settled: Notify,
}

impl Delivery {
    /// Starts the endpoint's task. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DeliverySetupError`] with what to change.
    pub fn start(options: DeliveryOptions) -> Result<Self, DeliverySetupError> {
        let (posts, waiting) = mpsc::channel(options.queue_max.max(1));
        let state = Arc::new(State::default());
        let courier = Courier::new(options, Arc::clone(&state))?;
        tokio::spawn(courier.run(waiting));
        Ok(Self { posts, state })
    }

    /// Takes a post. `false`: the queue is full, the post is dropped and counted.
    pub fn post(&self, post: Post) -> bool {
        // Counted before it can be delivered.
        self.state.waiting.fetch_add(1, Ordering::AcqRel);
        if self.posts.try_send(post).is_ok() {
            return true;
        }
        self.state.waiting.fetch_sub(1, Ordering::AcqRel);
        self.note_dropped(1);
        false
    }

    /// Counts what could not even be posted.
    pub fn note_dropped(&self, posts: u64) {
        self.state.dropped.fetch_add(posts, Ordering::Relaxed);
    }

    /// What became of posts so far.
    pub fn counts(&self) -> DeliveryCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let state = &self.state;
        DeliveryCounts {
            delivered: count(&state.delivered),
            failed_attempts: count(&state.failed_attempts),
            dropped: count(&state.dropped),
            given_up: count(&state.given_up),
            waiting: count(&state.waiting),
        }
    }

    /// Waits until nothing waits any more, for at most `deadline`. `false`: something does.
    pub async fn settled(&self, deadline: Duration) -> bool {
        let all = async {
            loop {
                let settled = self.state.settled.notified();
                tokio::pin!(settled);
                // Registered before the question, so that no end is missed in between.
                settled.as_mut().enable();
                if self.state.waiting.load(Ordering::Acquire) == 0 {
                    return;
                }
                settled.await;
            }
        };
        timeout(deadline, all).await.is_ok()
    }
}

/// Carries posts to one endpoint.
struct Courier {
    options: DeliveryOptions,
    endpoint: Endpoint,
    connection: Option<SendRequest<Full<Bytes>>>,
    state: Arc<State>,
    chance: RandomState,
}

impl Courier {
    fn new(options: DeliveryOptions, state: Arc<State>) -> Result<Self, DeliverySetupError> {
        let endpoint = Endpoint::new(&options)?;
        Ok(Self { options, endpoint, connection: None, state, chance: RandomState::new() })
    }

    async fn run(mut self, mut posts: mpsc::Receiver<Post>) {
        while let Some(post) = posts.recv().await {
            self.deliver(&post).await;
            self.state.waiting.fetch_sub(1, Ordering::AcqRel);
            self.state.settled.notify_waiters();
        }
    }

    /// Tries until it succeeds or the post is too old.
    async fn deliver(&mut self, post: &Post) {
        let first = Instant::now();
        let mut pause = self.options.pause_min;
        let mut failed = 0_u64;
        let host = self.endpoint.host().clone();
        loop {
            let fault = match timeout(self.options.attempt_max, self.attempt(post)).await {
                Ok(Ok(())) => {
                    self.state.delivered.fetch_add(1, Ordering::AcqRel);
                    if failed > 0 {
                        tracing::info!(%host, failed, "the endpoint takes posts again");
                    }
                    return;
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::TimedOut,
            };
            self.connection = None;
            self.state.failed_attempts.fetch_add(1, Ordering::AcqRel);
            failed += 1;
            if first.elapsed() + pause > self.options.keep_for {
                self.state.given_up.fetch_add(1, Ordering::AcqRel);
                tracing::warn!(%host, failed, "a post is given up: {fault}");
                return;
            }
            if failed == 1 {
                tracing::warn!(%host, "a post failed and is tried again: {fault}");
            }
            sleep(self.spread(pause, failed)).await;
            pause = (pause * 2).min(self.options.pause_max);
        }
    }

    /// A pause of three to five quarters, so that endpoints of many instances are not all tried at the same moment.
    fn spread(&self, pause: Duration, n: u64) -> Duration {
        let share = self.chance.hash_one(n) % 512;
        pause.mul_f64(0.75 + share as f64 / 1024.0)
    }

    async fn attempt(&mut self, post: &Post) -> Result<(), Fault> {
        // A kept connection that the endpoint has closed is noticed only in use; that is no failed attempt.
        if let Some(connection) = self.connection.take().filter(|connection| !connection.is_closed()) {
            match self.send(connection, post).await {
                Err(Fault::Broken) => {}
                sent => return sent,
            }
        }
        let connection = self.endpoint.connect().await?;
        self.send(connection, post).await
    }

    async fn send(&mut self, connection: SendRequest<Full<Bytes>>, post: &Post) -> Result<(), Fault> {
        let answer = self.endpoint.send(connection, post).await?;
        self.connection = answer.connection;
        if answer.status.is_success() { Ok(()) } else { Err(Fault::Status(answer.status)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::endpoint::{key, signature};
    use super::*;
    use std::collections::VecDeque;
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use axum::Router;
    use axum::extract::State as Shown;
    use axum::http::{HeaderMap, StatusCode, Uri};
    use axum::routing::post;
    use tokio::net::TcpListener;

    /// A receiver that answers with the given statuses in turn, then 200, and hands on what it got.
    pub(crate) async fn receiver(
        statuses: impl IntoIterator<Item = u16>,
    ) -> (String, mpsc::UnboundedReceiver<(Uri, HeaderMap, Bytes)>) {
        type Seen = mpsc::UnboundedSender<(Uri, HeaderMap, Bytes)>;
        type Script = Arc<(Seen, Mutex<VecDeque<u16>>)>;
        async fn take(Shown(s): Shown<Script>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
            let _ = s.0.send((uri, headers, body));
            let next = s.1.lock().expect("sound").pop_front().unwrap_or(200);
            StatusCode::from_u16(next).expect("a status")
        }
        let (seen, got) = mpsc::unbounded_channel();
        let script: Script = Arc::new((seen, Mutex::new(statuses.into_iter().collect())));
        let app =
            Router::new().route("/hook", post(take)).route("/hook/{*more}", post(take)).with_state(script);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        tokio::spawn(axum::serve(listener, app).into_future());
        (url, got)
    }

    pub(crate) fn hasty(url: &str) -> DeliveryOptions {
        DeliveryOptions {
            pause_min: Duration::from_millis(2),
            pause_max: Duration::from_millis(4),
            ..DeliveryOptions::new(url)
        }
    }

    fn a_post(n: usize) -> Post {
        Post { id: n.to_string(), path: String::new(), body: Bytes::from(format!("{{\"n\":{n}}}")) }
    }

    #[tokio::test]
    async fn posts_come_in_order_although_some_fail_at_first() {
        let (url, mut got) = receiver([200, 500, 503, 404, 302]).await;
        let delivery = Delivery::start(hasty(&url)).expect("sound");
        for n in 0..4 {
            assert!(delivery.post(a_post(n)));
        }
        assert!(delivery.settled(Duration::from_secs(10)).await);
        let mut bodies = Vec::new();
        while let Ok((_, headers, body)) = got.try_recv() {
            assert!(!headers.contains_key("webhook-signature"));
            bodies.push(String::from_utf8(body.to_vec()).expect("text"));
        }
        let expected = [0, 1, 1, 1, 1, 1, 2, 3].map(|n| format!("{{\"n\":{n}}}"));
        assert_eq!(bodies, expected);
        let counts = delivery.counts();
        assert_eq!((counts.delivered, counts.failed_attempts, counts.waiting), (4, 4, 0));
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_never_waits() {
        // Takes connections and never answers.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let delivery = Delivery::start(DeliveryOptions { queue_max: 2, ..hasty(&url) }).expect("sound");
        let taken = (0..10).filter(|&n| delivery.post(a_post(n))).count();
        assert_eq!((taken, delivery.counts().dropped, delivery.counts().waiting), (2, 8, 2));
    }

    #[tokio::test]
    async fn an_old_post_gives_way_to_the_next() {
        let (url, mut got) = receiver([500; 3]).await;
        let options = DeliveryOptions { keep_for: Duration::ZERO, ..hasty(&url) };
        let delivery = Delivery::start(options).expect("sound");
        (0..4).for_each(|n| assert!(delivery.post(a_post(n))));
        assert!(delivery.settled(Duration::from_secs(10)).await);
        assert_eq!((delivery.counts().given_up, delivery.counts().delivered), (3, 1));
        assert_eq!(std::iter::from_fn(|| got.try_recv().ok()).count(), 4);
    }

    #[tokio::test]
    async fn silence_is_a_failed_attempt() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let options = DeliveryOptions {
            attempt_max: Duration::from_millis(20),
            keep_for: Duration::from_millis(1),
            ..hasty(&url)
        };
        let delivery = Delivery::start(options).expect("sound");
        delivery.post(a_post(0));
        assert!(delivery.settled(Duration::from_secs(10)).await);
        assert_eq!((delivery.counts().failed_attempts, delivery.counts().given_up), (1, 1));
    }

    #[tokio::test]
    async fn a_path_of_the_post_goes_behind_the_urls() {
        let (url, mut got) = receiver([]).await;
        let delivery = Delivery::start(hasty(&format!("{url}/?k=v"))).expect("sound");
        delivery.post(Post { path: "StreamStatusEvent".to_owned(), ..a_post(1) });
        assert!(delivery.settled(Duration::from_secs(10)).await);
        let (uri, ..) = got.try_recv().expect("delivered");
        assert_eq!(uri.to_string(), "/hook/StreamStatusEvent?k=v");
    }

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // The vector of the Standard Webhooks reference libraries.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let key = key(&secret).expect("valid");
        let signed =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_refused_and_not_repeated() {
        for url in
            ["", "ftp://h/", "/hook", "http://", "http://user:s3cret@h/", "https://", "http://h:99999/"]
        {
            let error = Delivery::start(DeliveryOptions::new(url)).err().expect("no URL to post to");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        for secret in ["", "short", "whsec_?", "whsec_c2hvcnQ="] {
            let secret = Some(Secret::new(secret.to_owned()));
            let options = DeliveryOptions { signing_secret: secret, ..DeliveryOptions::new("http://h/") };
            assert_eq!(Delivery::start(options).err(), Some(DeliverySetupError::Secret));
        }
        let roots = Roots::none();
        let error = Delivery::start(DeliveryOptions { roots, ..DeliveryOptions::new("https://h/") }).err();
        assert!(error.is_some_and(|error| error.to_string().contains("no trusted roots")));
        let shown = format!("{:?}", DeliveryOptions::new("http://h/s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
