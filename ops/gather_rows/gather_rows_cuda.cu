#include "ops/cuda/device.cuh"
#include "ops/gather_rows/gather_rows_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;

/// A block per row: a few rows of a micro-batch, so that bytes matter less than the launch.
template <class T>
TSUGI_KERNEL(kThreads, 8)
gather(const T* x, const int32_t* indices, int64_t width, T* out) {
  const int64_t n = dev::block_index().x;
  const int64_t row = dev::load(indices + n);
  for (int64_t c = dev::thread_index(); c < width; c += kThreads) {
    dev::store(out + n * width + c, dev::load(x + row * width + c));
  }
}

/// The block of an index's first occurrence adds up all of them.
template <class T>
TSUGI_KERNEL(kThreads, 8)
scatter(const int32_t* indices, const T* d_out, int64_t count, int64_t width, T* d_x) {
  const int64_t n = dev::block_index().x;
  const int32_t row = dev::load(indices + n);
  for (int64_t m = 0; m < n; ++m) {
    if (dev::load(indices + m) == row) return;
  }
  for (int64_t c = dev::thread_index(); c < width; c += kThreads) {
    float sum = 0.0f;
    for (int64_t m = n; m < count; ++m) {
      if (dev::load(indices + m) == row) sum += dev::to_float(dev::load(d_out + m * width + c));
    }
    dev::store(d_x + row * width + c, dev::round_to<T>(sum));
  }
}

template <class T>
TSUGI_KERNEL(kThreads, 8)
put(const T* rows, const int32_t* indices, int64_t width, T* x) {
  const int64_t n = dev::block_index().x;
  const int64_t row = dev::load(indices + n);
  for (int64_t c = dev::thread_index(); c < width; c += kThreads) {
    dev::store(x + row * width + c, dev::load(rows + n * width + c));
  }
}

}  // namespace

void gather_rows(Stream& stream, DType type, const void* x, const int32_t* indices, int64_t count, int64_t width,
                 void* out) {
  if (count == 0) return;
  dispatch_compute_type(type, [&]<class T>(T) {
    launch(stream, gather<T>, {{static_cast<unsigned>(count), 1, 1}, kThreads, 0}, static_cast<const T*>(x), indices,
           width, static_cast<T*>(out));
  });
}

void gather_rows_backward(Stream& stream, DType type, const int32_t* indices, const void* d_out, int64_t count,
                          int64_t width, void* d_x) {
  if (count == 0) return;
  dispatch_compute_type(type, [&]<class T>(T) {
    launch(stream, scatter<T>, {{static_cast<unsigned>(count), 1, 1}, kThreads, 0}, indices,
           static_cast<const T*>(d_out), count, width, static_cast<T*>(d_x));
  });
}

void put_rows(Stream& stream, DType type, const void* rows, const int32_t* indices, int64_t count, int64_t width,
              void* x) {
  if (count == 0) return;
  dispatch_compute_type(type, [&]<class T>(T) {
    launch(stream, put<T>, {{static_cast<unsigned>(count), 1, 1}, kThreads, 0}, static_cast<const T*>(rows), indices,
           width, static_cast<T*>(x));
  });
}

}  // namespace tsugi::cuda
