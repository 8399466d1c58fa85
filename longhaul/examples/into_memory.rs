//! A state that is one run of bytes: from memory into memory, and through callbacks that write and
//! read it, as the `getState(OutputStream)` and `setState(InputStream)` of group communication do.

use std::error::Error;
use std::io::{self, BufRead, BufReader};

use longhaul::state::{MemorySink, SinkError};
use longhaul::{Push, Receive, Serve};

fn main() -> Result<(), Box<dyn Error>> {
    // Memory to memory: the limit holds whatever the provider claims.
    let provider = Serve::memory(*b"the state of a small service").listen("127.0.0.1:0").start()?;
    let address = provider.local_addr().to_string();
    let (summary, bytes) = longhaul::fetch(&address).into_memory(1 << 20).wait()?;
    println!("{} bytes: {}", summary.bytes, String::from_utf8(bytes)?);

    // Memory to a callback: it reads the end only if all was verified.
    let read = longhaul::fetch(&address).into_callback(|input| {
        let words = BufReader::new(input).split(b' ').collect::<io::Result<Vec<_>>>()?;
        Ok::<_, io::Error>(words.len())
    });
    let (_, words) = read.wait()?;
    println!("{words} words");

    // A callback to memory, and the provider dials. The state ends only because it returns Ok.
    let sink = MemorySink::new(1 << 20);
    let received = sink.published();
    let sink = std::sync::Mutex::new(Some(sink));
    let joiner = Receive::sinks(move || {
        let sink = sink.lock().ok().and_then(|mut sink| sink.take());
        Ok(Box::new(sink.ok_or_else(|| SinkError::user("one state is enough"))?))
    });
    let joiner = joiner.listen("127.0.0.1:0").once(true).start()?;
    let push = Push::callback(|out| (0..3).try_for_each(|n| writeln!(out, "record {n}")));
    push.to(joiner.local_addr().to_string()).wait()?;
    joiner.wait()?;
    print!("{}", String::from_utf8(received.take().unwrap_or_default())?);
    Ok(())
}
