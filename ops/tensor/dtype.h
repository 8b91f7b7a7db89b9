// Element types.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tsugi {

/// bfloat16: the upper half of a float. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
    const uint32_t quiet_nan = (u >> 16) | 0x40u;
    bits = static_cast<uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? quiet_nan : rounded);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};
static_assert(sizeof(bf16) == 2);

/// slot = value, rounded to the type of slot. For loops under `#pragma omp simd`: there GCC does not vectorise an
/// assignment of bf16(value), because the temporary is an object in memory.
inline void store(float& slot, float value) { slot = value; }
inline void store(bf16& slot, float value) { slot.bits = bf16(value).bits; }

enum class DType : uint8_t { kF32, kBF16, kI32, kF64 };

constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::kBF16:
      return 2;
    case DType::kF64:
      return 8;
    default:
      return 4;
  }
}

constexpr const char* name_of(DType type) {
  switch (type) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    default:
      return "f64";
  }
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};

/// Calls f with a value of the C++ type of a floating compute type (f32 or bf16).
template <class F>
decltype(auto) dispatch_compute_type(DType type, F&& f) {
  return type == DType::kBF16 ? f(bf16{}) : f(float{});
}

}  // namespace tsugi
