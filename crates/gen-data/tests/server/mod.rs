use std::io::{self, BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The response to a request.
#[derive(Clone)]
pub(crate) enum Answer {
    Content(Vec<u8>),
    /// Announces more bytes than it sends.
    CutOff(Vec<u8>),
    NotFound,
    // Each crate uses some of the answers.
    #[allow(dead_code)]
    HangUp,
}

/// Starts an HTTP server on this machine for the length of a test; returns its address and a count of its connections.
pub(crate) fn serve(answer: impl Fn(&str) -> Answer + Send + 'static) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let connections = count.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            connections.fetch_add(1, Ordering::SeqCst);
            // A client may hang up early.
            let _ = respond(stream, &answer);
        }
    });
    (address, count)
}

fn respond(mut stream: TcpStream, answer: &impl Fn(&str) -> Answer) -> io::Result<()> {
    let mut lines = io::BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    match answer(&path) {
        Answer::Content(content) => stream.write_all(&[head("200 OK", content.len()), content].concat()),
        Answer::CutOff(content) => stream.write_all(&[head("200 OK", content.len() + 1), content].concat()),
        Answer::NotFound => stream.write_all(&head("404 Not Found", 0)),
        Answer::HangUp => Ok(()),
    }
}
