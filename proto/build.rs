//! Compiles the contract with protox, so that no protoc is needed on the build machine.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "holdfast/v1/common.proto",
        "holdfast/v1/enrol.proto",
        "holdfast/v1/metrics.proto",
        "holdfast/v1/session.proto",
        "holdfast/v1/operators.proto",
    ];
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
