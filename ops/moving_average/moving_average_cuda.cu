#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/moving_average/moving_average_cuda.h"

namespace tsugi::cuda {
namespace {

struct Average {
  double momentum;
  const float* value;
  float* average;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const dev::Vector<float, V> now = dev::load_vector<V>(value + i);
    dev::Vector<float, V> mean = dev::load_vector<V>(average + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) {
      mean[j] =
          static_cast<float>(momentum * static_cast<double>(mean[j]) + (1.0 - momentum) * static_cast<double>(now[j]));
    }
    dev::store_vector(average + i, mean);
  }
};

}  // namespace

void moving_average(Stream& stream, double momentum, const float* value, float* average, int64_t count) {
  launch_elementwise<4>(stream, Average{momentum, value, average}, count);
}

}  // namespace tsugi::cuda
