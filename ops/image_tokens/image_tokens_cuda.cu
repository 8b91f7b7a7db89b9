#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/image_tokens/image_tokens_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 4;  // loads of a thread that are under way together

template <class T>
struct Place {
  const T* patches;
  const T* class_token;
  const T* positions;
  int64_t tokens, width;
  T* out;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const int64_t row = i / width;
    const int64_t column = i % width;
    const int64_t token = row % tokens;
    const int64_t picture = row / tokens;
    dev::Vector<T, V> values = dev::load_vector<V>(
        token == 0 ? class_token + column : patches + (picture * (tokens - 1) + token - 1) * width + column);
    if (positions != nullptr) {
      const dev::Vector<T, V> place = dev::load_vector<V>(positions + token * width + column);
      TSUGI_UNROLL
      for (int j = 0; j < V; ++j) values[j] = dev::round_to<T>(dev::to_float(values[j]) + dev::to_float(place[j]));
    }
    dev::store_vector(out + i, values);
  }
};

/// A thread for V neighbouring columns of [batch, tokens · width].
template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
collect(const T* d_out, int64_t batch, int64_t tokens, int64_t width, T* d_patches, float* d_class_token,
        float* d_positions) {
  const int64_t column = (static_cast<int64_t>(dev::block_index().x) * kThreads + dev::thread_index()) * V;
  const int64_t columns = tokens * width;
  if (column >= columns) return;
  const bool of_class = column < width;
  float sums[V] = {};
  for (int64_t first = 0; first < batch; first += kAhead) {
    dev::Vector<T, V> rows[kAhead];
    TSUGI_UNROLL
    for (int a = 0; a < kAhead; ++a) {
      if (first + a < batch) rows[a] = dev::load_vector<V>(d_out + (first + a) * columns + column);
    }
    TSUGI_UNROLL
    for (int a = 0; a < kAhead; ++a) {
      if (first + a >= batch) continue;
      TSUGI_UNROLL
      for (int j = 0; j < V; ++j) sums[j] += dev::to_float(rows[a][j]);
      if (d_patches != nullptr && !of_class) {
        dev::store_vector(d_patches + (first + a) * (columns - width) + column - width, rows[a]);
      }
    }
  }
  TSUGI_UNROLL
  for (int j = 0; j < V; ++j) {
    const int64_t c = column + j;
    if (d_positions != nullptr) dev::store(d_positions + c, dev::load(d_positions + c) + sums[j]);
    if (d_class_token != nullptr && of_class) dev::store(d_class_token + c, dev::load(d_class_token + c) + sums[j]);
  }
}

/// A thread for an element of the mean.
template <class T>
TSUGI_KERNEL(kThreads, 8)
average(const T* x, int64_t batch, int64_t tokens, int64_t width, T* out) {
  const int64_t i = static_cast<int64_t>(dev::block_index().x) * kThreads + dev::thread_index();
  if (i >= batch * width) return;
  const T* const from = x + i / width * tokens * width + i % width;
  float sum = 0.0f;
  for (int64_t first = 1; first < tokens; first += kAhead) {
    float values[kAhead];
    TSUGI_UNROLL
    for (int a = 0; a < kAhead; ++a) {
      values[a] = first + a < tokens ? dev::to_float(dev::load(from + (first + a) * width)) : 0.0f;
    }
    TSUGI_UNROLL
    for (const float value : values) sum += value;
  }
  dev::store(out + i, dev::round_to<T>(sum / static_cast<float>(tokens - 1)));
}

template <class T>
struct Share {
  const T* d_out;
  int64_t tokens, width;
  T* d_x;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const int64_t row = i / width;
    dev::Vector<T, V> values = {};
    if (row % tokens != 0) {
      values = dev::load_vector<V>(d_out + row / tokens * width + i % width);
      TSUGI_UNROLL
      for (int j = 0; j < V; ++j) {
        values[j] = dev::round_to<T>(dev::to_float(values[j]) / static_cast<float>(tokens - 1));
      }
    }
    dev::store_vector(d_x + i, values);
  }
};

/// Rows that do not begin at 16 bytes go element by element.
template <class T, class Body>
void launch_rows(Stream& stream, const ImageTokensShape& shape, const Body& body) {
  constexpr int kV = dev::kVectorElements<T>;
  const int64_t count = shape.batch * shape.tokens * shape.width;
  if (shape.width % kV == 0) {
    launch_elementwise<kV>(stream, body, count);
  } else {
    launch_elementwise<1>(stream, body, count);
  }
}

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

void image_tokens(Stream& stream, const ImageTokensShape& shape, const void* patches, const void* class_token,
                  const void* positions, void* out) {
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    launch_rows<T>(stream, shape,
                   Place<T>{static_cast<const T*>(patches), static_cast<const T*>(class_token),
                            static_cast<const T*>(positions), shape.tokens, shape.width, static_cast<T*>(out)});
  });
}

void image_tokens_backward(Stream& stream, const ImageTokensShape& shape, const void* d_out, void* d_patches,
                           float* d_class_token, float* d_positions) {
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    constexpr int kV = 4 / static_cast<int>(sizeof(T)) * 2;  // 8 bytes: enough threads for a device
    const bool wide = shape.width % kV == 0;
    const int64_t threads = shape.tokens * shape.width / (wide ? kV : 1);
    launch(stream, wide ? collect<T, kV> : collect<T, 1>, {{blocks_of(threads), 1, 1}, kThreads, 0},
           static_cast<const T*>(d_out), shape.batch, shape.tokens, shape.width, static_cast<T*>(d_patches),
           d_class_token, d_positions);
  });
}

void mean_of_patches(Stream& stream, const ImageTokensShape& shape, const void* x, void* out) {
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    launch(stream, average<T>, {{blocks_of(shape.batch * shape.width), 1, 1}, kThreads, 0}, static_cast<const T*>(x),
           shape.batch, shape.tokens, shape.width, static_cast<T*>(out));
  });
}

void mean_of_patches_backward(Stream& stream, const ImageTokensShape& shape, const void* d_out, void* d_x) {
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    launch_rows<T>(stream, shape,
                   Share<T>{static_cast<const T*>(d_out), shape.tokens, shape.width, static_cast<T*>(d_x)});
  });
}

}  // namespace tsugi::cuda
