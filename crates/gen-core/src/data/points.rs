//! 2-D point sets made by formula.
