//! The same seed gives the same trace, byte for byte; another seed another one.

use ramson_world::{Shape, small_world};

#[test]
fn a_seed_tells_all() {
    let shape = Shape { routers: 6, ..Shape::default() };
    let (first, failed) = small_world(7, shape);
    let (again, _) = small_world(7, shape);
    let (other, _) = small_world(8, shape);
    assert_eq!((&first, failed), (&again, 0));
    assert_ne!(first.rsplit(' ').next(), other.rsplit(' ').next());
}
