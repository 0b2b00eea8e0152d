//! Fuzz targets as plain functions, so that corpora replay without a fuzzer.
