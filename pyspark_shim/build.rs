//! Where the shipped trainer finds libtorch: in the `torch` package of the environment that it lies in,
//! wherever that is moved. The binaries lie in `site-packages/lethe/bin/`.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // DT_RPATH and not DT_RUNPATH: it also serves what libtorch loads later by name.
    for argument in ["-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN/../../torch/lib"] {
        println!("cargo:rustc-link-arg-bin=lethe-trainer={argument}");
    }
    // This package's tests lie elsewhere; nothing of them is shipped. Cargo refuses it where there are none, as in the
    // image's build.
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB")
        && Path::new("tests").is_dir()
    {
        println!("cargo:rustc-link-arg-tests=-Wl,-rpath,{lib}");
    }
}
