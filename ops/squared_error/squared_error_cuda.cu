#include "ops/cuda/device.cuh"
#include "ops/squared_error/squared_error_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <class T>
TSUGI_KERNEL(kThreads, 4)
error_rows(SquaredErrorShape shape, const T* x, const float* targets, const int32_t* indices, double* errors, T* d_x) {
  const int64_t row = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (row >= shape.rows) return;  // the whole warp, as below
  const int64_t width = shape.width;
  const int64_t index = dev::load(indices + row);
  if (index < 0 || index >= shape.target_rows) {
    for (int64_t c = dev::lane_index(); d_x != nullptr && c < width; c += 32) {
      dev::store(d_x + row * width + c, dev::round_to<T>(0.0f));
    }
    if (dev::lane_index() == 0) dev::store(errors + row, index == -1 ? 0.0 : __builtin_nan(""));
    return;
  }
  const float* const target = targets + index * width;
  double shift = 0.0, scale = 1.0;
  if (shape.normalize) {
    double sum = 0.0;
    for (int64_t c = dev::lane_index(); c < width; c += 32) sum += static_cast<double>(dev::load(target + c));
    shift = dev::warp_sum(sum) / static_cast<double>(width);
    double squares = 0.0;
    for (int64_t c = dev::lane_index(); c < width; c += 32) {
      const double away = static_cast<double>(dev::load(target + c)) - shift;
      squares += away * away;
    }
    scale = 1.0 / dev::sqrt(dev::warp_sum(squares) / static_cast<double>(width - 1) + shape.variance);
  }
  double error = 0.0;
  for (int64_t c = dev::lane_index(); c < width; c += 32) {
    const double wanted = (static_cast<double>(dev::load(target + c)) - shift) * scale;
    const double difference = static_cast<double>(dev::to_float(dev::load(x + row * width + c))) - wanted;
    error += difference * difference;
    if (d_x == nullptr) continue;
    dev::store(d_x + row * width + c,
               dev::round_to<T>(static_cast<float>(2.0 * difference / static_cast<double>(width))));
  }
  error = dev::warp_sum(error) / static_cast<double>(width);
  if (dev::lane_index() == 0) dev::store(errors + row, error);
}

}  // namespace

void squared_error(Stream& stream, const SquaredErrorShape& shape, const void* x, const float* targets,
                   const int32_t* indices, double* errors, void* d_x) {
  if (shape.rows == 0) return;
  const auto blocks = static_cast<unsigned>((shape.rows + kWarps - 1) / kWarps);
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    launch(stream, error_rows<T>, {{blocks, 1, 1}, kThreads, 0}, shape, static_cast<const T*>(x), targets, indices,
           errors, static_cast<T*>(d_x));
  });
}

}  // namespace tsugi::cuda
