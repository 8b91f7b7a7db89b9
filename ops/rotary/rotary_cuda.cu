#include "ops/rotary/rotary.cuh"
#include "ops/rotary/rotary_norm_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;

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
  const int plane = dev::thread_index() % threads * V;
  const Angles<V> angles = load_angles<V>(p, position_of(p, row), plane, sign);
  for (int head = dev::thread_index() / threads; head < p.heads(); head += kThreads / threads) {
    const T* const x = from + row * from_stride + static_cast<int64_t>(head) * p.head_dim;
    T* const y = to + row * to_stride + static_cast<int64_t>(head) * p.head_dim;
    float first[V], second[V];
    load_planes(x + plane, half, first, second);
    turn_planes(angles, first, second);
    store_planes(y + plane, half, first, second);
    for (int i = p.rotated + plane; x != y && i < p.head_dim; i += half) {
      dev::store_vector(y + i, dev::load_vector<V>(x + i));
    }
  }
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
  if (planes_are_aligned<T>(shape, x, from_stride, y, to_stride) && kThreads % (half / kV) == 0) {
    return launch(stream, turn_wide<T, kV>, {{static_cast<unsigned>(shape.rows), 1, 1}, kThreads, 0}, shape, sign, x,
                  from_stride, y, to_stride);
  }
  launch(stream, turn<T>, {{blocks_of(threads, kThreads), 1, 1}, kThreads, 0}, shape, sign, x, from_stride, y,
         to_stride);
}

}  // namespace

void rotary_forward(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, void* to,
                    int64_t to_stride, float* rstd) {
  if (shape.query_gamma != nullptr) return norm_and_turn(stream, shape, from, from_stride, to, to_stride, rstd);
  dispatch_compute_type(shape.type,
                        [&]<class T>(T) { launch_turn<T>(stream, shape, 1.0f, from, from_stride, to, to_stride); });
}

void rotary_backward(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, const float* rstd,
                     void* gradient, int64_t stride, float* scratch, float* d_query_gamma, float* d_key_gamma) {
  if (shape.query_gamma != nullptr) {
    return turn_and_norm_back(stream, shape, from, from_stride, rstd, gradient, stride, scratch, d_query_gamma,
                              d_key_gamma);
  }
  dispatch_compute_type(shape.type,
                        [&]<class T>(T) { launch_turn<T>(stream, shape, -1.0f, gradient, stride, gradient, stride); });
}

}  // namespace tsugi::cuda
