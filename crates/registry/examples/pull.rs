//! Pulls one image into a store and says how long it took: `pull STORE CERTS_DIR NAME`.

use std::time::Instant;

use orlop_image::Store;
use orlop_registry::{Client, Patience, Pulls, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<_> = std::env::args().collect();
    let [_, root, certs, name] = words.as_slice() else {
        return Err("usage: pull STORE CERTS_DIR NAME".into());
    };
    let store = Store::open(std::path::Path::new(root))?;
    store.sweep()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let client = Client::new(Settings { certs_dir: certs.into(), patience: Patience::default() });
    let reference = name.parse()?;
    let begun = Instant::now();
    let pulled = runtime.block_on(async {
        let pulls = Pulls::new(store.clone(), client, Pulls::usual_budget());
        pulls.pull(&reference, None).outcome().await
    });
    let pulled = pulled.map_err(|error| error.report(name))?;
    println!("{} in {:.3} s, {} bytes", pulled.image.id, begun.elapsed().as_secs_f64(), store.usage().bytes);
    Ok(())
}
