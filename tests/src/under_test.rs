//! The bundled router, built beside the tests that run it.

fn main() -> std::process::ExitCode {
    ramson_mio::cli::main()
}
