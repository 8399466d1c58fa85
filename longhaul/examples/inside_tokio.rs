//! Inside an async program: a transfer is awaited like anything else. Its own threads do the work;
//! the runtime's are never blocked.

use std::error::Error;
use std::future::IntoFuture;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let state = scratch.path().join("state");
    std::fs::create_dir(&state)?;
    std::fs::write(state.join("segment"), vec![7; 8 << 20])?;

    let provider = longhaul::serve(&state).listen("127.0.0.1:0").start()?;
    let address = provider.local_addr().to_string();

    let one = longhaul::fetch(&address).into(scratch.path().join("one"));
    let two = longhaul::fetch(&address).into(scratch.path().join("two"));
    let (one, two) = tokio::join!(one.into_future(), two.into_future());
    println!("both at once: {} and {}", one?.root, two?.root);

    // A time limit is the program's own: a transfer that is dropped is cancelled, and publishes nothing.
    let three = longhaul::fetch(&address).into(scratch.path().join("three"));
    match tokio::time::timeout(Duration::from_mins(1), three.into_future()).await {
        Ok(result) => println!("in time: {} items", result?.items),
        Err(_) => println!("too late, and nothing was published"),
    }
    Ok(())
}
