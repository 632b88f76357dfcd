"""What a diffusion model's backward step can and cannot represent, settled with numbers."""
