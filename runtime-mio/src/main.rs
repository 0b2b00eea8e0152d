//! The `ramson` program.

fn main() -> std::process::ExitCode {
    ramson_mio::cli::main()
}
