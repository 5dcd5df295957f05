//! Compiles the C++ bridge against the libtorch that torch-sys found, and lets this crate's own tests and
//! examples find it at run time. The shipped binary's path is set by the crate that ships it.

use std::path::Path;

const FILES: [&str; 8] = [
    "autocast.cpp",
    "batch_norm.cpp",
    "dropout.cpp",
    "group.cpp",
    "optimizer.cpp",
    "program.cpp",
    "reducer.cpp",
    "runtime.cpp",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=bridge");
    println!("cargo:rerun-if-changed=build.rs");
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").map_err(
        |_| "torch-sys did not say where libtorch lies: set LIBTORCH to the folder of the torch package",
    )?;
    let include = Path::new(&lib).join("../include");
    // Narrow headers only: each of torch/torch.h and torch/script.h costs half a minute per file.
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .std("c++20")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .include("bridge")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .files(FILES.map(|file| Path::new("bridge").join(file)))
        .compile("lethe_bridge");
    println!("cargo:rustc-link-search=native={lib}");
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    let absolute = std::fs::canonicalize(&lib)?;
    // Covers this package's tests and examples; nothing of it is shipped.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", absolute.display());
    println!("cargo:libtorch_lib={}", absolute.display());
    Ok(())
}
