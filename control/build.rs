//! Makes the gRPC service from its .proto files, without protoc.

use std::path::PathBuf;

use protox::prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let described = protox::compile(["sipcast/v1/broadcasts.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names OUT_DIR")?);
    // For reflection.
    std::fs::write(out.join("sipcast.v1.bin"), described.encode_to_vec())?;
    tonic_prost_build::configure().build_client(false).compile_fds(described)?;
    Ok(())
}
