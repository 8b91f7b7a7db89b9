// What a kernel must know of tsugi::Dropout.
#pragma once

#include <cstdint>

namespace tsugi::cuda {

/// The members of tsugi::Dropout, as the kernels use them; threshold 0: switched off.
struct DropoutKey {
  uint64_t seed = 0;
  uint64_t first_sample = 0;
  const uint64_t* added_sample = nullptr;  ///< of the device: what it holds when a kernel runs is added to first_sample
  uint32_t site = 0;
  uint32_t threshold = 0;
  float keep_scale = 1.0f;

  constexpr bool active() const { return threshold > 0; }
};

/// Of a tsugi::Dropout (a template, so that this header needs no other).
template <class Dropout>
DropoutKey dropout_key(const Dropout& dropout) {
  if (!dropout.active()) return {};
  return {dropout.seed, dropout.first_sample, nullptr, dropout.site, dropout.threshold(), dropout.keep_scale()};
}

}  // namespace tsugi::cuda
