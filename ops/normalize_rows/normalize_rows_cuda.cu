#include "ops/cuda/device.cuh"
#include "ops/normalize_rows/normalize_rows_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <class T>
TSUGI_KERNEL(kThreads, 4)
normalize(const T* x, int64_t rows, int64_t width, double shortest, float* out, double* scales) {
  const int64_t row = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (row >= rows) return;  // the whole warp
  double squares = 0.0;
  for (int64_t c = dev::lane_index(); c < width; c += 32) {
    const auto value = static_cast<double>(dev::to_float(dev::load(x + row * width + c)));
    squares += value * value;
  }
  const double length = dev::sqrt(dev::warp_sum(squares));
  const double scale = 1.0 / (length < shortest ? shortest : length);
  if (dev::lane_index() == 0) dev::store(scales + row, scale);
  for (int64_t c = dev::lane_index(); c < width; c += 32) {
    const auto value = static_cast<double>(dev::to_float(dev::load(x + row * width + c)));
    dev::store(out + row * width + c, static_cast<float>(value * scale));
  }
}

template <class T>
TSUGI_KERNEL(kThreads, 4)
normalize_backward(const float* out, const double* scales, const float* d_out, int64_t rows, int64_t width,
                   double shortest, T* d_x) {
  const int64_t row = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (row >= rows) return;  // the whole warp
  const double scale = dev::load(scales + row);
  double along = 0.0;
  for (int64_t c = dev::lane_index(); c < width; c += 32) {
    along +=
        static_cast<double>(dev::load(out + row * width + c)) * static_cast<double>(dev::load(d_out + row * width + c));
  }
  along = dev::warp_sum(along);
  if (scale >= 1.0 / shortest) along = 0.0;
  for (int64_t c = dev::lane_index(); c < width; c += 32) {
    const auto y = static_cast<double>(dev::load(out + row * width + c));
    const auto d_y = static_cast<double>(dev::load(d_out + row * width + c));
    dev::store(d_x + row * width + c, dev::round_to<T>(static_cast<float>(scale * (d_y - y * along))));
  }
}

unsigned blocks_of(int64_t rows) { return static_cast<unsigned>((rows + kWarps - 1) / kWarps); }

}  // namespace

void normalize_rows(Stream& stream, DType type, const void* x, int64_t rows, int64_t width, double shortest, float* out,
                    double* scales) {
  if (rows == 0) return;
  dispatch_compute_type(type, [&]<class T>(T) {
    launch(stream, normalize<T>, {{blocks_of(rows), 1, 1}, kThreads, 0}, static_cast<const T*>(x), rows, width,
           shortest, out, scales);
  });
}

void normalize_rows_backward(Stream& stream, DType type, const float* out, const double* scales, const float* d_out,
                             int64_t rows, int64_t width, double shortest, void* d_x) {
  if (rows == 0) return;
  dispatch_compute_type(type, [&]<class T>(T) {
    launch(stream, normalize_backward<T>, {{blocks_of(rows), 1, 1}, kThreads, 0}, out, scales, d_out, rows, width,
           shortest, static_cast<T*>(d_x));
  });
}

}  // namespace tsugi::cuda
