// What ops/cuda/compile.sh must refuse: an array that is indexed at run time and so lives in a stack frame.
__global__ void stack_frame(const int* at, float* out) {
  float values[64];
  for (int i = 0; i < 64; ++i) values[i] = static_cast<float>(i) * out[i];
  out[0] = values[at[threadIdx.x] & 63];
}
