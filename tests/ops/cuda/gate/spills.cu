// What ops/cuda/compile.sh must refuse: more values that live than 1024 threads, twice on a multiprocessor, have
// registers.
__global__ void __launch_bounds__(1024, 2) spills(const float* x, float* out) {
  float values[80];
#pragma unroll
  for (int i = 0; i < 80; ++i) values[i] = x[threadIdx.x + i * 1024];
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 80; ++j) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 80; ++i) sum += values[i] * values[(i * 7 + j) % 80];
    out[threadIdx.x + j * 1024] = sum;
  }
}
