//! Whole network databases against a little network in virtual time.

mod publishing;
mod rules;
mod searching;
mod serving;
mod world;

use super::*;
use crate::wire::i2np::{DatabaseLookup, DatabaseSearchReply};
use world::{Nature, World};

const CLIENT: Context = Context(1);

fn lease(n: u64, published: UnixTime) -> StoreEntry {
    StoreEntry::LeaseSet(testing::lease_set(n, published))
}
