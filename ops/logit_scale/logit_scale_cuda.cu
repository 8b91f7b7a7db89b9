#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/logit_scale/logit_scale_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <class T>
struct Root {
  double first, limit;
  const T* offset;
  TSUGI_DEVICE double value() const {
    const double scale = first * dev::exp(static_cast<double>(dev::to_float(dev::load(offset))));
    return dev::sqrt(scale < limit ? scale : limit);
  }
};

/// Two arrays become one that has them behind each other.
template <class T>
struct ScaleBoth {
  Root<T> root;
  const float* a;
  const float* b;
  int64_t count;
  float* out;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    const float value = dev::load(i < count ? a + i : b + (i - count));
    dev::store(out + i, static_cast<float>(root.value() * static_cast<double>(value)));
  }
};

template <class T>
struct ScaleApart {
  Root<T> root;
  const float* d_out;
  int64_t count;
  float* d_a;
  float* d_b;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    static_assert(V == 1);
    dev::store(i < count ? d_a + i : d_b + (i - count),
               static_cast<float>(root.value() * static_cast<double>(dev::load(d_out + i))));
  }
};

/// A warp per row.
TSUGI_KERNEL(kThreads, 4)
row_products(const float* x, const float* y, int64_t rows, int64_t width, double* products) {
  const int64_t row = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (row >= rows) return;  // the whole warp
  double sum = 0.0;
  for (int64_t c = dev::lane_index(); c < width; c += 32) {
    sum += static_cast<double>(dev::load(x + row * width + c)) * static_cast<double>(dev::load(y + row * width + c));
  }
  sum = dev::warp_sum(sum);
  if (dev::lane_index() == 0) dev::store(products + row, sum);
}

struct SumShared {
  dev::BlockScratch<double> scratch;
};

TSUGI_KERNEL(kThreads, 1)
add_half(const double* products, int64_t rows, float* d_offset) {
  auto& s = dev::shared<SumShared>();
  double sum = 0.0;
  for (int64_t i = dev::thread_index(); i < rows; i += kThreads) sum += dev::load(products + i);
  sum = dev::block_sum(sum, s.scratch);
  if (dev::thread_index() == 0) dev::store(d_offset, dev::load(d_offset) + static_cast<float>(0.5 * sum));
}

template <class T>
Root<T> root_of(const DeviceLogitScale& scale) {
  return {scale.first, scale.limit, static_cast<const T*>(scale.offset)};
}

}  // namespace

void scale_pair(Stream& stream, const DeviceLogitScale& scale, const float* a, const float* b, int64_t count,
                float* out) {
  dispatch_compute_type(scale.type, [&]<class T>(T) {
    launch_elementwise<1>(stream, ScaleBoth<T>{root_of<T>(scale), a, b, count, out}, 2 * count);
  });
}

void scale_pair_backward(Stream& stream, const DeviceLogitScale& scale, const float* out, const float* d_out,
                         int64_t rows, int64_t width, float* d_a, float* d_b, double* scratch, float* d_offset) {
  if (rows == 0) return;
  dispatch_compute_type(scale.type, [&]<class T>(T) {
    launch_elementwise<1>(stream, ScaleApart<T>{root_of<T>(scale), d_out, rows * width, d_a, d_b}, 2 * rows * width);
  });
  if (d_offset == nullptr) return;
  const auto blocks = static_cast<unsigned>((2 * rows + kWarps - 1) / kWarps);
  launch(stream, row_products, {{blocks, 1, 1}, kThreads, 0}, out, d_out, 2 * rows, width, scratch);
  launch(stream, add_half, {{1, 1, 1}, kThreads, sizeof(SumShared)}, scratch, 2 * rows, d_offset);
}

}  // namespace tsugi::cuda
