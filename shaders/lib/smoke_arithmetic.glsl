// Shared by the smoke kernels; shows how a piece in lib/ is included.
float smoke_affine(float x, float scale, float bias) { return scale * x + bias; }
