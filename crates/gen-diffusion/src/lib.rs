//! Denoising diffusion models.
