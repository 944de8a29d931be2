//! The test callee of `perf`: answers at once and sends a moving test picture and sound.

use sipcast_perf::callee::{Callee, CalleeOptions, VideoOptions};
use tokio::runtime::Runtime;

/// A running callee on loopback.
pub struct TestCallee {
    /// Its SIP port.
    pub port: u16,
    callee: Option<Callee>,
    runtime: Runtime,
}

impl TestCallee {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_with(VideoOptions::default())
    }

    /// Starts one that sends this picture.
    pub fn start_with(video: VideoOptions) -> Self {
        let runtime = Runtime::new().expect("threads");
        let options = CalleeOptions { video, ..CalleeOptions::default() };
        let callee = runtime.block_on(Callee::start(options)).expect("a free port");
        Self { port: callee.local_addr().port(), callee: Some(callee), runtime }
    }
}

impl Drop for TestCallee {
    fn drop(&mut self) {
        if let Some(callee) = self.callee.take() {
            self.runtime.block_on(callee.shutdown());
        }
    }
}
