fn main() { println!("cargo:rustc-link-arg-cdylib=-zstack-size=32768"); }
