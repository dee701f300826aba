//! The HTTP server, on 127.0.0.1.
//!
//! | request | answer |
//! |---|---|
//! | `GET /?watch` | the page |
//! | `POST /call` | the answer to a request of the page, as JSON: `state` and `view` |
//! | `GET /state`, `GET /views/NAME?of=addr:0x...` | the same, for programs |
//! | `GET /events` | `data: {"changed": N, "log": "..."}` for each change, as text/event-stream |

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use hotmap_client::error::{Checked, Error};
use serde_json::Value;

use crate::answers::{self, refusal};
use crate::http::{self, Request};
use crate::watcher::{Ask, Door};

/// A client that says nothing for so long is not listened to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a listener is written to when nothing changes, so that a page that was closed is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Names of this machine: a browser that was told another name for it is refused (DNS rebinding).
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

const JSON: &str = "application/json";

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    page: PathBuf,
}

impl Server {
    /// Listens at a port of 127.0.0.1, or any free one for 0. `page` is the file that it serves.
    ///
    /// # Errors
    /// Unknown when the port is taken.
    pub fn new(port: u16, page: PathBuf) -> Checked<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port));
        let listener =
            listener.map_err(|error| Error::Unknown(format!("port {port} of 127.0.0.1: {error}")))?;
        Ok(Self { listener, page })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().map_or(0, |address| address.port())
    }

    /// Serves in threads of its own, until the process ends.
    pub fn serve(self, door: Door) {
        std::thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let (door, page) = (door.clone(), self.page.clone());
                // A connection that breaks concerns no other.
                std::thread::spawn(move || drop(connection(stream, &door, &page)));
            }
        });
    }
}

fn connection(mut stream: TcpStream, door: &Door, page: &PathBuf) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(request) = Request::read(&stream) else {
        return http::answer(&mut stream, "400 Bad Request", "text/plain", b"not a request\n");
    };
    if !HOSTS.contains(&request.host.as_str()) {
        return http::answer(&mut stream, "403 Forbidden", "text/plain", b"ask for 127.0.0.1\n");
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") if request.query.is_none() => stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: /?watch\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        ("GET", "/") => match std::fs::read(page) {
            Ok(page) => http::answer(&mut stream, "200 OK", "text/html; charset=utf-8", &page),
            Err(error) => {
                let why = format!("{}: {error}: `make page` makes it\n", page.display());
                http::answer(&mut stream, "404 Not Found", "text/plain", why.as_bytes())
            }
        },
        ("POST", "/call") => reply(&mut stream, door, answers::Request::read(&request.body)),
        ("GET", "/state") => reply(&mut stream, door, Ok(answers::Request::State)),
        ("GET", "/events") => events(stream, door),
        ("GET", path) => match path.strip_prefix("/views/") {
            Some(name) => {
                let of = request.value("of");
                reply(&mut stream, door, Ok(answers::Request::View { name: name.to_owned(), of }))
            }
            None => http::answer(&mut stream, "404 Not Found", "text/plain", b"there is no such page\n"),
        },
        _ => http::answer(&mut stream, "405 Method Not Allowed", "text/plain", b"GET, or POST /call\n"),
    }
}

fn reply(
    stream: &mut TcpStream,
    door: &Door,
    request: Result<answers::Request, Value>,
) -> std::io::Result<()> {
    let answer = request.and_then(|request| {
        let (sender, receiver) = channel();
        let gone = || refusal("the guest has ended");
        door.send(Ask::Call(request, sender)).map_err(|_| gone())?;
        receiver.recv().map_err(|_| gone())
    });
    let (Ok(answer) | Err(answer)) = answer;
    http::answer(stream, "200 OK", JSON, answer.to_string().as_bytes())
}

/// Writes each change until the page is closed or the guest ends.
fn events(mut stream: TcpStream, door: &Door) -> std::io::Result<()> {
    let (sender, receiver) = channel();
    if door.send(Ask::Listen(sender)).is_err() {
        return http::answer(&mut stream, "410 Gone", "text/plain", b"the guest has ended\n");
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n: watching\n\n",
    )?;
    loop {
        match receiver.recv_timeout(HEARTBEAT) {
            Ok(event) => write!(stream, "data: {event}\n\n")?,
            Err(RecvTimeoutError::Timeout) => stream.write_all(b": nothing new\n\n")?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        stream.flush()?;
    }
}
