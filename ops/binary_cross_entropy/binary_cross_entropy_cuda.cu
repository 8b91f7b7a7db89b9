#include "ops/binary_cross_entropy/binary_cross_entropy_cuda.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/logistic.cuh"

namespace tsugi::cuda {
namespace {

template <class T>
struct YesOrNo {
  const T* x;
  const int32_t* targets;
  double weight;
  double* losses;
  T* d_x;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    const int32_t target = dev::load(targets + i);
    double loss = target == -1 ? 0.0 : __builtin_nan("");
    double slope = 0.0;
    if (target == 0 || target == 1) {
      const auto score = static_cast<double>(dev::to_float(dev::load(x + i)));
      loss = softplus(score) - target * score;
      slope = weight * (logistic(score) - target);
    }
    dev::store(losses + i, loss);
    if (d_x != nullptr) dev::store(d_x + i, dev::round_to<T>(static_cast<float>(slope)));
  }
};

}  // namespace

void binary_cross_entropy(Stream& stream, DType type, const void* x, const int32_t* targets, int64_t rows, float weight,
                          double* losses, void* d_x) {
  dispatch_compute_type(type, [&]<class T>(T) {
    const YesOrNo<T> body{static_cast<const T*>(x), targets, static_cast<double>(weight), losses, static_cast<T*>(d_x)};
    launch_elementwise<1>(stream, body, rows);
  });
}

}  // namespace tsugi::cuda
