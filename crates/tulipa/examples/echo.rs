//! A TCP echo server: `cargo run -p tulipa --example echo -- 127.0.0.1:7000`, then `nc 127.0.0.1 7000`.

use std::error::Error;
use std::io;
use std::time::Duration;

use tulipa::{TcpListener, TcpStream, sleep, spawn};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned()).parse()?;
    tulipa::run(async move {
        let listener = TcpListener::bind(address)?;
        println!("echoing on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok(stream) => drop(spawn(serve(stream))),
                Err(error) => {
                    // Out of descriptors, most likely: some connection must end first.
                    eprintln!("accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })?
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream) {
    if let Err(error) = echo(&stream).await {
        eprintln!("connection: {error}");
    }
}

/// Sends back what comes in.
async fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            received => stream.write_all(&buffer[..received]).await?,
        }
    }
}
