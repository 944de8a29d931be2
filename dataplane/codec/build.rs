//! Compiles libopus and libspeex from `vendor` with the C compiler alone: no cmake, no bindgen, no system library.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=vendor");
    println!("cargo:rerun-if-changed=native");
    opus();
    speex();
}

/// Float build without the neural extensions (their weights are 20 MB). On x86-64 SSE2 is always there, so nothing
/// is chosen at run time; other machines take the portable C.
fn opus() {
    let root = Path::new("vendor/opus");
    let mut build = library();
    for directory in ["include", "celt", "silk", "silk/float", "src", "."] {
        build.include(root.join(directory));
    }
    for directory in ["celt", "silk", "silk/float", "src"] {
        build.files(sources(&root.join(directory)));
    }
    // `VAR_ARRAYS`: scratch memory is on the stack, never on the heap. `ENABLE_HARDENING`: a broken invariant of the
    // decoder stops the process rather than write past an array.
    build
        .define("OPUS_BUILD", None)
        .define("VAR_ARRAYS", None)
        .define("HAVE_STDINT_H", None)
        .define("HAVE_LRINT", None)
        .define("HAVE_LRINTF", None)
        .define("ENABLE_HARDENING", None)
        .define("PACKAGE_VERSION", "\"1.6.1\"");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        build
            .define("OPUS_X86_MAY_HAVE_SSE", None)
            .define("OPUS_X86_MAY_HAVE_SSE2", None)
            .define("OPUS_X86_PRESUME_SSE", None)
            .define("OPUS_X86_PRESUME_SSE2", None)
            .files(["pitch_sse.c", "pitch_sse2.c", "vq_sse2.c"].map(|file| root.join("celt/x86").join(file)));
    }
    build.compile("sipcast_opus");
}

/// Float build. What a hostile payload makes the library complain about is not worth a line on standard error each.
fn speex() {
    let root = Path::new("vendor/speex");
    library()
        .include(root.join("include"))
        .include("native/speex")
        .files(sources(&root.join("libspeex")))
        .define("FLOATING_POINT", None)
        .define("VAR_ARRAYS", None)
        .define("DISABLE_WARNINGS", None)
        .define("DISABLE_NOTIFICATIONS", None)
        .define("RELEASE", None)
        .define("EXPORT", "")
        .compile("sipcast_speex");
}

/// Optimised in every profile: unoptimised, a codec is slower than the tests that listen to it can bear.
fn library() -> cc::Build {
    let mut build = cc::Build::new();
    build.warnings(false).opt_level(3).flag_if_supported("-fvisibility=hidden");
    build
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().expect("the vendored sources lie beside this script");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    files
}
