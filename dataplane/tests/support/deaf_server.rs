//! RTMP servers that take a connection and then do not read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use sipcast_media::rtmp::{ServerEvent, ServerSession};

use super::LOCALHOST;

/// Accepts by the kernel alone: nothing is ever read.
pub struct Mute {
    listener: TcpListener,
}

impl Mute {
    pub fn start() -> Self {
        Self { listener: TcpListener::bind((LOCALHOST, 0)).expect("a free port") }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }
}

/// Agrees to `publish`, then reads no more. Its connections live as long as the process.
pub fn agreeing() -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a free port");
    shrink_receive_buffer(&listener);
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept() {
            agree(&mut socket);
            held.push(socket);
        }
    });
    address
}

fn agree(socket: &mut TcpStream) {
    let mut session = ServerSession::new(1);
    let (mut input, mut output) = ([0; 4096], Vec::new());
    loop {
        let Ok(len @ 1..) = socket.read(&mut input) else { return };
        session.handle_input(&input[..len]).expect("valid");
        let mut is_agreed = false;
        while let Some(event) = session.poll_event() {
            if matches!(event, ServerEvent::PublishRequested { .. }) {
                session.accept();
                is_agreed = true;
            }
        }
        session.take_output(&mut output);
        socket.write_all(&output).expect("connected");
        output.clear();
        if is_agreed {
            return;
        }
    }
}

/// A small window, so that the client's queue grows soon.
fn shrink_receive_buffer(listener: &TcpListener) {
    let len: libc::c_int = 4096;
    // SAFETY: the descriptor is open; `len` is read, as long as a c_int.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const len).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}
