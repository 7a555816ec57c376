//! What `tonic-build` makes of a service, without a file of protobuf, and so without its compiler.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(name)
            .input_type("super::Body")
            .output_type(output)
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let service = Service::builder()
        .name("Bench")
        .package("bench")
        .method(method("call", "super::Length"))
        .method(method("echo", "super::Body"))
        .build();
    Builder::new().compile(&[service]);
}
