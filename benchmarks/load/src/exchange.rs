//! What goes over a connection: one request, and how to tell that its reply is complete and right.
//!
//! Pure: bytes in, counts out, no sockets and no clock. `drive` and `connect` own the I/O. An exchange checks what it
//! receives, because a benchmark of a server that answers wrongly is worth nothing.

use std::io;
use std::rc::Rc;

/// A request-reply protocol as one connection sees it.
pub(crate) trait Exchange: Clone {
    /// The bytes of one request, always the same.
    fn request(&self) -> &[u8];

    /// Takes bytes as they arrive and returns how many replies they completed.
    ///
    /// # Errors
    /// `InvalidData` when they are not what the server should have sent.
    fn receive(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// A reply equal to its request.
#[derive(Clone)]
pub(crate) struct Echo {
    /// One message, shared by all connections.
    payload: Rc<[u8]>,
    /// How much of the current reply has arrived.
    at: usize,
}

impl Echo {
    /// Messages of `size` bytes, in which a shifted or lost part shows (the period, 251, divides no power of two).
    pub(crate) fn new(size: usize) -> Self {
        Self { payload: (0..size).map(|index| (index % 251) as u8).collect(), at: 0 }
    }
}

impl Exchange for Echo {
    fn request(&self) -> &[u8] {
        &self.payload
    }

    fn receive(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut replies = 0;
        while !bytes.is_empty() {
            let expected = &self.payload[self.at..];
            let part = bytes.len().min(expected.len());
            if bytes[..part] != expected[..part] {
                return Err(invalid("the echo differs from what was sent"));
            }
            bytes = &bytes[part..];
            self.at += part;
            if self.at == self.payload.len() {
                self.at = 0;
                replies += 1;
            }
        }
        Ok(replies)
    }
}

/// An HTTP/1.1 GET answered with status 200 and a Content-Length.
#[derive(Clone)]
pub(crate) struct Http {
    /// The request, shared by all connections.
    request: Rc<[u8]>,
    /// Bytes of a head that is not complete yet.
    head: Vec<u8>,
    /// What is missing of the current body; zero means that a head comes next.
    body: usize,
}

impl Http {
    /// A keep-alive GET of `path`.
    pub(crate) fn new(host: &str, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
        Self { request: request.into_bytes().into(), head: Vec::new(), body: 0 }
    }

    /// Parses a head off the front of what has arrived; returns its length and the body's.
    fn parse_head(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let head =
            match response.parse(bytes).map_err(|error| invalid(&format!("bad HTTP reply: {error}")))? {
                httparse::Status::Partial => return Ok(None),
                httparse::Status::Complete(length) => length,
            };
        if response.code != Some(200) {
            return Err(invalid(&format!("HTTP status {}", response.code.unwrap_or_default())));
        }
        let length =
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let body = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
        body.map(|body| Some((head, body))).ok_or_else(|| invalid("HTTP reply without a Content-Length"))
    }
}

impl Exchange for Http {
    fn request(&self) -> &[u8] {
        &self.request
    }

    fn receive(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut replies = 0;
        // A head split over two reads is rare, so joining it with what follows is allowed to copy.
        let joined;
        let mut rest = if self.head.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.head).as_slice(), bytes].concat();
            &joined
        };
        while !rest.is_empty() {
            if self.body == 0 {
                let Some((head, body)) = Self::parse_head(rest)? else {
                    self.head = rest.to_vec();
                    break;
                };
                rest = &rest[head..];
                self.body = body;
            }
            let part = self.body.min(rest.len());
            rest = &rest[part..];
            self.body -= part;
            replies += usize::from(self.body == 0);
        }
        Ok(replies)
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::{Echo, Exchange, Http};

    #[test]
    fn echo_counts_replies_across_any_split() {
        let mut echo = Echo::new(1000);
        let stream = echo.request().repeat(3);
        let counts: Vec<_> = stream.chunks(700).map(|part| echo.receive(part).unwrap()).collect();
        assert_eq!(counts, [0, 1, 1, 0, 1]);
    }

    #[test]
    fn echo_notices_a_lost_byte() {
        let mut echo = Echo::new(1000);
        let mut stream = echo.request().to_vec();
        stream.remove(300);
        assert!(echo.receive(&stream).is_err());
    }

    #[test]
    fn http_counts_replies_across_any_split() {
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, World!";
        let stream = reply.repeat(4);
        for size in 1..stream.len() {
            let mut http = Http::new("localhost", "/");
            let replies: usize = stream.chunks(size).map(|part| http.receive(part).unwrap()).sum();
            assert_eq!(replies, 4, "in pieces of {size}");
        }
    }

    #[test]
    fn http_counts_an_empty_body_at_once() {
        let mut http = Http::new("localhost", "/");
        assert_eq!(http.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap(), 1);
    }

    #[test]
    fn http_refuses_other_statuses_and_unframed_replies() {
        assert!(Http::new("h", "/").receive(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(Http::new("h", "/").receive(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
