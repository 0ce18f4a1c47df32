//! The migrations are in the program: it is built again when there is one more.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
