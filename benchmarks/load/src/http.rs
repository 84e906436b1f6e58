//! `http-server`: answers every request over HTTP/1.1 with the same thirteen bytes, for the rows of HTTP clients.
//!
//! Pure: bytes in, bytes out. `floor` owns the sockets.

use std::io;

use crate::floor::Service;

/// The whole answer.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

/// One connection.
#[derive(Default)]
pub(crate) struct Requests {
    /// The bytes of a request that is not complete yet.
    begun: Vec<u8>,
    /// The answers to those that the last bytes completed.
    answers: Vec<u8>,
}

impl Service for Requests {
    /// Errors are `InvalidData`, for what is no GET request.
    fn answer<'a>(&'a mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        self.begun.extend_from_slice(bytes);
        self.answers.clear();
        let mut at = 0;
        while let Some(length) = head(&self.begun[at..])? {
            at += length;
            self.answers.extend_from_slice(ANSWER);
        }
        self.begun.drain(..at);
        Ok(&self.answers)
    }
}

/// The length of the request at the front, if it is complete.
fn head(bytes: &[u8]) -> io::Result<Option<usize>> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes).map_err(|error| invalid(format!("bad HTTP request: {error}")))? {
        httparse::Status::Complete(_) if request.method != Some("GET") => {
            Err(invalid("not a GET request".to_owned()))
        }
        httparse::Status::Complete(length) => Ok(Some(length)),
        httparse::Status::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWER, Requests};
    use crate::floor::Service;

    #[test]
    fn requests_are_answered_across_any_split() {
        let stream = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3);
        for size in 1..=stream.len() {
            let mut requests = Requests::default();
            let mut answers = Vec::new();
            for part in stream.chunks(size) {
                answers.extend_from_slice(requests.answer(part).unwrap());
            }
            assert_eq!(answers, ANSWER.repeat(3), "in pieces of {size}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for request in [&b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"[..], b"\x16\x03\x01\x02\x00"] {
            assert!(Requests::default().answer(request).is_err());
        }
    }
}
