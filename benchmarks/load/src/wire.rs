//! What carries the bytes: a TCP stream, in the clear or under TLS.
//!
//! Under TLS a read may leave data behind of which no event will tell; `holds_data` does. Certificates are not looked
//! at, the server is on this machine. Blocking sockets and non-blocking ones both work.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

/// Ciphertext read at once.
const READ_SIZE: usize = 256 * 1024;

/// One connection's stream.
pub(crate) struct Wire {
    /// The socket.
    pub(crate) socket: TcpStream,
    /// The session over it, if any.
    tls: Option<Box<Session>>,
}

/// A TLS session and where its ciphertext lands.
struct Session {
    /// The client's end.
    client: ClientConnection,
    /// Ciphertext of one read.
    buffer: Vec<u8>,
    /// How much of it the session has not taken yet.
    ciphertext: Range<usize>,
}

impl Wire {
    /// Takes over a connected, blocking socket; with a configuration it makes the handshake.
    ///
    /// # Errors
    /// What the socket or the session says.
    pub(crate) fn new(mut socket: TcpStream, config: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let Some(config) = config else { return Ok(Self { socket, tls: None }) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        client.set_buffer_limit(None);
        while client.is_handshaking() {
            client.complete_io(&mut socket)?;
        }
        Ok(Self { socket, tls: Some(Box::new(Session { client, buffer: Vec::new(), ciphertext: 0..0 })) })
    }

    /// Reads some of what came; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when everything that came has been read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match session.client.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => session.fetch(&mut self.socket)?,
                result => return result,
            }
        }
    }

    /// Whether `read` has something without asking the socket.
    pub(crate) fn holds_data(&mut self) -> bool {
        self.tls.as_mut().is_some_and(|session| session.holds_data())
    }

    /// Takes some of `bytes`; what is not sent yet goes out with `flush`.
    ///
    /// # Errors
    /// What the socket says, in the clear also `WouldBlock`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(session) => session.client.writer().write(bytes),
        }
    }

    /// Sends what was taken.
    ///
    /// # Errors
    /// `WouldBlock` while the socket is full.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(session) = &mut self.tls {
            while session.client.wants_write() {
                session.client.write_tls(&mut self.socket)?;
            }
        }
        Ok(())
    }
}

impl Session {
    /// Decrypts some of what has come; where nothing has, reads the socket first.
    fn fetch(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        if self.ciphertext.is_empty() {
            self.buffer.resize(READ_SIZE, 0);
            self.ciphertext = 0..socket.read(&mut self.buffer)?;
        }
        let mut rest = &self.buffer[self.ciphertext.clone()];
        self.client.read_tls(&mut rest)?;
        self.ciphertext.start = self.ciphertext.end - rest.len();
        let processed = self.client.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(())
    }

    /// Whether something has come that was not read.
    fn holds_data(&mut self) -> bool {
        !self.ciphertext.is_empty() || self.client.reader().fill_buf().is_ok_and(|data| !data.is_empty())
    }
}

/// TLS 1.3 with one cipher, the same whatever the server prefers, and any certificate.
///
/// # Errors
/// When the library does not support that.
pub(crate) fn config() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..ring::default_provider()
    });
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Accepts every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
