//! Garlic cloves and ratchet payload blocks (specification `ecies`).
