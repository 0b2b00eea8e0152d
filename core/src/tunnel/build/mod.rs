//! Building tunnels: the creator's requests and replies, and the participant's answers.

pub(crate) mod answer;
pub(crate) mod record;
pub(crate) mod reply;
pub(crate) mod request;

#[cfg(test)]
mod tests;
