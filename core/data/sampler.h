// Which tokens a training sequence holds: a pure function of (seed, global sample index).
#pragma once

#include <cstdint>

namespace tsugi {

/// A bijection of [0, size), size > 0: a Feistel network keyed by (seed, stream) with cycle walking (Black and Rogaway,
/// "Ciphers with arbitrary finite domains", 2002, section 4).
uint64_t permute_index(uint64_t index, uint64_t size, uint64_t seed, uint64_t stream);

/// Sample k of a run. Epoch e cuts the tokens into windows of `sequence` + 1 tokens (inputs and shifted targets, one
/// token shared by neighbours) that start at a random shift of the epoch, and visits them in a random permutation.
/// Every epoch has the same number of windows, tokens/sequence - 1 rounded down but at least one; the shift takes every
/// value for which they fit, so that at least `sequence` phases and all tokens are seen over the epochs.
/// State: none; any rank can compute any sample.
class Sampler {
 public:
  /// Throws Error(kData) when the tokens do not fill one window.
  Sampler(int64_t tokens, int64_t sequence, uint64_t seed);

  /// First token of the window of global sample `index`; offset + sequence < tokens.
  int64_t offset(uint64_t index) const;
  /// Windows in one epoch.
  int64_t windows() const { return windows_; }
  int64_t sequence() const { return sequence_; }

 private:
  int64_t sequence_;
  uint64_t seed_;
  int64_t windows_;
  int64_t shifts_;
};

}  // namespace tsugi
