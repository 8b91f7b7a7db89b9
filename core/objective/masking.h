// Which tokens of a text are hidden, and behind what: a pure function of a random stream.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/tensor/philox.h"

namespace tsugi {

/// Devlin et al. 2019, section 3.1 and appendix A.1: 15 % of the tokens are chosen; of these 80 % become the mask
/// token, 10 % any token, 10 % stay.
struct Masking {
  double probability = 0.15;
  double mask_share = 0.8;
  double random_share = 0.1;
  int32_t mask_token = 0;
  int64_t vocabulary = 0;        ///< random tokens are below it
  std::vector<int32_t> special;  ///< ascending; never chosen

  /// How many of `candidates` tokens are chosen: their share, rounded, at least one; 0 of none.
  int64_t count(int64_t candidates) const;
};

/// Chooses tokens of a text, writes their places (ascending) and what stood there, and replaces them in `tokens`. Both
/// outputs have room for count(tokens.size()); returns how many are used. Token t is chosen if the 32-bit word t of
/// `choice` is among the lowest of the candidates' (the earlier one among equals); words 2t and 2t + 1 of `fate` say
/// what it becomes.
int64_t mask_tokens(const Masking& masking, const RandomStream& choice, const RandomStream& fate,
                    std::span<int32_t> tokens, std::span<int32_t> places, std::span<int32_t> originals);

}  // namespace tsugi
