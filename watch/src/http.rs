//! As much of HTTP/1.1 (RFC 9112) as a page on this machine needs: one request for each connection.

use std::io::{BufRead, BufReader, Read, Write};

/// The most bytes of a request's head.
const MOST_HEAD: u64 = 16 << 10;
/// The most bytes of a request's body.
const MOST_BODY: u64 = 64 << 10;

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What follows `?`, if there is one.
    pub query: Option<String>,
    /// The host that the client believes to talk to, without the port.
    pub host: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request. `None`: it is none, or larger than any that the page makes.
    pub fn read(stream: impl Read) -> Option<Self> {
        let mut stream = BufReader::new(stream.take(MOST_HEAD + MOST_BODY));
        let mut lines = Vec::new();
        let mut left = usize::try_from(MOST_HEAD).ok()?;
        loop {
            let mut line = String::new();
            let count = stream.read_line(&mut line).ok()?;
            left = left.checked_sub(count)?;
            match line.trim_end() {
                _ if count == 0 => return None,
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut start = lines.first()?.split(' ');
        let (method, target, version) = (start.next()?, start.next()?, start.next()?);
        let value = |name: &str| {
            let mut fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let length: u64 = value("content-length").map_or(Some(0), |digits| digits.parse().ok())?;
        if !version.starts_with("HTTP/1.") || length > MOST_BODY {
            return None;
        }
        let mut body = vec![0; usize::try_from(length).ok()?];
        stream.read_exact(&mut body).ok()?;
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
        let host = value("host").unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
        Some(Self { method: method.to_owned(), path: path.to_owned(), query, host, body })
    }

    /// The value of `key` in the query. The page writes none that needs decoding, but for the colon.
    pub fn value(&self, key: &str) -> Option<String> {
        let mut pairs = self.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value.replace("%3A", ":").replace("%3a", ":"))
    }
}

/// Writes an answer and says that the connection ends with it.
///
/// # Errors
/// Those of the connection.
pub fn answer(stream: &mut impl Write, status: &str, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn a_request_is_read_with_its_body() {
        let text = "POST /call?x=1 HTTP/1.1\r\nhost: 127.0.0.1:8001\r\nContent-Length: 14\r\n\r\n{\"do\":\"state\"}more";
        let request = Request::read(text.as_bytes()).expect("a request");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/call"));
        assert_eq!(
            (request.host.as_str(), request.body.as_slice()),
            ("127.0.0.1", b"{\"do\":\"state\"}".as_slice())
        );
        assert_eq!(request.value("x").as_deref(), Some("1"));
        let walk =
            Request::read(b"GET /views/walk?of=addr%3A0x80 HTTP/1.1\r\n\r\n".as_slice()).expect("a request");
        assert_eq!(walk.value("of").as_deref(), Some("addr:0x80"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
        for text in [
            "",
            "GET\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx",
            "POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n",
            &long,
        ] {
            assert_eq!(Request::read(text.as_bytes()), None, "{:.40}", text);
        }
    }
}
