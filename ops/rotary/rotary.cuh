// What the kernels of rotary positions share.
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/rotary/rotary_cuda.h"

namespace tsugi::cuda {

TSUGI_DEVICE int64_t position_of(const RotaryShape& p, int64_t row) {
  if (p.positions != nullptr) return dev::load(p.positions + row);
  return p.first_position + static_cast<uint32_t>(row) % static_cast<uint32_t>(p.tokens);  // rows are fewer than 2³¹
}

/// Cosine and sine of a plane.
struct Angle {
  float cosine, sine;
};
TSUGI_DEVICE Angle angle_of(const RotaryShape& p, int64_t position, int plane) {
  const float* const at = p.table + position * p.rotated + plane;
  return {dev::load(at), dev::load(at + p.rotated / 2)};
}

/// Cosines and sines of V planes, from a multiple of 4 on.
template <int V>
struct Angles {
  float cosines[V], sines[V];
};
/// `sign` -1: of the way back.
template <int V>
TSUGI_DEVICE Angles<V> load_angles(const RotaryShape& p, int64_t position, int plane, float sign) {
  const float* const table = p.table + position * p.rotated + plane;
  Angles<V> angles;
  TSUGI_UNROLL
  for (int i = 0; i < V; i += 4) {
    const dev::Vector<float, 4> c = dev::load_vector<4>(table + i), s = dev::load_vector<4>(table + p.rotated / 2 + i);
    TSUGI_UNROLL
    for (int j = 0; j < 4; ++j) {
      angles.cosines[i + j] = c[j];
      angles.sines[i + j] = sign * s[j];
    }
  }
  return angles;
}

/// V planes: their first and their second elements.
template <int V>
TSUGI_DEVICE void turn_planes(const Angles<V>& angles, float (&first)[V], float (&second)[V]) {
  TSUGI_UNROLL
  for (int i = 0; i < V; ++i) {
    const float u = first[i], v = second[i];
    first[i] = u * angles.cosines[i] - v * angles.sines[i];
    second[i] = v * angles.cosines[i] + u * angles.sines[i];
  }
}

/// What planes are held in: V elements from `x` on, and V from x + half on.
template <class T, int V>
TSUGI_DEVICE void load_planes(const T* x, int half, float (&first)[V], float (&second)[V]) {
  const dev::Packed<T, V> a = dev::load_packed<V>(x), b = dev::load_packed<V>(x + half);
  const dev::Vector<T, V> low = a.unpacked(), high = b.unpacked();
  TSUGI_UNROLL
  for (int i = 0; i < V; ++i) {
    first[i] = dev::to_float(low[i]);
    second[i] = dev::to_float(high[i]);
  }
}
template <class T, int V>
TSUGI_DEVICE void store_planes(T* y, int half, const float (&first)[V], const float (&second)[V]) {
  dev::Vector<T, V> low, high;
  TSUGI_UNROLL
  for (int i = 0; i < V; ++i) {
    low[i] = dev::round_to<T>(first[i]);
    high[i] = dev::round_to<T>(second[i]);
  }
  dev::store_vector(y, low);
  dev::store_vector(y + half, high);
}

/// Whether planes can be held so: T's V in 16 bytes.
template <class T>
bool planes_are_aligned(const RotaryShape& shape, const void* from, int64_t from_stride, const void* to,
                        int64_t to_stride) {
  constexpr int kV = dev::kVectorElements<T>;
  const auto whole = [](int64_t elements) { return elements % kV == 0; };
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  return shape.rotated > 0 && whole(shape.rotated / 2) && whole(shape.head_dim) && whole(from_stride) &&
         whole(to_stride) && aligned(from) && aligned(to) && aligned(shape.table);
}

}  // namespace tsugi::cuda
