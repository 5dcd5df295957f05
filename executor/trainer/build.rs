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
    println!("cargo::rustc-check-cfg=cfg(nccl)");
    if nccl(Path::new(&lib), &include)? {
        println!("cargo:rustc-cfg=nccl");
    }
    println!("cargo:rustc-link-search=native={lib}");
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    let absolute = std::fs::canonicalize(&lib)?;
    // Covers this package's tests and examples; nothing of it is shipped.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", absolute.display());
    println!("cargo:libtorch_lib={}", absolute.display());
    Ok(())
}

/// Builds the library of `bridge/nccl.cpp` where pip's packages have the headers of CUDA and NCCL beside torch. What it
/// links is loaded before it.
fn nccl(lib: &Path, include: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let nvidia = lib.join("../../nvidia");
    // A header of each package that is needed: nvidia-nccl, -cublas, -cusparse, -cusolver, -cuda-runtime, -cuda-crt,
    // -cuda-cccl.
    let headers = [
        "nccl/include/nccl.h",
        "cu13/include/cublas_v2.h",
        "cu13/include/cusparse.h",
        "cu13/include/cusolverDn.h",
        "cu13/include/cuda_runtime.h",
        "cu13/include/crt/host_config.h",
        "cu13/include/cccl/nv/target",
    ];
    if let Some(missing) = headers.iter().find(|header| !nvidia.join(header).exists()) {
        println!(
            "cargo:warning=native training on several GPUs is left out: there is no nvidia/{missing} beside torch"
        );
        return Ok(false);
    }
    let mut build = cc::Build::new();
    build.cpp(true).pic(true).std("c++20").warnings(false);
    build.include(include).include(include.join("torch/csrc/api/include")).include("bridge");
    for folder in ["nccl/include", "cu13/include", "cu13/include/cccl"] {
        build.include(nvidia.join(folder));
    }
    build.define("_GLIBCXX_USE_CXX11_ABI", "1");
    let out = Path::new(&std::env::var("OUT_DIR")?).join("liblethe_nccl.so");
    let mut command = build.get_compiler().to_command();
    command.arg("-shared").arg("bridge/nccl.cpp").arg("-o").arg(out);
    if !command.status()?.success() {
        return Err(format!("{command:?} failed; see its messages").into());
    }
    Ok(true)
}
