#include <string>

#include "ops/base/error.h"
#include "ops/reduce/reduce_cuda.h"
#include "ops/rotary/rotary.cuh"
#include "ops/rotary/rotary_norm_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kMostHeadDim = 256;
// Warps of the backward pass, each with its own sums. A fixed number, so that sums do not depend on the device.
constexpr int64_t kMaxGroups = 4224;

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
norm_and_turn_lanes(RotaryShape p, const T* from, int64_t from_stride, T* to, int64_t to_stride, float* rstd) {
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
turn_and_norm_back_lanes(RotaryShape p, const T* from, int64_t from_stride, const float* rstd, T* gradient,
                         int64_t stride, int64_t groups, float* partial) {
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

/// The lanes of a warp that hold a head of which all is turned: V planes each, all of whose elements lie in its
/// registers. A warp holds as many heads at once as there is room for, and goes through all of a row: their angles are
/// loaded once.
template <class T, int V>
struct HeldHead {
  int lanes, plane, half;
  TSUGI_DEVICE explicit HeldHead(const RotaryShape& p) : lanes(p.head_dim / (2 * V)), half(p.head_dim / 2) {
    plane = dev::lane_index() % lanes * V;
  }
  TSUGI_DEVICE int first() const { return dev::lane_index() / lanes; }
  TSUGI_DEVICE int together() const { return 32 / lanes; }
  TSUGI_DEVICE float sum(float x) const {
    for (int mask = lanes / 2; mask > 0; mask /= 2) x += dev::shuffle_xor(x, mask);
    return x;
  }
};

/// A warp per row.
template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
norm_and_turn_wide(RotaryShape p, const T* from, int64_t from_stride, T* to, int64_t to_stride, float* rstd) {
  const int64_t row = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (row >= p.rows) return;  // a whole warp
  const HeldHead<T, V> held(p);
  const Angles<V> angles = load_angles<V>(p, position_of(p, row), held.plane, 1.0f);
  for (int some = 0; some < p.heads(); some += held.together()) {
    const bool there = some + held.first() < p.heads();
    const int head = there ? some + held.first() : 0;
    const int64_t at = static_cast<int64_t>(head) * p.head_dim + held.plane;
    float first[V], second[V], first_gamma[V], second_gamma[V];
    load_planes(from + row * from_stride + at, held.half, first, second);
    load_planes(gamma_of<T>(p, head) + held.plane, held.half, first_gamma, second_gamma);
    float squares = 0.0f;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) squares += first[i] * first[i] + second[i] * second[i];
    const float inverse = 1.0f / dev::sqrt(held.sum(squares) / static_cast<float>(p.head_dim) + p.epsilon);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      first[i] = first[i] * inverse * first_gamma[i];
      second[i] = second[i] * inverse * second_gamma[i];
    }
    turn_planes(angles, first, second);
    if (!there) continue;
    store_planes(to + row * to_stride + at, held.half, first, second);
    if (held.plane == 0) dev::store(rstd + row * p.heads() + head, inverse);
  }
}

/// As turn_and_norm_back_lanes. The sums of a warp's heads are added at its end.
template <class T, int V>
TSUGI_KERNEL(kThreads, 4)
turn_and_norm_back_wide(RotaryShape p, const T* from, int64_t from_stride, const float* rstd, T* gradient,
                        int64_t stride, int64_t groups, float* partial) {
  const int64_t group = static_cast<int64_t>(dev::block_index().x) * kWarps + dev::warp_index();
  if (group >= groups) return;  // a whole warp
  const HeldHead<T, V> held(p);
  float sums[2][2 * V];  // of queries and keys
  TSUGI_UNROLL
  for (int i = 0; i < 2 * V; ++i) sums[0][i] = sums[1][i] = 0.0f;
  for (int64_t row = group; row < p.rows; row += groups) {
    const Angles<V> angles = load_angles<V>(p, position_of(p, row), held.plane, -1.0f);
    for (int some = 0; some < p.heads(); some += held.together()) {
      const bool there = some + held.first() < p.heads();
      const int head = there ? some + held.first() : 0;
      const int64_t at = static_cast<int64_t>(head) * p.head_dim + held.plane;
      float first[V], second[V], first_hat[V], second_hat[V], first_gamma[V], second_gamma[V];
      const float inverse = dev::load(rstd + row * p.heads() + head);
      load_planes(gradient + row * stride + at, held.half, first, second);
      load_planes(from + row * from_stride + at, held.half, first_hat, second_hat);
      load_planes(gamma_of<T>(p, head) + held.plane, held.half, first_gamma, second_gamma);
      turn_planes(angles, first, second);
      const float of_query = there && head < p.query_heads ? 1.0f : 0.0f, of_key = there ? 1.0f - of_query : 0.0f;
      float products = 0.0f;
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        first_hat[i] *= inverse;
        second_hat[i] *= inverse;
        const float low = first[i] * first_hat[i], high = second[i] * second_hat[i];
        sums[0][i] += of_query * low;
        sums[0][V + i] += of_query * high;
        sums[1][i] += of_key * low;
        sums[1][V + i] += of_key * high;
        first[i] *= first_gamma[i];
        second[i] *= second_gamma[i];
        products += first[i] * first_hat[i] + second[i] * second_hat[i];
      }
      const float average = held.sum(products) / static_cast<float>(p.head_dim);
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        first[i] = (first[i] - first_hat[i] * average) * inverse;
        second[i] = (second[i] - second_hat[i] * average) * inverse;
      }
      if (there) store_planes(gradient + row * stride + at, held.half, first, second);
    }
  }
  TSUGI_UNROLL
  for (int kind = 0; kind < 2; ++kind) {
    TSUGI_UNROLL
    for (int i = 0; i < 2 * V; ++i) {
      float sum = sums[kind][i];
      for (int mask = 16; mask >= held.lanes; mask /= 2) sum += dev::shuffle_xor(sum, mask);
      const int element = i < V ? held.plane + i : held.half + held.plane + i - V;
      if (held.first() == 0) dev::store(partial + (group * 2 + kind) * p.head_dim + element, sum);
    }
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

unsigned blocks_of(int64_t count) { return static_cast<unsigned>((count + kWarps - 1) / kWarps); }

int64_t groups_of(const RotaryShape& shape) { return shape.rows < kMaxGroups ? shape.rows : kMaxGroups; }

/// Whether a HeldHead can be.
template <class T>
bool holds_heads(const RotaryShape& shape, const void* from, int64_t from_stride, const void* to, int64_t to_stride) {
  const int lanes = shape.head_dim / (2 * dev::kVectorElements<T>);
  const auto aligned = [](const void* gamma) { return reinterpret_cast<uintptr_t>(gamma) % 16 == 0; };
  return shape.rotated == shape.head_dim && planes_are_aligned<T>(shape, from, from_stride, to, to_stride) &&
         lanes <= 32 && 32 % lanes == 0 && aligned(shape.query_gamma) && aligned(shape.key_gamma);
}

}  // namespace

void check_rotary(bool norm, const RotaryShape& shape) {
  if (norm && shape.head_dim > kMostHeadDim) {
    throw Error(ExitCode::kUsage,
                "CUDA: RMSNorm of heads of " + std::to_string(shape.head_dim) + " elements is not built",
                "a head may have up to " + std::to_string(kMostHeadDim));
  }
}

void norm_and_turn(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, void* to,
                   int64_t to_stride, float* rstd) {
  check_rotary(true, shape);
  if (shape.rows == 0) return;
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    const auto* const x = static_cast<const T*>(from);
    auto* const y = static_cast<T*>(to);
    if (holds_heads<T>(shape, from, from_stride, to, to_stride)) {
      return launch(stream, norm_and_turn_wide<T, dev::kVectorElements<T>>,
                    {{blocks_of(shape.rows), 1, 1}, kThreads, 0}, shape, x, from_stride, y, to_stride, rstd);
    }
    choose_size(shape.head_dim, [&]<int Chunks>(Size<Chunks>) {
      launch(stream, norm_and_turn_lanes<T, Chunks>,
             {{blocks_of(shape.rows * shape.heads()), 1, 1}, kThreads, sizeof(HeadShared<Chunks>)}, shape, x,
             from_stride, y, to_stride, rstd);
    });
  });
}

size_t rotary_scratch_bytes(const RotaryShape& shape) {
  return static_cast<size_t>(groups_of(shape) * 2 * shape.head_dim) * sizeof(float);
}

void turn_and_norm_back(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride,
                        const float* rstd, void* gradient, int64_t stride, float* scratch, float* d_query_gamma,
                        float* d_key_gamma) {
  check_rotary(true, shape);
  if (shape.rows == 0) return;
  const int64_t groups = groups_of(shape);
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    const auto* const x = static_cast<const T*>(from);
    auto* const d = static_cast<T*>(gradient);
    if (holds_heads<T>(shape, from, from_stride, gradient, stride)) {
      return launch(stream, turn_and_norm_back_wide<T, dev::kVectorElements<T>>,
                    {{blocks_of(groups), 1, 1}, kThreads, 0}, shape, x, from_stride, rstd, d, stride, groups, scratch);
    }
    choose_size(shape.head_dim, [&]<int Chunks>(Size<Chunks>) {
      launch(stream, turn_and_norm_back_lanes<T, Chunks>,
             {{blocks_of(groups), 1, 1}, kThreads, sizeof(HeadShared<Chunks>)}, shape, x, from_stride, rstd, d, stride,
             groups, scratch);
    });
  });
  add_partial_sums(stream, scratch, groups, 2 * shape.head_dim, shape.head_dim, d_query_gamma, d_key_gamma);
}

}  // namespace tsugi::cuda
