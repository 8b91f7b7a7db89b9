#include <string>

#include "ops/base/error.h"
#include "ops/cuda/device.cuh"
#include "ops/reduce/reduce_cuda.h"
#include "ops/rotary/rotary_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kMostHeadDim = 256;
// Warps of the backward pass with a norm, each with its own sums. A fixed number, so that sums do not depend on the
// device.
constexpr int64_t kMaxGroups = 4224;

/// Cosine and sine of plane i of a row.
struct Angle {
  float cosine, sine;
};
TSUGI_DEVICE int64_t position_of(const RotaryShape& p, int64_t row) {
  if (p.positions != nullptr) return dev::load(p.positions + row);
  return p.first_position + static_cast<uint32_t>(row) % static_cast<uint32_t>(p.tokens);  // rows are fewer than 2³¹
}
TSUGI_DEVICE Angle angle_of(const RotaryShape& p, int64_t position, int plane) {
  const float* const at = p.table + position * p.rotated + plane;
  return {dev::load(at), dev::load(at + p.rotated / 2)};
}

/// Turns the planes of every head, one thread a plane; what is not turned is copied, in pairs too. `sign` -1: back.
template <class T>
TSUGI_KERNEL(kThreads, 8)
turn(RotaryShape p, float sign, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  const int pairs = (p.head_dim + 1) / 2;
  const int64_t index = static_cast<int64_t>(dev::block_index().x) * kThreads + dev::thread_index();
  const int64_t per_row = static_cast<int64_t>(p.heads()) * pairs;
  if (index >= p.rows * per_row) return;
  const int64_t row = index / per_row;
  const int in_row = static_cast<int>(index % per_row);
  const int head = in_row / pairs;
  const int plane = in_row % pairs;
  const int half = p.rotated / 2;
  const T* const x = from + row * from_stride + static_cast<int64_t>(head) * p.head_dim;
  T* const y = to + row * to_stride + static_cast<int64_t>(head) * p.head_dim;
  if (plane < half) {
    const Angle angle = angle_of(p, position_of(p, row), plane);
    const float first = dev::to_float(dev::load(x + plane));
    const float second = dev::to_float(dev::load(x + plane + half));
    const float sine = sign * angle.sine;
    dev::store(y + plane, dev::round_to<T>(first * angle.cosine - second * sine));
    dev::store(y + plane + half, dev::round_to<T>(second * angle.cosine + first * sine));
    return;
  }
  const int first = p.rotated + 2 * (plane - half);
  for (int i = first; x != y && i < first + 2 && i < p.head_dim; ++i) dev::store(y + i, dev::load(x + i));
}

/// The same for a block per row, V planes of a head to a thread: their angles are loaded once for all heads of the row,
/// and every access is of 16 bytes.
template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
turn_wide(RotaryShape p, float sign, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  const int half = p.rotated / 2;
  const int threads = half / V;  // of a head
  const int64_t row = dev::block_index().x;
  const int64_t position = position_of(p, row);
  const int plane = dev::thread_index() % threads * V;
  const float* const table = p.table + position * p.rotated + plane;
  float cosines[V], sines[V];
  TSUGI_UNROLL
  for (int i = 0; i < V; i += 4) {
    const dev::Vector<float, 4> c = dev::load_vector<4>(table + i), s = dev::load_vector<4>(table + half + i);
    TSUGI_UNROLL
    for (int j = 0; j < 4; ++j) {
      cosines[i + j] = c[j];
      sines[i + j] = sign * s[j];
    }
  }
  for (int head = dev::thread_index() / threads; head < p.heads(); head += kThreads / threads) {
    const T* const x = from + row * from_stride + static_cast<int64_t>(head) * p.head_dim;
    T* const y = to + row * to_stride + static_cast<int64_t>(head) * p.head_dim;
    const dev::Vector<T, V> a = dev::load_vector<V>(x + plane), b = dev::load_vector<V>(x + plane + half);
    dev::Vector<T, V> first, second;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      const float u = dev::to_float(a[i]), v = dev::to_float(b[i]);
      first[i] = dev::round_to<T>(u * cosines[i] - v * sines[i]);
      second[i] = dev::round_to<T>(v * cosines[i] + u * sines[i]);
    }
    dev::store_vector(y + plane, first);
    dev::store_vector(y + plane + half, second);
    for (int i = p.rotated + plane; x != y && i < p.head_dim; i += half) {
      dev::store_vector(y + i, dev::load_vector<V>(x + i));
    }
  }
}

/// A head lies in the registers of a warp: lane l holds elements l, l + 32, … The two elements of a plane may lie in
/// different lanes: partners are read through shared memory.
template <int Chunks>
struct HeadShared {
  dev::SharedArray<float, kWarps * Chunks * 32> values;
};

/// Turns the values of a head; all lanes of the warp call it.
template <int Chunks>
TSUGI_DEVICE void turn_head(const RotaryShape& p, int64_t position, float sign, float (&values)[Chunks]) {
  if (p.rotated == 0) return;
  auto& s = dev::shared<HeadShared<Chunks>>();
  const int base = dev::warp_index() * Chunks * 32;
  const int half = p.rotated / 2;
  dev::sync_warp();
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) s.values[base + c * 32 + dev::lane_index()] = values[c];
  dev::sync_warp();
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const int i = c * 32 + dev::lane_index();
    if (i >= p.rotated) continue;
    const bool lower = i < half;
    const Angle angle = angle_of(p, position, lower ? i : i - half);
    const float partner = s.values[base + (lower ? i + half : i - half)];
    const float sine = lower ? -sign * angle.sine : sign * angle.sine;
    values[c] = values[c] * angle.cosine + partner * sine;
  }
}

template <class T>
TSUGI_DEVICE const T* gamma_of(const RotaryShape& p, int head) {
  return static_cast<const T*>(head < p.query_heads ? p.query_gamma : p.key_gamma);
}

/// A warp per head and row.
template <class T, int Chunks>
TSUGI_KERNEL(kThreads, 4)
norm_and_turn(RotaryShape p, const T* from, int64_t from_stride, T* to, int64_t to_stride, float* rstd) {
  const int64_t index = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (index >= p.rows * p.heads()) return;  // a whole warp
  const int64_t row = index / p.heads();
  const int head = static_cast<int>(index % p.heads());
  const T* const x = from + row * from_stride + static_cast<int64_t>(head) * p.head_dim;
  T* const y = to + row * to_stride + static_cast<int64_t>(head) * p.head_dim;
  const T* const gamma = gamma_of<T>(p, head);
  float values[Chunks];
  float squares = 0.0f;
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const int i = c * 32 + dev::lane_index();
    values[c] = i < p.head_dim ? dev::to_float(dev::load(x + i)) : 0.0f;
    squares += values[c] * values[c];
  }
  const float inverse = 1.0f / dev::sqrt(dev::warp_sum(squares) / static_cast<float>(p.head_dim) + p.epsilon);
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const int i = c * 32 + dev::lane_index();
    if (i < p.head_dim) values[c] = values[c] * inverse * dev::to_float(dev::load(gamma + i));
  }
  turn_head(p, p.rotated > 0 ? position_of(p, row) : 0, 1.0f, values);
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const int i = c * 32 + dev::lane_index();
    if (i < p.head_dim) dev::store(y + i, dev::round_to<T>(values[c]));
  }
  if (dev::lane_index() == 0) dev::store(rstd + index, inverse);
}

/// Warp g takes rows g, g + groups, … with all their heads, and keeps its part of the gammas' gradients in registers.
template <class T, int Chunks>
TSUGI_KERNEL(kThreads, 4)
turn_and_norm_back(RotaryShape p, const T* from, int64_t from_stride, const float* rstd, T* gradient, int64_t stride,
                   int64_t groups, float* partial) {
  const int64_t group = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (group >= groups) return;  // a whole warp
  float d_query[Chunks], d_key[Chunks];
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) d_query[c] = d_key[c] = 0.0f;
  for (int64_t row = group; row < p.rows; row += groups) {
    const int64_t position = p.rotated > 0 ? position_of(p, row) : 0;
    for (int head = 0; head < p.heads(); ++head) {
      const T* const x = from + row * from_stride + static_cast<int64_t>(head) * p.head_dim;
      T* const d = gradient + row * stride + static_cast<int64_t>(head) * p.head_dim;
      const T* const gamma = gamma_of<T>(p, head);
      const bool query = head < p.query_heads;
      // All of the head is loaded before its values are exchanged.
      const float inverse = dev::load(rstd + row * p.heads() + head);
      float values[Chunks], hats[Chunks];
      TSUGI_UNROLL
      for (int c = 0; c < Chunks; ++c) {
        const int i = c * 32 + dev::lane_index();
        values[c] = i < p.head_dim ? dev::to_float(dev::load(d + i)) : 0.0f;
        hats[c] = i < p.head_dim ? dev::to_float(dev::load(x + i)) : 0.0f;
      }
      turn_head(p, position, -1.0f, values);
      float products = 0.0f;
      TSUGI_UNROLL
      for (int c = 0; c < Chunks; ++c) {
        const int i = c * 32 + dev::lane_index();
        hats[c] *= inverse;
        d_query[c] += query ? values[c] * hats[c] : 0.0f;
        d_key[c] += query ? 0.0f : values[c] * hats[c];
        if (i < p.head_dim) values[c] *= dev::to_float(dev::load(gamma + i));
        products += values[c] * hats[c];
      }
      const float average = dev::warp_sum(products) / static_cast<float>(p.head_dim);
      TSUGI_UNROLL
      for (int c = 0; c < Chunks; ++c) {
        const int i = c * 32 + dev::lane_index();
        if (i < p.head_dim) dev::store(d + i, dev::round_to<T>((values[c] - hats[c] * average) * inverse));
      }
    }
  }
  TSUGI_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const int i = c * 32 + dev::lane_index();
    if (i >= p.head_dim) continue;
    dev::store(partial + group * 2 * p.head_dim + i, d_query[c]);
    dev::store(partial + (group * 2 + 1) * p.head_dim + i, d_key[c]);
  }
}

template <int Chunks>
struct Size {};
template <class F>
void choose_size(int head_dim, F&& f) {
  if (head_dim <= 64) return f(Size<2>{});
  if (head_dim <= 128) return f(Size<4>{});
  return f(Size<kMostHeadDim / 32>{});
}

unsigned blocks_of(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

template <class T>
void launch_turn(Stream& stream, const RotaryShape& shape, float sign, const void* from, int64_t from_stride, void* to,
                 int64_t to_stride) {
  const int64_t threads = shape.rows * shape.heads() * ((shape.head_dim + 1) / 2);
  if (threads == 0) return;
  const auto* const x = static_cast<const T*>(from);
  auto* const y = static_cast<T*>(to);
  constexpr int kV = dev::kVectorElements<T>;
  const int half = shape.rotated / 2;
  const auto whole = [](int64_t elements) { return elements % kV == 0; };
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  if (half > 0 && whole(half) && kThreads % (half / kV) == 0 && whole(shape.head_dim) && whole(from_stride) &&
      whole(to_stride) && aligned(x) && aligned(y) && aligned(shape.table)) {
    return launch(stream, turn_wide<T, kV>, {{static_cast<unsigned>(shape.rows), 1, 1}, kThreads, 0}, shape, sign, x,
                  from_stride, y, to_stride);
  }
  launch(stream, turn<T>, {{blocks_of(threads, kThreads), 1, 1}, kThreads, 0}, shape, sign, x, from_stride, y,
         to_stride);
}

int64_t groups_of(const RotaryShape& shape) { return shape.rows < kMaxGroups ? shape.rows : kMaxGroups; }

}  // namespace

void check_rotary(bool norm, const RotaryShape& shape) {
  if (norm && shape.head_dim > kMostHeadDim) {
    throw Error(ExitCode::kUsage,
                "CUDA: RMSNorm of heads of " + std::to_string(shape.head_dim) + " elements is not built",
                "a head may have up to " + std::to_string(kMostHeadDim));
  }
}

void rotary_forward(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, void* to,
                    int64_t to_stride, float* rstd) {
  check_rotary(shape.query_gamma != nullptr, shape);
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    if (shape.query_gamma == nullptr) {
      return launch_turn<T>(stream, shape, 1.0f, from, from_stride, to, to_stride);
    }
    choose_size(shape.head_dim, [&]<int Chunks>(Size<Chunks>) {
      launch(stream, norm_and_turn<T, Chunks>,
             {{blocks_of(shape.rows * shape.heads(), kWarps), 1, 1}, kThreads, sizeof(HeadShared<Chunks>)}, shape,
             static_cast<const T*>(from), from_stride, static_cast<T*>(to), to_stride, rstd);
    });
  });
}

size_t rotary_scratch_bytes(const RotaryShape& shape) {
  return static_cast<size_t>(groups_of(shape) * 2 * shape.head_dim) * sizeof(float);
}

void rotary_backward(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, const float* rstd,
                     void* gradient, int64_t stride, float* scratch, float* d_query_gamma, float* d_key_gamma) {
  check_rotary(shape.query_gamma != nullptr, shape);
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    if (shape.query_gamma == nullptr) {
      return launch_turn<T>(stream, shape, -1.0f, gradient, stride, gradient, stride);
    }
    const int64_t groups = groups_of(shape);
    choose_size(shape.head_dim, [&]<int Chunks>(Size<Chunks>) {
      launch(stream, turn_and_norm_back<T, Chunks>,
             {{blocks_of(groups, kWarps), 1, 1}, kThreads, sizeof(HeadShared<Chunks>)}, shape,
             static_cast<const T*>(from), from_stride, rstd, static_cast<T*>(gradient), stride, groups, scratch);
    });
    add_partial_sums(stream, scratch, groups, 2 * shape.head_dim, shape.head_dim, d_query_gamma, d_key_gamma);
  });
}

}  // namespace tsugi::cuda
