//! Both roles against each other, against peers made by hand, and against forgers.

mod blocks;
mod craft;
mod fixture;
mod forged;
mod honest;
mod refused;
