//! Link flags of the module, and the build id that tests compare with the loaded `.so`.

fn main() {
    // A thread that used the crypto library's random generator runs a destructor when it ends;
    // unloading the module before that would leave the destructor without code.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
