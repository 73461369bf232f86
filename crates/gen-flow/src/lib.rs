//! Normalizing flows with exact likelihoods.
